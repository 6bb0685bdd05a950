//! What holds for every pod.

use std::collections::BTreeSet;

use json_patch::{Patch, PatchOperation};
use model_resources::inject::{inject, parse};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::injection::{apply, llama, patch};

/// Any JSON; its keys are often those of a pod.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(json!("llama-3-8b")),
        Just(json!("model-llama-3-8b")),
        Just(json!("/models/llama-3-8b")),
    ];
    let key = prop_oneof![
        Just("metadata"),
        Just("labels"),
        Just("annotations"),
        Just("models.example.com/inject"),
        Just("spec"),
        Just("containers"),
        Just("initContainers"),
        Just("volumes"),
        Just("volumeMounts"),
        Just("env"),
        Just("name"),
        Just("mountPath"),
        Just("subPath"),
        Just("persistentVolumeClaim"),
        Just("claimName"),
        Just("models.main-currents.news/injected-containers"),
        Just("a~/b"),
    ]
    .prop_map(str::to_owned);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn maybe(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Option<Value>> {
    proptest::option::weighted(0.6, value)
}

fn object(members: Vec<(&str, Option<Value>)>) -> Value {
    members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect::<Map<_, _>>().into()
}

fn list_of(item: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop_oneof![1 => Just(Value::Null), 6 => proptest::collection::vec(item, 0..4).prop_map(Value::from)]
}

fn mount() -> impl Strategy<Value = Value> {
    let path =
        proptest::sample::select(vec!["/", "/models", "/models/a", "/models/a/", "/models/b/below", "/data", "/x"]);
    let volume = proptest::sample::select(vec!["data", "model-a", "token"]);
    (volume, path).prop_map(|(name, path)| json!({ "name": name, "mountPath": path, "future": null }))
}

fn variable() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec!["PATH", "MODEL_A_PATH", "MODEL_B_SOURCE_TYPE"])
        .prop_map(|name| json!({ "name": name, "value": "mine" }))
}

fn volume() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec![
        json!({ "name": "data", "emptyDir": {} }),
        json!({ "name": "token", "projected": { "sources": [] } }),
        json!({ "name": "model-a", "persistentVolumeClaim": { "claimName": "model-a" } }),
        json!({ "name": "model-b", "persistentVolumeClaim": { "claimName": "other" } }),
    ])
}

fn containers(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let one = (maybe(list_of(mount())), maybe(list_of(variable())), maybe(any_json()));
    proptest::collection::vec(one, 0..names.len()).prop_map(move |all| {
        all.into_iter()
            .zip(names)
            .map(|((mounts, env, future), name)| {
                object(vec![("future", future), ("name", Some(json!(name))), ("volumeMounts", mounts), ("env", env)])
            })
            .collect()
    })
}

/// A pod that asks for models, in many forms. Not all are valid: an API server asks webhooks before it validates.
pub fn pod() -> impl Strategy<Value = Value> {
    let prefix = proptest::sample::select(vec!["models.example.com", "models.main-currents.news"]);
    let asked = proptest::sample::select(vec!["a", "a,b", " b,, a,b ", "llama-3-8b"]);
    let path = proptest::option::of(proptest::sample::select(vec!["/models", "/data/{name}", "/x/y", "/mnt"]));
    let container = proptest::option::of(proptest::sample::select(vec!["app", "helper", "init", "app,init", "*"]));
    let flag = || proptest::option::of(any::<bool>());
    let flags = (flag(), flag(), flag());
    let labels = maybe(prop_oneof![
        Just(json!(null)),
        Just(json!({})),
        Just(json!({ "app": "x", "models.example.com/injected": "true" }))
    ]);
    let record = proptest::option::of(proptest::sample::select(vec!["app", "helper", "gone", "app,init"]));
    let spec = (
        containers(&["app", "helper", "third", "fourth"]),
        maybe(containers(&["init", "proxy", "third-init"])),
        maybe(list_of(volume())),
        maybe(any_json()),
    );
    (prefix, asked, path, container, flags, labels, record, spec).prop_map(
        |(prefix, asked, path, container, (read_only, inject_env, offline), labels, record, (containers, init, volumes, future))| {
            let annotations = [
                ("inject", Some(asked.to_owned())),
                ("mount-path", path.map(str::to_owned)),
                ("container", container.map(str::to_owned)),
                ("read-only", read_only.map(|value| value.to_string())),
                ("inject-env", inject_env.map(|value| value.to_string())),
                ("offline", offline.map(|value| value.to_string())),
                ("injected-containers", record.map(str::to_owned)),
            ];
            let annotations: Map<_, _> = annotations
                .into_iter()
                .filter_map(|(key, value)| Some((format!("{prefix}/{key}"), json!(value?))))
                .collect();
            json!({
                "metadata": object(vec![("annotations", Some(annotations.into())), ("labels", labels)]),
                "spec": object(vec![("initContainers", init), ("containers", Some(containers)), ("volumes", volumes), ("future", future)]),
            })
        },
    )
}

