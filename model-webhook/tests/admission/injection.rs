//! What a pod gets, and why not.

use serde_json::{Value, json};

use crate::world::{answer, asking, cache, llama, model, patched, pod, ready, review};

#[tokio::test]
async fn an_annotated_pod_gets_its_model() {
    let pod = asking("llama-3-8b");
    let injected = patched(&pod, &answer(llama(), &review(&pod)).await);
    let claim = &injected["spec"]["volumes"][0]["persistentVolumeClaim"];
    assert_eq!(*claim, json!({ "claimName": "model-llama-3-8b", "readOnly": true }));
    let mount = &injected["spec"]["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/models/llama-3-8b");
    assert_eq!(mount["subPath"], "revisions/0123456789abcdef0123");
    assert_eq!(mount["readOnly"], true);
    let env = injected["spec"]["containers"][0]["env"].as_array().unwrap();
    assert!(env.contains(&json!({ "name": "MODEL_LLAMA_3_8B_PATH", "value": "/models/llama-3-8b" })));
    assert_eq!(injected["metadata"]["labels"]["models.main-currents.news/injected"], "true");
}

#[tokio::test]
async fn the_prefix_of_the_specification_works_as_well() {
    let pod = pod(json!({ "models.example.com/inject": "llama-3-8b" }));
    let injected = patched(&pod, &answer(llama(), &review(&pod)).await);
    assert_eq!(injected["metadata"]["labels"]["models.example.com/injected"], "true");
}

#[tokio::test]
async fn a_second_pass_changes_nothing() {
    let pod = asking("llama-3-8b");
    let injected = patched(&pod, &answer(llama(), &review(&pod)).await);
    let second = answer(llama(), &review(&injected)).await;
    assert_eq!(second, json!({ "uid": second["uid"], "allowed": true }));
}

#[tokio::test]
async fn what_is_not_the_creation_of_an_asking_pod_is_let_through() {
    let asking = review(&asking("missing"));
    let with = |path: &str, value: Value| {
        let mut review = asking.clone();
        *review.pointer_mut(path).unwrap() = value;
        review
    };
    let mut binding = asking.clone();
    binding["request"]["subResource"] = json!("binding");
    for (name, review) in [
        ("a pod without annotations", review(&json!({ "metadata": { "name": "app" }, "spec": { "containers": [] } }))),
        ("a pod with other annotations", review(&pod(json!({ "models.main-currents.news/mount-path": "/m" })))),
        ("an update", with("/request/operation", json!("UPDATE"))),
        ("a deletion", with("/request/operation", json!("DELETE"))),
        ("a deletion has no object", {
            let mut review = with("/request/operation", json!("DELETE"));
            review["request"]["object"] = Value::Null;
            review
        }),
        ("another kind", with("/request/kind", json!({ "group": "apps", "version": "v1", "kind": "Deployment" }))),
        ("a Pod of another group", with("/request/kind", json!({ "group": "x", "version": "v1", "kind": "Pod" }))),
        ("a subresource", binding),
    ] {
        let answer = answer(llama(), &review).await;
        assert_eq!(answer, json!({ "uid": answer["uid"], "allowed": true }), "{name}");
    }
}

