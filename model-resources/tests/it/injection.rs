//! Pods before and after.

use json_patch::Patch;
use model_core::api::{Content, Source};
use model_resources::inject::{Denial, ReadyModel, inject, parse};
use serde_json::{Value, json};

use crate::fixtures::{hugging_face, s3, url};

pub const ID: &str = "0123456789abcdef0123";

/// A Ready Model of this source; published by the loader, or by a stock image.
pub fn ready(name: &str, source: Source, path: &str) -> ReadyModel {
    let mut content = Content::new(ID.into(), path.into(), source);
    content.version = (!path.is_empty()).then(|| "3.1".into());
    content.verified = !path.is_empty();
    ReadyModel { name: name.into(), claim_name: format!("model-{name}"), content }
}

pub fn llama() -> ReadyModel {
    ready("llama-3-8b", hugging_face(), &format!("revisions/{ID}"))
}

/// The patch for the pod, with a Ready Model for each name that it asks for.
pub fn patch(pod: &Value) -> Result<Patch, Denial> {
    let wish = parse(pod)?.unwrap();
    let models: Vec<_> = wish
        .models
        .iter()
        .map(|name| ReadyModel { name: name.clone(), claim_name: format!("model-{name}"), ..llama() })
        .collect();
    inject(pod, &wish, &models)
}

pub fn apply(pod: &Value, patch: &Patch) -> Value {
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, patch).unwrap();
    patched
}

fn injected(pod: &Value) -> Value {
    let patched = apply(pod, &patch(pod).unwrap());
    assert_eq!(patch(&patched).unwrap().0, [], "the second pass");
    patched
}

fn denied(pod: &Value) -> String {
    patch(pod).unwrap_err().to_string()
}

/// A pod that asks for `llama-3-8b`, with more annotations and this spec.
fn pod(annotations: &Value, spec: &Value) -> Value {
    let mut all = json!({ "models.example.com/inject": "llama-3-8b" });
    for (key, value) in annotations.as_object().unwrap() {
        all[format!("models.example.com/{key}")] = value.clone();
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "generateName": "app-", "annotations": all }, "spec": spec })
}

fn app() -> Value {
    json!({ "containers": [{ "name": "app", "image": "myapp:latest" }] })
}

#[test]
fn the_pod_of_the_specification() {
    insta::assert_yaml_snapshot!(injected(&pod(&json!({}), &app())));
}

#[test]
fn a_pod_with_everything_already() {
    let spec = json!({
        "aFieldOfTheFuture": { "z": 1, "a": [null, 2] },
        "initContainers": [{ "name": "init", "image": "init" }, { "name": "proxy", "image": "proxy", "restartPolicy": "Always" }],
        "containers": [
            { "name": "sidecar", "image": "sidecar", "env": [], "volumeMounts": [] },
            { "name": "app", "image": "app", "zFirst": true,
              "env": [{ "name": "MODEL_B_PATH", "value": "/mine" }, { "name": "X", "value": "$(MODEL_B_PATH)" }],
              "volumeMounts": [{ "name": "cache", "mountPath": "/models" }] },
        ],
        "volumes": [{ "name": "cache", "emptyDir": {} }],
    });
    let mut pod = pod(
        &json!({ "inject": " b, c ,,d", "container": "app", "mount-path": "/models/all", "read-only": "false" }),
        &spec,
    );
    pod["metadata"]["labels"] = json!({ "app": "x" });
    let wish = parse(&pod).unwrap().unwrap();
    let models = [ready("b", url(), ""), ready("c", s3(), "revisions/c"), ready("d", hugging_face(), "revisions/d")];
    let patch = inject(&pod, &wish, &models).unwrap();
    insta::assert_yaml_snapshot!("everything_patch", patch);
    let patched = apply(&pod, &patch);
    insta::assert_yaml_snapshot!("everything_pod", patched);
    assert_eq!(inject(&patched, &wish, &models).unwrap().0, []);
}

#[test]
fn the_label_carries_the_prefix_that_the_pod_used() {
    for prefix in ["models.example.com", "models.main-currents.news"] {
        let mut pod = pod(&json!({}), &app());
        pod["metadata"]["annotations"] = json!({ format!("{prefix}/inject"): "llama-3-8b" });
        let metadata = &injected(&pod)["metadata"];
        assert_eq!(metadata["labels"], json!({ format!("{prefix}/injected"): "true" }));
        assert_eq!(metadata["annotations"][format!("{prefix}/injected-containers")], "app");
    }
}

