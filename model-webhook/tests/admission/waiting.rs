//! Pods that may wait.

use model_resources::inject::{ContentPlace, WhenNotReady};
use model_webhook::Defaults;
use serde_json::{Value, json};

use crate::world::{answer, answer_with, asking, cache, model, patched, pod, ready, review};

/// What `config/` has: a loader.
fn waiting_by_default() -> Defaults {
    Defaults::new(WhenNotReady::Wait, ContentPlace::Revisions)
}

#[tokio::test]
async fn a_pod_that_may_wait_is_admitted_behind_a_gate() {
    let models = || {
        cache([
            model("llama-3-8b", ready()),
            model("new", Value::Null),
            model("loading", json!({ "phase": "Downloading", "progress": 42 })),
            model("broken", json!({ "phase": "Failed", "message": "the repository x/y does not exist" })),
        ])
    };
    let annotated = |models: &str, when: &str| {
        pod(json!({ "models.main-currents.news/inject": models, "models.main-currents.news/when-not-ready": when }))
    };
    let loader = |when_not_ready| Defaults::new(when_not_ready, ContentPlace::Revisions);
    for (name, pod, default) in [
        ("by annotation", annotated("loading", "wait"), WhenNotReady::Deny),
        ("by flag", asking("loading"), WhenNotReady::Wait),
        ("nothing downloaded yet", asking("new"), WhenNotReady::Wait),
        ("failed, which a retry may cure", asking("broken"), WhenNotReady::Wait),
        ("one of two", asking("llama-3-8b,loading"), WhenNotReady::Wait),
    ] {
        let review = review(&pod);
        let response = answer_with(models(), loader(default), &review).await;
        let gated = patched(&pod, &response);
        let gate = json!([{ "name": "models.main-currents.news/model-not-ready" }]);
        assert_eq!(gated["spec"]["schedulingGates"], gate, "{name}");
        assert_eq!(gated["metadata"]["labels"]["models.main-currents.news/gated"], "true", "{name}");
        let mounts = gated["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
        let starts = |mount: &Value| mount["subPath"].as_str().is_some_and(|path| path.starts_with("revisions/"));
        assert!(!mounts.is_empty() && mounts.iter().all(starts), "{name}: {mounts:?}");
        let mut again = review.clone();
        again["request"]["object"] = gated;
        let again = answer_with(models(), loader(default), &again).await;
        assert_eq!(again, json!({ "uid": again["uid"], "allowed": true }), "{name}: a second pass");
        let mut dry = review;
        dry["request"]["dryRun"] = json!(true);
        assert_eq!(answer_with(models(), loader(default), &dry).await, response, "{name}: a dry run");
    }

    // The mounts of the Model that is Ready are those of a pod that need not wait.
    let pod = asking("llama-3-8b");
    let free = patched(&pod, &answer_with(models(), waiting_by_default(), &review(&pod)).await);
    assert_eq!(free["spec"].get("schedulingGates"), None);
    assert_eq!(free, patched(&pod, &answer(models(), &review(&pod)).await));
}

#[tokio::test]
async fn what_cannot_wait_is_denied_all_the_same() {
    let models = || {
        let mut leaving = model("leaving", ready());
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        cache([model("loading", json!({ "phase": "Downloading", "progress": 42 })), leaving])
    };
    let mut placed = asking("loading");
    placed["spec"]["nodeName"] = json!("node-7");
    let with =
        |when: &str| pod(json!({ "models.example.com/inject": "loading", "models.example.com/when-not-ready": when }));
    for (pod, code, reason, says) in [
        (asking("missing"), 403, "ModelNotFound", "create it first"),
        (asking("leaving"), 403, "ModelNotReady", "is being deleted"),
        (asking("loading,missing"), 403, "ModelNotFound", "missing"),
        (with("deny"), 403, "ModelNotReady", "loading is Downloading, 42 %"),
        (placed, 422, "CannotWait", "spec.nodeName \"node-7\""),
        (with("later"), 422, "AnnotationInvalid", "write \"deny\" or \"wait\""),
    ] {
        let answer = answer_with(models(), waiting_by_default(), &review(&pod)).await;
        assert_eq!(answer["allowed"], false, "{pod}");
        assert_eq!((&answer["status"]["code"], &answer["status"]["reason"]), (&json!(code), &json!(reason)), "{pod}");
        let message = answer["status"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{says:?} is not in {message:?}");
    }
}