#[tokio::test]
async fn denials_say_what_is_wrong_and_what_to_do() {
    let models = || {
        cache([
            model("llama-3-8b", ready()),
            model("new", Value::Null),
            model("loading", json!({ "phase": "Downloading", "progress": 42 })),
            model("broken", json!({ "phase": "Failed", "message": "the repository x/y does not exist" })),
            json!({
                "metadata": { "name": "future", "namespace": "team" },
                "spec": { "source": { "carrierPigeon": {} }, "storage": { "size": "1Gi" } }
            }),
        ])
    };
    for (pod, code, reason, starts, says) in [
        (
            asking("llama-3-8b,gpt-x"),
            403,
            "ModelNotFound",
            "model not found: gpt-x; namespace team has no Model of that name",
            "create it first",
        ),
        (asking("new"), 403, "ModelNotReady", "model not ready: new is Pending; ", "kubectl wait"),
        (
            asking("loading"),
            403,
            "ModelNotReady",
            "model not ready: loading is Downloading, 42 %; ",
            "kubectl wait --for=condition=Ready",
        ),
        (
            asking("broken"),
            403,
            "ModelNotReady",
            "model not ready: broken is Failed: the repository x/y does not exist; ",
            "kubectl describe --namespace team model/broken",
        ),
        (
            asking("future"),
            403,
            "ModelNotReady",
            "model not ready: future cannot be read by this version of the operator (",
            "apply the operator's CRD",
        ),
        (
            pod(
                json!({ "models.main-currents.news/inject": "llama-3-8b", "models.main-currents.news/read-only": "no" }),
            ),
            422,
            "AnnotationInvalid",
            "annotation models.main-currents.news/read-only has the value \"no\"",
            "write \"true\" or \"false\"",
        ),
        (
            pod(json!({ "models.main-currents.news/inject": "llama-3-8b", "models.example.com/inject": "new" })),
            422,
            "AnnotationsDiffer",
            "annotations models.main-currents.news/inject and models.example.com/inject have different values",
            "keep one of them",
        ),
        (
            pod(
                json!({ "models.main-currents.news/inject": "llama-3-8b", "models.main-currents.news/container": "gpu" }),
            ),
            422,
            "ContainerNotFound",
            "annotation models.main-currents.news/container names the container \"gpu\"",
            "it has app",
        ),
    ] {
        let answer = answer(models(), &review(&pod)).await;
        assert_eq!(answer["allowed"], false, "{starts}");
        assert_eq!(answer["status"]["code"], code, "{starts}");
        assert_eq!(answer["status"]["reason"], reason, "{starts}");
        assert!(answer.get("patch").is_none());
        let message = answer["status"]["message"].as_str().unwrap();
        assert!(message.starts_with(starts), "{message}");
        assert!(message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn models_are_looked_up_in_the_namespace_of_the_request() {
    let mut review = review(&asking("llama-3-8b"));
    review["request"]["namespace"] = json!("other");
    let answer = answer(llama(), &review).await;
    assert_eq!(answer["allowed"], false);
    assert!(answer["status"]["message"].as_str().unwrap().contains("namespace other"), "{answer}");
}

#[tokio::test]
async fn a_pod_without_a_name_of_its_own_is_injected() {
    let mut pod = asking("llama-3-8b");
    pod["metadata"].as_object_mut().unwrap().remove("name");
    pod["metadata"]["generateName"] = json!("app-7d4b9c-");
    let injected = patched(&pod, &answer(llama(), &review(&pod)).await);
    assert_eq!(injected["spec"]["volumes"][0]["name"], "model-llama-3-8b");
}

#[tokio::test]
async fn a_dry_run_gets_the_same_answer() {
    let pod = asking("llama-3-8b");
    let mut dry = review(&pod);
    dry["request"]["dryRun"] = json!(true);
    assert_eq!(answer(llama(), &dry).await, answer(llama(), &review(&pod)).await);
}

#[tokio::test]
async fn fields_that_nobody_knows_yet_survive() {
    let mut pod = asking("llama-3-8b");
    pod["metadata"]["futureField"] = json!({ "deep": [1, 2] });
    pod["spec"]["futureField"] = json!("kept");
    pod["spec"]["containers"][0]["futureField"] = json!({ "kept": true });
    let injected = patched(&pod, &answer(llama(), &review(&pod)).await);
    assert_eq!(injected["metadata"]["futureField"], pod["metadata"]["futureField"]);
    assert_eq!(injected["spec"]["futureField"], "kept");
    assert_eq!(injected["spec"]["containers"][0]["futureField"], json!({ "kept": true }));
}
