//! The table of Models.

use jiff::Timestamp;
use kube::ResourceExt as _;
use model_core::api::{Model, ModelStatus};

use crate::progress::{phase, running, seconds_left};
use crate::source::shown;
use crate::table::table;
use model_core::figures::{age, bytes, span};

/// Models by namespace and name, one a line. The namespace is shown where `all_namespaces` says that there are several.
#[must_use]
pub fn list(models: &[Model], all_namespaces: bool, now: Timestamp) -> String {
    let mut models: Vec<&Model> = models.iter().collect();
    models.sort_by_key(|model| (model.namespace(), model.name_any()));
    let mut head = vec!["NAME", "PHASE", "PROGRESS", "BYTES", "SPEED", "ETA", "SOURCE", "AGE"];
    let mut rows: Vec<Vec<String>> = models.iter().map(|model| row(model, now)).collect();
    if all_namespaces {
        head.insert(0, "NAMESPACE");
        for (row, model) in rows.iter_mut().zip(&models) {
            row.insert(0, model.namespace().unwrap_or_default());
        }
    }
    table(&head, rows)
}

fn row(model: &Model, now: Timestamp) -> Vec<String> {
    let nothing = ModelStatus::default();
    let status = model.status.as_ref().unwrap_or(&nothing);
    let running = running(status);
    let known = |figure: Option<String>| figure.unwrap_or_else(|| "-".to_owned());
    let total = running.and_then(|download| download.total_bytes);
    let published = status.content.as_ref().and_then(|content| content.bytes);
    let speed = running.and_then(|download| download.bytes_per_second);
    vec![
        model.name_any(),
        phase(model).as_str().to_owned(),
        known(status.progress.map(|percent| format!("{percent} %"))),
        known(total.or(published).map(bytes)),
        known(speed.map(|speed| format!("{}/s", bytes(speed)))),
        known(running.and_then(seconds_left).map(span)),
        shown(&model.spec.source),
        age(model.metadata.creation_timestamp.as_ref().map(|time| time.0), now),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn models_are_a_table() {
        let models: Vec<Model> = serde_json::from_value(json!([
            {
                "apiVersion": "models.main-currents.news/v1alpha1", "kind": "Model",
                "metadata": { "name": "llama", "namespace": "team-b", "creationTimestamp": "2026-01-01T00:00:00Z" },
                "spec": { "source": { "huggingFace": { "repoId": "meta-llama/Llama-3.1-8B" } }, "storage": { "size": "20Gi" } },
                "status": {
                    "phase": "Downloading", "progress": 50,
                    "download": { "id": "a", "attempt": 1, "startedAt": "2026-01-01T00:00:00Z", "totalBytes": 16_106_127_360_i64, "downloadedBytes": 8_053_063_680_i64, "bytesPerSecond": 104_857_600 },
                },
            },
            {
                "apiVersion": "models.main-currents.news/v1alpha1", "kind": "Model",
                "metadata": { "name": "tiny", "namespace": "team-a", "creationTimestamp": "2025-12-30T00:00:00Z" },
                "spec": { "source": { "s3": { "bucket": "models", "key": "tiny/" } }, "storage": { "size": "1Gi" } },
                "status": {
                    "phase": "Ready", "progress": 100,
                    "content": { "id": "b", "path": "revisions/b", "source": { "s3": { "bucket": "models", "key": "tiny/" } }, "bytes": 2_300_000, "verified": true },
                    "download": { "id": "b", "attempt": 1, "startedAt": "2025-12-30T00:00:00Z", "totalBytes": 2_300_000, "downloadedBytes": 2_300_000 },
                },
            },
            {
                "apiVersion": "models.main-currents.news/v1alpha1", "kind": "Model",
                "metadata": { "name": "new", "namespace": "team-a" },
                "spec": { "source": { "url": { "url": "https://host/a.bin?sig=s3cret" } }, "storage": { "size": "1Gi" } },
            },
        ]))
        .unwrap();
        let now = "2026-01-01T00:02:05Z".parse().unwrap();
        insta::assert_snapshot!(format!("{}\n\n{}", list(&models, false, now), list(&models, true, now)));
    }
}