/// The containers that got something, as `containers/0`; `None` when an operation does more than an injection may.
fn touched(pod: &Value, patch: &Patch) -> Option<BTreeSet<String>> {
    let mut containers = BTreeSet::new();
    for operation in &patch.0 {
        let PatchOperation::Add(add) = operation else { return None };
        let pointer = add.path.as_str();
        let steps: Vec<_> = pointer.split('/').skip(1).collect();
        let parent_is_missing = pod.pointer(pointer).is_none_or(Value::is_null);
        let prefixes = ["models.example.com", "models.main-currents.news"];
        let ours = |key: &str, name: &str| prefixes.iter().any(|prefix| key == format!("{prefix}~1{name}"));
        let allowed = match steps[..] {
            ["spec", "volumes", "-"] => true,
            ["spec", "volumes"] | ["metadata", "labels"] => parent_is_missing,
            ["metadata", "labels", key] => ours(key, "injected") || key == "models.main-currents.news~1writable",
            ["metadata", "annotations", key] => ours(key, "injected-containers"),
            ["spec", field @ ("containers" | "initContainers"), index, "volumeMounts" | "env", ref last @ ..] => {
                containers.insert(format!("{field}/{index}"));
                *last == ["-"] || (last.is_empty() && parent_is_missing)
            }
            _ => false,
        };
        if !allowed {
            return None;
        }
    }
    Some(containers)
}

/// The containers that the record of an injected pod names.
fn chosen<'a>(pod: &Value, patched: &'a Value) -> Vec<&'a Value> {
    let wish = parse(pod).unwrap().unwrap();
    let record = &patched["metadata"]["annotations"][format!("{}/injected-containers", wish.prefix)];
    let names: Vec<_> = record.as_str().unwrap().split(',').collect();
    let found: Vec<_> =
        all_containers(patched).filter(|container| names.contains(&container["name"].as_str().unwrap())).collect();
    assert_eq!(found.len(), names.len());
    found
}

fn all_containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["containers", "initContainers"].into_iter().flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
}

/// The volumes that are mounted at this path.
fn mounted_at<'a>(container: &'a Value, path: &str) -> Vec<&'a Value> {
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    let at_path = mounts.filter(|mount| mount["mountPath"].as_str().unwrap().trim_end_matches('/') == path);
    at_path.map(|mount| &mount["name"]).collect()
}

proptest! {
    #[test]
    fn a_patch_applies_touches_only_ours_and_is_empty_the_second_time(pod in pod()) {
        let Ok(first) = patch(&pod) else { return Ok(()) };
        let touched = touched(&pod, &first);
        let chosen = chosen(&pod, &apply(&pod, &first)).len();
        prop_assert!(touched.as_ref().is_some_and(|containers| containers.len() <= chosen), "{touched:?} by {first}");
        prop_assert_eq!(patch(&apply(&pod, &first)).unwrap().0, vec![]);
    }

    #[test]
    fn an_injected_container_gets_each_model_once(pod in pod()) {
        let Ok(first) = patch(&pod) else { return Ok(()) };
        let wish = parse(&pod).unwrap().unwrap();
        let patched = apply(&pod, &first);
        for model in &wish.models {
            let volume = format!("model-{model}");
            let volumes = patched["spec"]["volumes"].as_array().unwrap();
            prop_assert!(volumes.iter().any(|v| v["persistentVolumeClaim"]["claimName"] == volume.as_str()));
            let path = wish.mount_path(model);
            for container in chosen(&pod, &patched) {
                let mounts = mounted_at(container, &path);
                prop_assert!(mounts.iter().all(|name| *name == volume.as_str()));
                let had = all_containers(&pod).find(|had| had["name"] == container["name"]).unwrap();
                prop_assert_eq!(mounts.len(), mounted_at(had, &path).len().max(1));
            }
        }
    }

    #[test]
    fn no_json_makes_it_panic(pod in any_json(), wished in pod()) {
        if let Ok(Some(wish)) = parse(&pod) {
            let _ = inject(&pod, &wish, &[llama()]);
        }
        let wish = parse(&wished).unwrap().unwrap();
        if let Ok(patch) = inject(&pod, &wish, &[llama()]) {
            apply(&pod, &patch);
        }
    }

    #[test]
    fn any_annotations_are_read_or_denied(values in proptest::collection::vec("\\PC{0,20}", 7)) {
        let keys = ["inject", "mount-path", "read-only", "container", "inject-env", "when-not-ready", "offline"];
        let annotations: Map<_, _> =
            keys.into_iter().zip(values).map(|(key, value)| (format!("models.example.com/{key}"), json!(value))).collect();
        if let Ok(Some(wish)) = parse(&json!({ "metadata": { "annotations": annotations } })) {
            prop_assert!(!wish.models.is_empty());
        }
    }
}
