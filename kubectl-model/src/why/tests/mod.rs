//! Objects as the cluster holds them in, screens out.

mod models;
mod pods;
mod secrets;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::ModelView;

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

/// A Model whose newest spec the operator has looked at.
fn model(status: &Value) -> Value {
    json!({
        "apiVersion": "models.main-currents.news/v1alpha1",
        "kind": "Model",
        "metadata": { "name": "llama", "namespace": "team", "uid": "model-uid", "generation": 1, "creationTimestamp": "2026-01-01T11:00:00Z" },
        "spec": {
            "source": { "huggingFace": { "repoId": "meta-llama/Llama-3.1-8B" } },
            "storage": { "size": "20Gi" },
            "credentialsSecret": "hugging-face",
        },
        "status": status,
    })
}

/// The content id that the model above asks for.
fn wanted() -> String {
    let model: model_core::api::Model = serde_json::from_value(model(&Value::Null)).unwrap();
    model_core::persisted::Persisted::try_from(&model).unwrap().content_id
}

fn owned_by_model() -> Value {
    json!([{ "apiVersion": "models.main-currents.news/v1alpha1", "kind": "Model", "name": "llama", "uid": "model-uid", "controller": true }])
}

fn claim(status: &Value) -> Value {
    json!({
        "metadata": { "name": "model-llama", "namespace": "team", "uid": "claim-uid", "ownerReferences": owned_by_model() },
        "spec": { "storageClassName": "fast", "resources": { "requests": { "storage": "20Gi" } } },
        "status": status,
    })
}

fn job(status: &Value) -> Value {
    json!({
        "metadata": {
            "name": "model-download-llama", "namespace": "team", "uid": "job-uid", "ownerReferences": owned_by_model(),
            "creationTimestamp": "2026-01-01T11:50:00Z",
            "annotations": { "models.main-currents.news/content-id": wanted(), "models.main-currents.news/claim-uid": "claim-uid" },
        },
        "spec": { "template": {} },
        "status": status,
    })
}

fn download_pod(status: &Value) -> Value {
    json!({
        "metadata": {
            "name": "model-download-llama-x7", "namespace": "team",
            "labels": { "models.main-currents.news/model": "llama" },
            "ownerReferences": [{ "apiVersion": "batch/v1", "kind": "Job", "name": "model-download-llama", "uid": "job-uid", "controller": true }],
        },
        "spec": {
            "nodeName": "node-1", "containers": [{ "name": "download" }],
            "volumes": [{ "name": "models", "persistentVolumeClaim": { "claimName": "model-llama" } }],
        },
        "status": status,
    })
}

fn event(object: &str, reason: &str, message: &str) -> Value {
    json!({
        "metadata": { "name": "e", "namespace": "team" },
        "involvedObject": { "kind": "Object", "name": object },
        "type": "Warning", "reason": reason, "message": message, "lastTimestamp": "2026-01-01T11:58:00Z",
    })
}

fn view(model: Value, claim: Value, class_exists: Option<bool>, job: Value, pods: Value, events: Value) -> ModelView {
    ModelView {
        model: serde_json::from_value(model).unwrap(),
        claim: serde_json::from_value(claim).unwrap(),
        class_exists,
        job: serde_json::from_value(job).unwrap(),
        pods: serde_json::from_value(pods).unwrap(),
        events: serde_json::from_value(events).unwrap(),
        unseen: Vec::new(),
    }
}

fn bound() -> Value {
    claim(&json!({ "phase": "Bound", "capacity": { "storage": "20Gi" } }))
}

fn job_failed() -> Value {
    job(
        &json!({ "failed": 1, "conditions": [{ "type": "Failed", "status": "True", "lastTransitionTime": "2026-01-01T11:55:00Z" }] }),
    )
}

/// A pod whose loader ended with this failure.
fn pod_failed(reason: &str, message: &str) -> Value {
    let outcome = json!({ "failed": { "reason": reason, "message": message } }).to_string();
    download_pod(&json!({
        "phase": "Failed",
        "containerStatuses": [{
            "name": "download", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "terminated": { "exitCode": 2, "message": outcome } },
        }],
    }))
}

fn failed_status(reason: &str, message: &str, at: &str) -> Value {
    json!({
        "phase": "Failed", "progress": 0, "observedGeneration": 1, "message": message,
        "conditions": [{ "type": "Downloaded", "status": "False", "reason": reason, "message": message, "lastTransitionTime": at }],
        "download": { "id": wanted(), "attempt": 1, "startedAt": "2026-01-01T09:00:00Z", "lastFailure": { "reason": reason, "message": message, "at": at } },
    })
}