#[test]
fn null_and_empty_lists_count_as_absent() {
    for nothing in [json!(null), json!([])] {
        let container = json!({ "name": "app", "env": nothing, "volumeMounts": nothing });
        let mut pod = pod(&json!({}), &json!({ "containers": [container], "volumes": nothing }));
        pod["metadata"]["labels"] = json!(null);
        let patched = injected(&pod);
        let spec = &injected(&self::pod(&json!({}), &json!({ "containers": [{ "name": "app" }] })))["spec"];
        assert_eq!(&patched["spec"], spec);
    }
}

#[test]
fn the_wanted_containers_and_no_others_are_injected() {
    let spec = json!({
        "initContainers": [{ "name": "init" }, { "name": "native-sidecar", "restartPolicy": "Always" }],
        "containers": [{ "name": "first" }, { "name": "second" }],
        "ephemeralContainers": [{ "name": "debug" }],
    });
    for (annotations, want, record) in [
        (json!({}), &["containers/0"][..], "first"),
        (json!({ "container": "first" }), &["containers/0"], "first"),
        (json!({ "container": " second " }), &["containers/1"], "second"),
        (json!({ "container": "init" }), &["initContainers/0"], "init"),
        (json!({ "container": "native-sidecar" }), &["initContainers/1"], "native-sidecar"),
        (json!({ "container": "init,second" }), &["containers/1", "initContainers/0"], "second,init"),
        (
            json!({ "container": "*" }),
            &["containers/0", "containers/1", "initContainers/0", "initContainers/1"],
            "first,second,init,native-sidecar",
        ),
    ] {
        let patched = injected(&pod(&annotations, &spec));
        for field in ["containers", "initContainers", "ephemeralContainers"] {
            for (index, container) in patched["spec"][field].as_array().unwrap().iter().enumerate() {
                let chosen = want.contains(&format!("{field}/{index}").as_str());
                assert_eq!(container["volumeMounts"].is_array(), chosen, "{annotations}: {field}/{index}");
                assert_eq!(container["env"].is_array(), chosen, "{annotations}: {field}/{index}");
            }
        }
        assert_eq!(patched["metadata"]["annotations"]["models.example.com/injected-containers"], record);
        assert_eq!(patched["spec"]["volumes"].as_array().unwrap().len(), 1, "one volume for all of them");
    }
    for (names, missing) in [("third", "third"), ("debug", "debug"), ("first,third", "third"), ("First", "First")] {
        assert_eq!(
            denied(&pod(&json!({ "container": names }), &spec)),
            format!(
                "annotation models.example.com/container names the container {missing:?}, which is not in the pod: it has first, second, init, native-sidecar"
            )
        );
    }
}

#[test]
fn a_path_that_is_taken_in_one_of_them_is_denied_naming_it() {
    let taken =
        json!([{ "name": "cache", "mountPath": "/models" }, { "name": "own", "mountPath": "/models/llama-3-8b" }]);
    let spec =
        json!({ "containers": [{ "name": "app" }], "initContainers": [{ "name": "warm", "volumeMounts": taken }] });
    let denial = denied(&pod(&json!({ "container": "*" }), &spec));
    assert!(denial.starts_with("container warm mounts volume own at /models/llama-3-8b, "), "{denial}");
    injected(&pod(&json!({ "container": "app" }), &spec));
}

#[test]
fn offline_is_set_on_request_where_the_container_does_not_say() {
    let own = json!([{ "name": "TRANSFORMERS_OFFLINE", "value": "0" }]);
    let spec = json!({ "containers": [{ "name": "app", "env": own }, { "name": "other" }] });
    let of = |pod: &Value, index: usize| -> Vec<String> {
        let env = injected(pod)["spec"]["containers"][index]["env"].clone();
        let offline = env
            .as_array()
            .into_iter()
            .flatten()
            .filter(|variable| variable["name"].as_str().unwrap().ends_with("_OFFLINE"));
        offline.map(|v| format!("{}={}", v["name"].as_str().unwrap(), v["value"].as_str().unwrap())).collect()
    };
    // Whether models are described and whether the hub is asked are two questions.
    for inject_env in ["true", "false"] {
        let asks = pod(&json!({ "offline": "true", "container": "*", "inject-env": inject_env }), &spec);
        assert_eq!(of(&asks, 0), ["TRANSFORMERS_OFFLINE=0", "HF_HUB_OFFLINE=1"]);
        assert_eq!(of(&asks, 1), ["HF_HUB_OFFLINE=1", "TRANSFORMERS_OFFLINE=1"]);
    }
    for silent in [json!({ "container": "*" }), json!({ "container": "*", "offline": "false" })] {
        assert_eq!(of(&pod(&silent, &spec), 1), [""; 0], "{silent}");
    }
}

