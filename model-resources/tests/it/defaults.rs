//! One row for each default and each fixed value of the specification.

use model_core::api::{S3Source, Source};
use model_resources::{claim, download_job};
use serde_json::{Value, json};

use crate::fixtures::{hugging_face, loader, model, persisted, s3, stock, url};

#[test]
fn claim_and_job_have_the_values_of_the_specification() {
    let hub = model("llama-3-8b", hugging_face());
    let hub = persisted(&hub);
    let claim = json!(claim(&hub, "20Gi"));
    let job = json!(download_job(&hub, &stock(), "uid"));
    let loader_job = json!(download_job(&hub, &loader(), "uid"));
    let of = |source: Source| json!(download_job(&persisted(&model("llama-3-8b", source)), &stock(), "uid"));
    let no_region = S3Source { bucket: "models".into(), key: "k".into(), endpoint: None, region: None };
    let no_region = of(Source::S3(no_region));
    let variable = |job: &Value, name: &str| {
        let all = job.pointer("/spec/template/spec/containers/0/env").and_then(Value::as_array).cloned();
        all.into_iter().flatten().find(|variable| variable["name"] == name).map_or(Value::Null, |v| v["value"].clone())
    };
    let pod = "/spec/template/spec";
    let container = "/spec/template/spec/containers/0";
    for (what, object, pointer, want) in [
        ("claim name", &claim, "/metadata/name".into(), json!("model-llama-3-8b")),
        ("claim owner", &claim, "/metadata/ownerReferences/0/kind".into(), json!("Model")),
        ("access modes", &claim, "/spec/accessModes".into(), json!(["ReadWriteOnce"])),
        ("storage class", &claim, "/spec/storageClassName".into(), Value::Null),
        ("size", &claim, "/spec/resources/requests/storage".into(), json!("20Gi")),
        ("job name", &job, "/metadata/name".into(), json!("model-download-llama-3-8b")),
        ("job owner", &job, "/metadata/ownerReferences/0/kind".into(), json!("Model")),
        ("job owner is the controller", &job, "/metadata/ownerReferences/0/controller".into(), json!(true)),
        ("backoff limit", &job, "/spec/backoffLimit".into(), json!(3)),
        ("time to live", &job, "/spec/ttlSecondsAfterFinished".into(), json!(3600)),
        ("backoff limit of the loader", &loader_job, "/spec/backoffLimit".into(), json!(3)),
        ("time to live of the loader", &loader_job, "/spec/ttlSecondsAfterFinished".into(), json!(3600)),
        ("Hugging Face image", &job, format!("{container}/image"), json!("python:3.11-slim")),
        ("S3 image", &of(s3()), format!("{container}/image"), json!("amazon/aws-cli:latest")),
        ("URL image", &of(url()), format!("{container}/image"), json!("curlimages/curl:latest")),
        ("claim mount", &job, format!("{container}/volumeMounts/0/mountPath"), json!("/models")),
        ("claim mount is the whole claim", &job, format!("{container}/volumeMounts/0/subPath"), Value::Null),
        ("node selector", &job, format!("{pod}/nodeSelector"), Value::Null),
        ("deadline", &job, "/spec/activeDeadlineSeconds".into(), Value::Null),
        ("no credentials", &job, format!("{container}/envFrom"), Value::Null),
        ("no API token", &job, format!("{pod}/automountServiceAccountToken"), json!(false)),
    ] {
        assert_eq!(object.pointer(&pointer).cloned().unwrap_or_default(), want, "{what}");
    }
    assert_eq!(variable(&job, "MODEL_REVISION"), "main", "revision");
    assert_eq!(variable(&no_region, "AWS_REGION"), "us-east-1", "region");
    assert_eq!(variable(&no_region, "AWS_ENDPOINT_URL"), Value::Null, "endpoint");
}

#[test]
fn the_revision_defaults_to_main() {
    let source: Source = serde_json::from_value(json!({ "huggingFace": { "repoId": "a/b" } })).unwrap();
    let model = model("m", source);
    let job = json!(download_job(&persisted(&model), &loader(), "uid"));
    assert_eq!(job.pointer("/spec/template/spec/containers/0/args/1").unwrap(), "--source=hf://a/b@main");
}
