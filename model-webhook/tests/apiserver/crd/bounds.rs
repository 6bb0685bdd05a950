//! Good values at the bounds of each constraint.

use serde_json::{Value, json};

use super::spec::entries;

/// Where each stands, and the value.
pub fn values() -> Vec<(&'static str, Value)> {
    let text = |length: usize| json!("x".repeat(length));
    let address = |length: usize| json!(format!("https://{}", "x".repeat(length - "https://".len())));
    let list = |count: usize, element: Value| json!(vec![element; count]);
    let mut values = vec![
        ("", json!({ "metadata": { "name": "x" } })),
        ("", json!({ "metadata": { "name": "x".repeat(48) } })),
        ("spec.checkInterval", json!("1h")),
        ("spec.checkInterval", json!("60m")),
        ("spec.checkInterval", json!("1h30m0s")),
        ("spec.checkInterval", json!("8760h")),
        ("spec.checkInterval", json!("00001h000000m01s")),
        ("spec.keepRevisions", json!(1)),
        ("spec.keepRevisions", json!(50)),
        ("spec.nodeSelector", entries(64)),
        ("spec.storage.accessModes", list(1, json!("ReadWriteMany"))),
        ("spec.storage.accessModes", json!(["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"])),
        ("spec.storage.size", json!("1")),
        ("spec.storage.size", json!(format!("{}1Gi", "0".repeat(29)))),
        ("spec.jobTemplate.activeDeadlineSeconds", json!(1)),
        ("spec.jobTemplate.annotations", entries(64)),
        ("spec.jobTemplate.labels", entries(64)),
        ("spec.jobTemplate.imagePullSecrets", list(16, json!({ "name": "x" }))),
        ("spec.jobTemplate.tolerations", list(64, json!({ "operator": "Exists" }))),
        ("spec.source.huggingFace.include", list(64, json!("*.json"))),
        ("spec.source.huggingFace.exclude", list(64, json!("*.json"))),
        // The shortest that is an address has 8 characters.
        ("spec.source.s3.endpoint", json!("http://x")),
        ("spec.source.s3.endpoint", address(2048)),
        ("spec.source.url.url", json!("http://x")),
        ("spec.source.url.url", address(2048)),
        ("spec.source.url.sha256", json!("aF".repeat(32))),
    ];
    for (path, least, most) in [
        ("spec.version", 1, 128),
        ("spec.credentialsSecret", 1, 253),
        ("spec.storage.storageClass", 1, 253),
        ("spec.storage.existingClaim", 1, 253),
        ("spec.jobTemplate.priorityClassName", 1, 253),
        ("spec.jobTemplate.serviceAccountName", 1, 253),
        ("spec.source.huggingFace.repoId", 1, 200),
        ("spec.source.huggingFace.revision", 1, 255),
        ("spec.source.huggingFace.include[]", 1, 256),
        ("spec.source.huggingFace.exclude[]", 1, 256),
        ("spec.source.s3.bucket", 3, 63),
        ("spec.source.s3.key", 1, 1024),
        ("spec.source.s3.region", 1, 64),
    ] {
        values.extend([(path, text(least)), (path, text(most))]);
    }
    values
}
