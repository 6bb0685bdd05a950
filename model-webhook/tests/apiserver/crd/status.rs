//! Rows of the status.

use serde_json::{Value, json};

use super::{INT32, INT64, Row, put, row, source};

/// A status with everything that has a constraint.
pub fn whole() -> Value {
    json!({
        "phase": "Ready",
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Downloaded", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"
        }],
        "check": {
            "since": "2026-01-01T00:00:00Z",
            "found": { "at": "2026-01-01T00:00:00Z", "id": "0123456789abcdef0123" },
            "lastFailure": { "at": "2026-01-01T00:00:00Z", "message": "", "reason": "Stalled" }
        },
        "content": {
            "id": "0123456789abcdef0123",
            "path": "revisions/0123456789abcdef0123",
            "source": { "huggingFace": { "repoId": "a/b" } }
        },
        "download": {
            "attempt": 1,
            "id": "0123456789abcdef0123",
            "lastFailure": { "at": "2026-01-01T00:00:00Z", "message": "", "reason": "Stalled" }
        },
        "earlier": [{ "id": "0123456789abcdef0123", "since": "2026-01-01T00:00:00Z" }],
        "verification": { "request": "now", "result": "Running", "startedAt": "2026-01-01T00:00:00Z" }
    })
}

/// The change of a status that has this value at this path, and is in order beside it.
pub fn with(path: &str, value: &Value) -> Value {
    let mut status = json!({ "status": whole() });
    for (source, whole) in
        [("s3", json!({ "bucket": "models", "key": "llama" })), ("url", json!({ "url": "https://example.com/x" }))]
    {
        if path.starts_with(&format!("status.content.source.{source}")) {
            status["status"]["content"]["source"] = json!({ source: whole });
        }
    }
    put(&mut status, path, value);
    status
}

pub fn rows() -> Vec<Row> {
    let mut rows = source::rows("status.content.source");
    rows.extend(missing());
    rows.extend(numbers());
    let condition = whole()["conditions"][0].clone();
    rows.extend(
        [
            "check.checkedAt",
            "check.since",
            "check.found.at",
            "check.lastFailure.at",
            "content.askedAt",
            "verification.endedAt",
            "verification.startedAt",
        ]
        .map(|field| {
            let says = r#"Invalid value: "yesterday": {at} in body must be of type date-time: "yesterday""#;
            row(&format!("status.{field}"), "format", "yesterday", says)
        }),
    );
    rows.extend([
        row(
            "status.conditions",
            "x-kubernetes-list-map-keys",
            json!([condition, condition]),
            r#"Duplicate value: {"type":"Ready"}"#,
        ),
        row(
            "status.conditions[].lastTransitionTime",
            "format",
            "yesterday",
            r#"Invalid value: "yesterday": {at} in body must be of type date-time: "yesterday""#,
        ),
        row(
            "status.deletionPolicy",
            "enum",
            "Keep",
            r#"Unsupported value: "Keep": supported values: "Delete", "Retain""#,
        ),
        row(
            "status.download.lastFailure.at",
            "format",
            "yesterday",
            r#"Invalid value: "yesterday": {at} in body must be of type date-time: "yesterday""#,
        ),
        row(
            "status.download.startedAt",
            "format",
            "yesterday",
            r#"Invalid value: "yesterday": {at} in body must be of type date-time: "yesterday""#,
        ),
        row(
            "status.earlier[].since",
            "format",
            "yesterday",
            r#"Invalid value: "yesterday": {at} in body must be of type date-time: "yesterday""#,
        ),
        row(
            "status.phase",
            "enum",
            "Done",
            r#"Unsupported value: "Done": supported values: "Pending", "Downloading", "Ready", "Failed""#,
        ),
        row(
            "status.verification.result",
            "enum",
            "Good",
            r#"Unsupported value: "Good": supported values: "Running", "Intact", "Damaged", "Failed""#,
        ),
    ]);
    rows
}

fn missing() -> Vec<Row> {
    let objects: [(&str, &[&'static str]); 9] = [
        ("status.check", &["required since"]),
        ("status.check.found", &["required at", "required id"]),
        ("status.check.lastFailure", &["required at", "required message", "required reason"]),
        (
            "status.conditions[]",
            &["required lastTransitionTime", "required message", "required reason", "required status", "required type"],
        ),
        ("status.content", &["required id", "required path", "required source"]),
        ("status.download", &["required attempt", "required id"]),
        ("status.download.lastFailure", &["required at", "required message", "required reason"]),
        ("status.earlier[]", &["required id", "required since"]),
        ("status.verification", &["required request", "required result", "required startedAt"]),
    ];
    let rows = objects
        .iter()
        .flat_map(|(path, fields)| fields.iter().map(|field| row(path, field, json!({}), "Required value")));
    rows.collect()
}

fn numbers() -> Vec<Row> {
    let beyond = 9_223_372_036_854_775_808_u64;
    let mut rows = vec![
        row("status.progress", "minimum", -1, "Invalid value: -1: {at} in body should be greater than or equal to 0"),
        row("status.progress", "maximum", 101, "Invalid value: 101: {at} in body should be less than or equal to 100"),
        row("status.progress", "format", 2_147_483_648_i64, INT32),
        row(
            "status.download.attempt",
            "minimum",
            -1,
            "Invalid value: -1: {at} in body should be greater than or equal to 0",
        ),
        row("status.download.attempt", "format", 2_147_483_648_i64, INT32),
        row("status.observedGeneration", "format", beyond, INT64),
        row("status.conditions[].observedGeneration", "format", beyond, INT64),
    ];
    for field in [
        "check.found.bytes",
        "content.bytes",
        "download.bytesPerSecond",
        "download.downloadedBytes",
        "download.etaSeconds",
        "download.totalBytes",
        "download.totalFiles",
        "verification.faults",
        "verification.files",
    ] {
        let path = format!("status.{field}");
        rows.push(row(&path, "minimum", -1, "Invalid value: -1: {at} in body should be greater than or equal to 0"));
        rows.push(row(&path, "format", beyond, INT64));
    }
    rows
}
