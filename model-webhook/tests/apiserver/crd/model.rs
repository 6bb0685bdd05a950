//! A Model with one wrong value in it, and what the API server answers.

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::discovery::ApiResource;
use model_core::api::Model;
use serde_json::{Value, json};

use crate::cluster::client;

/// Raw objects, so that nothing of ours stands between a test and the API server.
pub async fn models(namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client(None).await, namespace, &ApiResource::erase::<Model>(&()))
}

/// A valid Model.
pub fn llama() -> Value {
    json!({
        "apiVersion": "models.main-currents.news/v1alpha1",
        "kind": "Model",
        "metadata": { "name": "llama-3-8b" },
        "spec": {
            "source": { "huggingFace": { "repoId": "meta-llama/Llama-3.1-8B-Instruct" } },
            "storage": { "size": "20Gi" }
        }
    })
}

/// The Model with this value at this path. At the empty path the value is merged in. What stands beside a value of another
/// source, or of a claim that is there already, gives way.
pub fn with(path: &str, value: &Value) -> Value {
    let mut model = llama();
    if path.is_empty() {
        json_patch::merge(&mut model, value);
        return model;
    }
    for (source, whole) in
        [("s3", json!({ "bucket": "models", "key": "llama" })), ("url", json!({ "url": "https://example.com/x" }))]
    {
        if path.starts_with(&format!("spec.source.{source}")) {
            model["spec"]["source"] = json!({ source: whole });
        }
    }
    if path == "spec.storage.existingClaim" {
        model["spec"]["storage"] = json!({});
    }
    put(&mut model, path, value);
    model
}

/// Puts the value at the path. What is missing on the way is made.
pub fn put(object: &mut Value, path: &str, value: &Value) {
    let mut place = object;
    for step in path.split('.') {
        let (name, inner) = step.find(['[', '{']).map_or((step, ""), |at| step.split_at(at));
        if !place[name].is_object() && !place[name].is_array() {
            place[name] = json!({});
        }
        place = &mut place[name];
        match inner {
            "[]" => {
                *place = json!([{}]);
                place = &mut place[0];
            }
            "{}" => {
                *place = json!({ "key": {} });
                place = &mut place["key"];
            }
            _ => {}
        }
    }
    *place = value.clone();
}

/// What the API server stores of the Model, or each thing that it finds wrong: the field, and the message about it.
pub async fn create(models: &Api<DynamicObject>, model: &Value) -> Result<Value, Vec<(String, String)>> {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let created = models.create(&dry_run, &serde_json::from_value(model.clone()).unwrap()).await;
    created.map(|model| serde_json::to_value(model).unwrap()).map_err(causes)
}

/// The same for a status of the stored Model of this name, or for a change of its spec.
pub async fn change(models: &Api<DynamicObject>, name: &str, change: &Value) -> Result<Value, Vec<(String, String)>> {
    let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
    let patch = Patch::Merge(change);
    let changed = if change.get("status").is_some() {
        models.patch_status(name, &dry_run, &patch).await
    } else {
        models.patch(name, &dry_run, &patch).await
    };
    changed.map(|model| serde_json::to_value(model).unwrap()).map_err(causes)
}

fn causes(error: kube::Error) -> Vec<(String, String)> {
    let kube::Error::Api(status) = error else { panic!("{error}") };
    assert_eq!(status.code, 422, "{status:?}");
    let causes = status.details.into_iter().flat_map(|details| details.causes);
    causes.map(|cause| (cause.field, cause.message)).collect()
}