#[test]
fn read_only_holds_for_mount_and_volume() {
    for (annotations, want) in [
        (json!({}), json!(true)),
        (json!({ "read-only": "true" }), json!(true)),
        (json!({ "read-only": "false" }), json!(null)),
    ] {
        let patched = injected(&pod(&annotations, &app()));
        assert_eq!(patched["spec"]["containers"][0]["volumeMounts"][0]["readOnly"], want, "{annotations}");
        assert_eq!(patched["spec"]["volumes"][0]["persistentVolumeClaim"]["readOnly"], want, "{annotations}");
        let mark = if want.is_null() { json!("true") } else { json!(null) };
        assert_eq!(patched["metadata"]["labels"]["models.main-currents.news/writable"], mark, "{annotations}");
    }
    // With nothing to mount there is nothing to write to.
    let nothing = pod(&json!({ "read-only": "false" }), &app());
    let patched = apply(&nothing, &inject(&nothing, &parse(&nothing).unwrap().unwrap(), &[]).unwrap());
    assert_eq!(patched["metadata"]["labels"], json!({ "models.example.com/injected": "true" }));
}

#[test]
fn variables_describe_what_is_mounted() {
    let wanted = |source: Source, path: &str| {
        let pod = pod(&json!({ "mount-path": "/data" }), &app());
        let patch = inject(&pod, &parse(&pod).unwrap().unwrap(), &[ready("llama-3-8b", source, path)]).unwrap();
        let patched = apply(&pod, &patch);
        let variables = patched["spec"]["containers"][0]["env"].as_array().unwrap().clone();
        variables
            .iter()
            .map(|v| format!("{}={}", v["name"].as_str().unwrap(), v["value"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        wanted(hugging_face(), "revisions/x"),
        [
            "MODEL_LLAMA_3_8B_PATH=/data",
            "MODEL_LLAMA_3_8B_VERSION=3.1",
            "MODEL_LLAMA_3_8B_SOURCE_TYPE=huggingFace",
            "MODEL_LLAMA_3_8B_REPO_ID=meta-llama/Llama-3.1-8B-Instruct",
        ]
    );
    assert_eq!(
        wanted(s3(), ""),
        [
            "MODEL_LLAMA_3_8B_PATH=/data",
            "MODEL_LLAMA_3_8B_SOURCE_TYPE=s3",
            "MODEL_LLAMA_3_8B_BUCKET=models",
            "MODEL_LLAMA_3_8B_KEY=llama/3.1",
        ]
    );
    assert_eq!(
        wanted(url(), ""),
        [
            "MODEL_LLAMA_3_8B_PATH=/data",
            "MODEL_LLAMA_3_8B_SOURCE_TYPE=url",
            "MODEL_LLAMA_3_8B_URL=https://example.com/files/model.gguf?download=true",
        ]
    );
}

#[test]
fn variables_are_not_expanded_and_can_be_left_out() {
    let mut model = llama();
    model.content.version = Some("$(HOME)".into());
    let pod = pod(&json!({}), &app());
    let patched = apply(&pod, &inject(&pod, &parse(&pod).unwrap().unwrap(), &[model]).unwrap());
    assert_eq!(patched["spec"]["containers"][0]["env"][1]["value"], "$$(HOME)");

    let pod = self::pod(&json!({ "inject-env": "false" }), &app());
    assert!(injected(&pod)["spec"]["containers"][0].get("env").is_none());
}

#[test]
fn the_users_variable_wins() {
    let own =
        json!([{ "name": "MODEL_LLAMA_3_8B_PATH", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }]);
    let pod = pod(&json!({}), &json!({ "containers": [{ "name": "app", "env": own }] }));
    let env = injected(&pod)["spec"]["containers"][0]["env"].clone();
    assert_eq!(env[0], own[0]);
    let named = |name: &str| env.as_array().unwrap().iter().filter(|variable| variable["name"] == name).count();
    assert_eq!((named("MODEL_LLAMA_3_8B_PATH"), named("MODEL_LLAMA_3_8B_VERSION")), (1, 1));
}

#[test]
fn a_volume_of_our_name_is_used_only_if_it_is_our_claim() {
    let spec = |volume: Value| json!({ "containers": [{ "name": "app" }], "volumes": [volume] });
    let claim = json!({ "name": "model-llama-3-8b", "persistentVolumeClaim": { "claimName": "model-llama-3-8b" } });
    let patched = injected(&pod(&json!({}), &spec(claim.clone())));
    assert_eq!(patched["spec"]["volumes"], json!([claim]));

    let other_name = json!({ "name": "mine", "persistentVolumeClaim": { "claimName": "model-llama-3-8b" } });
    assert_eq!(injected(&pod(&json!({}), &spec(other_name)))["spec"]["volumes"].as_array().unwrap().len(), 2);

    for source in [json!({ "emptyDir": {} }), json!({ "persistentVolumeClaim": { "claimName": "other" } })] {
        let mut volume = source;
        volume["name"] = json!("model-llama-3-8b");
        assert_eq!(
            denied(&pod(&json!({}), &spec(volume))),
            "volume model-llama-3-8b of the pod is not claim model-llama-3-8b of model llama-3-8b: give that volume another name"
        );
    }

    let mut read_only = claim;
    read_only["persistentVolumeClaim"]["readOnly"] = json!(true);
    let denial = denied(&pod(&json!({ "read-only": "false" }), &spec(read_only)));
    assert!(denial.starts_with("volume model-llama-3-8b of the pod is read-only"), "{denial}");
}

#[test]
fn mounts_that_would_hide_the_model_are_denied() {
    let with = |mount: Value| {
        json!({
            "containers": [{ "name": "app", "volumeMounts": [mount] }],
            "volumes": [{ "name": "scratch", "emptyDir": {} }],
        })
    };
    for taken in [
        "/models/llama-3-8b",
        "/models/llama-3-8b/",
        "//models/./llama-3-8b",
        "/models/llama-3-8b/sub",
        "/models/llama-3-8b/a/b",
    ] {
        let denial = denied(&pod(&json!({}), &with(json!({ "name": "scratch", "mountPath": taken }))));
        let want = format!(
            "container app mounts volume scratch at {taken}, which would hide model llama-3-8b at /models/llama-3-8b: "
        );
        assert!(denial.starts_with(&want), "{denial}");
    }
    for free in ["/", "/models", "/models/llama-3-8b-instruct", "/models/llama", "/data"] {
        let patched = injected(&pod(&json!({}), &with(json!({ "name": "scratch", "mountPath": free }))));
        assert_eq!(patched["spec"]["containers"][0]["volumeMounts"].as_array().unwrap().len(), 2, "{free}");
    }
    // The token of the service account is there before the webhook is asked.
    let token = json!({ "name": "scratch", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" });
    let denial = denied(&pod(&json!({ "mount-path": "/var/run" }), &with(token)));
    assert!(denial.contains("choose another path with annotation mount-path"), "{denial}");
}

#[test]
fn our_own_mount_stays_as_it_is() {
    let path = format!("revisions/{ID}");
    let spec = |sub_path: Value| {
        json!({
            "containers": [{ "name": "app", "volumeMounts": [
                { "name": "model-llama-3-8b", "mountPath": "/models/llama-3-8b", "subPath": sub_path } ] }],
            "volumes": [{ "name": "model-llama-3-8b", "persistentVolumeClaim": { "claimName": "model-llama-3-8b" } }],
        })
    };
    let same = spec(json!(path));
    let patched = injected(&pod(&json!({}), &same));
    assert_eq!(patched["spec"]["containers"][0]["volumeMounts"], same["containers"][0]["volumeMounts"]);

    // Another directory of the claim is not the model, unless an earlier pass put it there.
    let other = spec(json!("revisions/ffffffffffffffffffff"));
    let denial = denied(&pod(&json!({}), &other));
    assert!(denial.contains("container app mounts volume model-llama-3-8b at /models/llama-3-8b"), "{denial}");
    let mut marked = pod(&json!({}), &other);
    marked["metadata"]["labels"] = json!({ "models.example.com/injected": "true" });
    assert_eq!(injected(&marked)["spec"]["containers"][0]["volumeMounts"], other["containers"][0]["volumeMounts"]);
}

#[test]
fn the_label_alone_is_no_proof() {
    let mut forged = pod(&json!({}), &app());
    forged["metadata"]["labels"] = json!({ "models.example.com/injected": "true" });
    forged["metadata"]["annotations"]["models.example.com/injected-containers"] = json!("app");
    assert_eq!(injected(&forged)["spec"], injected(&pod(&json!({}), &app()))["spec"]);

    // Nor is a record of a container that has none of our mounts.
    let two = json!({ "containers": [{ "name": "first" }, { "name": "second" }] });
    let mut forged = pod(&json!({}), &two);
    forged["metadata"]["annotations"]["models.example.com/injected-containers"] = json!("second");
    let patched = injected(&forged);
    assert!(patched["spec"]["containers"][0]["volumeMounts"].is_array());
    assert_eq!(patched["metadata"]["annotations"]["models.example.com/injected-containers"], "first");
}

#[test]
fn a_second_pass_follows_the_container_wherever_it_went() {
    let first = injected(&pod(&json!({}), &json!({ "containers": [{ "name": "app" }, { "name": "other" }] })));
    let mut sidecar_first = first.clone();
    sidecar_first["spec"]["containers"].as_array_mut().unwrap().insert(0, json!({ "name": "istio-proxy" }));
    let mut reordered = first.clone();
    reordered["spec"]["containers"].as_array_mut().unwrap().reverse();
    for seen in [first, sidecar_first, reordered] {
        assert_eq!(patch(&seen).unwrap().0, []);
    }
}

#[test]
fn a_second_pass_over_all_containers_adds_none_that_came_in_between() {
    let spec =
        json!({ "containers": [{ "name": "app" }, { "name": "other" }], "initContainers": [{ "name": "init" }] });
    let first = injected(&pod(&json!({ "container": "*" }), &spec));
    let mut later = first.clone();
    later["spec"]["containers"].as_array_mut().unwrap().insert(0, json!({ "name": "istio-proxy" }));
    later["spec"]["initContainers"].as_array_mut().unwrap().insert(0, json!({ "name": "istio-init" }));
    assert_eq!(patch(&later).unwrap().0, []);

    // One that lost its mounts proves that the record does not hold any more.
    let mut stripped = first;
    stripped["spec"]["containers"][1]["volumeMounts"] = json!([]);
    assert_eq!(injected(&stripped)["spec"]["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
}

#[test]
fn a_mount_that_another_webhook_removed_comes_back() {
    let first = injected(&pod(&json!({}), &app()));
    let mut stripped = first.clone();
    stripped["spec"]["containers"][0]["volumeMounts"] = json!([]);
    assert_eq!(injected(&stripped), first);
}

#[test]
fn a_mount_that_came_later_and_hides_the_model_is_denied() {
    let first = injected(&pod(&json!({}), &app()));
    for taken in ["/models/llama-3-8b/late", "/models/llama-3-8b/"] {
        for index in [0, 1] {
            let mut seen = first.clone();
            let late = json!({ "name": "late", "mountPath": taken });
            seen["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap().insert(index, late);
            let denial = denied(&seen);
            assert!(denial.starts_with(&format!("container app mounts volume late at {taken}, ")), "{denial}");
        }
    }
}

#[test]
fn what_no_api_server_sends_is_denied_and_named() {
    for (spec, what) in [
        (json!(null), "spec.containers has no container"),
        (json!({ "containers": [] }), "spec.containers has no container"),
        (json!({ "containers": [5, null, {}] }), "spec.containers has no container"),
        (json!({ "containers": [{ "name": "app", "env": "x" }] }), "spec.containers.0.env is not a list"),
        (
            json!({ "containers": [{ "name": "app", "volumeMounts": {} }] }),
            "spec.containers.0.volumeMounts is not a list",
        ),
        (json!({ "containers": [{ "name": "app" }], "volumes": true }), "spec.volumes is not a list"),
    ] {
        assert_eq!(denied(&pod(&json!({}), &spec)), format!("the pod cannot be injected: {what}"));
    }
}
