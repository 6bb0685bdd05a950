//! What is asked, and whom.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use json_patch::{Patch, patch};
use k8s_openapi::ByteString;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store;
use kube::runtime::watcher::Event;
use model_webhook::{Defaults, Guarded, ModelCache, PATH, router};
use serde_json::{Value, json};
use tower::ServiceExt;

/// A Model of namespace `team` with this status.
pub fn model(name: &str, status: Value) -> Value {
    json!({
        "apiVersion": "models.main-currents.news/v1alpha1",
        "kind": "Model",
        "metadata": { "name": name, "namespace": "team", "uid": format!("uid-{name}"), "generation": 1 },
        "spec": {
            "source": { "huggingFace": { "repoId": "meta-llama/Llama-3.1-8B-Instruct" } },
            "storage": { "size": "20Gi" }
        },
        "status": status
    })
}

/// The status of a Model whose files are published.
pub fn ready() -> Value {
    json!({
        "phase": "Ready",
        "progress": 100,
        "content": {
            "id": "0123456789abcdef0123",
            "path": "revisions/0123456789abcdef0123",
            "version": "3.1",
            "source": { "huggingFace": { "repoId": "meta-llama/Llama-3.1-8B-Instruct" } },
            "verified": true
        }
    })
}

/// A cache that holds these Models, as a watch would have read them.
pub fn cache(models: impl IntoIterator<Item = Value>) -> ModelCache {
    let (reader, mut writer) = store::<Guarded>();
    writer.apply_watcher_event(&Event::Init);
    for model in models {
        let model: DeserializeGuard<_> = serde_json::from_value(model).unwrap();
        writer.apply_watcher_event(&Event::InitApply(model));
    }
    writer.apply_watcher_event(&Event::InitDone);
    let cache = ModelCache::new(reader);
    cache.mark_filled();
    cache
}

/// A pod as the API server sends it at admission: without namespace.
pub fn pod(annotations: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "app", "annotations": annotations },
        "spec": { "containers": [{ "name": "app", "image": "myapp:latest" }] }
    })
}

pub fn asking(models: &str) -> Value {
    pod(json!({ "models.main-currents.news/inject": models }))
}

pub fn review(pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": "team",
            "operation": "CREATE",
            "userInfo": { "username": "system:serviceaccount:kube-system:replicaset-controller" },
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": { "apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions" }
        }
    })
}

pub async fn post(models: ModelCache, body: impl Into<Body>) -> (StatusCode, Vec<u8>) {
    post_with(models, Defaults::default(), body).await
}

pub async fn post_with(models: ModelCache, defaults: Defaults, body: impl Into<Body>) -> (StatusCode, Vec<u8>) {
    let request = Request::post(PATH).header("content-type", "application/json").body(body.into()).unwrap();
    let response = router(models, defaults).oneshot(request).await.unwrap();
    (response.status(), to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec())
}

/// The `response` of the answer to a review.
pub async fn answer(models: ModelCache, review: &Value) -> Value {
    answer_with(models, Defaults::default(), review).await
}

pub async fn answer_with(models: ModelCache, defaults: Defaults, review: &Value) -> Value {
    let (status, body) = post_with(models, defaults, review.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["response"]["uid"], review["request"]["uid"], "the API server matches answers by this");
    answer["response"].clone()
}

/// The pod as the API server would store it.
pub fn patched(pod: &Value, response: &Value) -> Value {
    assert_eq!(response["allowed"], true, "{response}");
    assert_eq!(response["patchType"], "JSONPatch");
    let ByteString(operations) = serde_json::from_value(response["patch"].clone()).unwrap();
    let operations: Patch = serde_json::from_slice(&operations).unwrap();
    let mut pod = pod.clone();
    patch(&mut pod, &operations).unwrap();
    pod
}

pub fn llama() -> ModelCache {
    cache([model("llama-3-8b", ready())])
}
