//! Rows of the name, of the claim and of what else a spec has beside source and Job.

use serde_json::{Value, json};

use super::{INT32, Row, row};

/// A map with so many entries.
pub fn entries(count: usize) -> Value {
    (0..count).map(|number| (format!("key-{number}"), json!("value"))).collect::<serde_json::Map<_, _>>().into()
}

pub fn rows() -> Vec<Row> {
    let mut rows = named();
    rows.extend(storage());
    rows.extend(["59m", "3599s", "8761h", "8760h1s", "1d", "daily", "30m1h", "-2h", "1.5h", "24", ""].map(|value| {
        let says =
            "write hours, minutes and seconds, for example 24h or 1h30m: at least 1h, at most 8760h, which is a year";
        row("spec.checkInterval", "rule", value, &format!(r#"Invalid value: "{value}": {says}"#))
    }));
    rows.extend([
        row("", "required spec", json!({ "spec": null }), "Required value"),
        row("spec", "required source", json!({ "storage": {} }), "Required value"),
        row("spec", "required storage", json!({ "source": { "url": { "url": "https://example.com/x" } } }), "Required value"),
        row("spec.version", "minLength", "", r#"Invalid value: "": {at} in body should be at least 1 chars long"#),
        row("spec.version", "maxLength", "1".repeat(129), "Too long: may not be more than 128 bytes"),
        row("spec.version", "type", 2, r#"Invalid value: "integer": {at} in body must be of type string: "integer""#),
        row("spec.credentialsSecret", "minLength", "", r#"Invalid value: "": {at} in body should be at least 1 chars long"#),
        row("spec.credentialsSecret", "maxLength", "x".repeat(254), "Too long: may not be more than 253 bytes"),
        row("spec.credentialsSecret", "rule", "My Secret", r#"Invalid value: "My Secret": write the name of an object of this namespace: a-z, 0-9, - and . only, with a letter or digit at both ends"#),
        row("spec.credentialsSecret", "rule", "other-namespace/secret", r#"Invalid value: "other-namespace/secret": write the name of an object of this namespace: a-z, 0-9, - and . only, with a letter or digit at both ends"#),
        row("spec.checkInterval", "maxLength", "00001h000000m001s", "Too long: may not be more than 16 bytes"),
        row("spec.checkInterval", "type", 24, r#"Invalid value: "integer": {at} in body must be of type string: "integer""#),
        row("spec.nodeSelector", "maxProperties", entries(65), "Too many: 65: must have at most 64 items"),
        row("spec.nodeSelector{}", "type", true, r#"Invalid value: "boolean": {at} in body must be of type string: "boolean""#),
        row("spec.keepRevisions", "minimum", 0, "Invalid value: 0: {at} in body should be greater than or equal to 1"),
        row("spec.keepRevisions", "maximum", 51, "Invalid value: 51: {at} in body should be less than or equal to 50"),
        row("spec.keepRevisions", "format", 2_147_483_648_i64, INT32),
        row("spec.deletionPolicy", "enum", "Keep", r#"Unsupported value: "Keep": supported values: "Delete", "Retain""#),
        row("spec.preflight", "type", "yes", r#"Invalid value: "string": {at} in body must be of type boolean: "string""#),
    ]);
    rows
}

/// `metadata.name` stands outside of the schema's reach, so that the rule is at the root.
fn named() -> Vec<Row> {
    let says = "Invalid value: metadata.name must be a DNS label (a-z, 0-9 and -, no dots) of at most 48 characters, because the Job is called model-download-{name}";
    let name = |name: &str| row("", "rule", json!({ "metadata": { "name": name } }), says);
    vec![name("llama.3"), name(&"x".repeat(49))]
}

fn storage() -> Vec<Row> {
    let shared = |beside: Value| {
        let mut storage = beside;
        storage["existingClaim"] = json!("weights");
        row(
            "spec.storage",
            "rule",
            storage,
            "Invalid value: spec.storage.existingClaim cannot stand beside storageClass, size or accessModes: they are the claim's own",
        )
    };
    let mode = "ReadWriteOnce";
    vec![
        row("spec.storage.size", "minLength", "", r#"Invalid value: "": {at} in body should be at least 1 chars long"#),
        row(
            "spec.storage.size",
            "maxLength",
            format!("{}1", "0".repeat(32)),
            "Too long: may not be more than 32 bytes",
        ),
        row(
            "spec.storage.size",
            "rule",
            "big",
            r#"Invalid value: "big": write an amount as Kubernetes does, for example 20Gi"#,
        ),
        row(
            "spec.storage.size",
            "rule",
            "-1Gi",
            r#"Invalid value: "-1Gi": write an amount as Kubernetes does, for example 20Gi"#,
        ),
        row(
            "spec.storage.size",
            "rule",
            "20GB",
            r#"Invalid value: "20GB": write an amount as Kubernetes does, for example 20Gi"#,
        ),
        row(
            "spec.storage.size",
            "type",
            20,
            r#"Invalid value: "integer": {at} in body must be of type string: "integer""#,
        ),
        row("spec.storage", "rule", json!({ "size": "0" }), "Invalid value: spec.storage.size must be more than 0"),
        row(
            "spec.storage.storageClass",
            "minLength",
            "",
            r#"Invalid value: "": {at} in body should be at least 1 chars long"#,
        ),
        row("spec.storage.storageClass", "maxLength", "x".repeat(254), "Too long: may not be more than 253 bytes"),
        row(
            "spec.storage.existingClaim",
            "minLength",
            "",
            r#"Invalid value: "": {at} in body should be at least 1 chars long"#,
        ),
        row("spec.storage.existingClaim", "maxLength", "x".repeat(254), "Too long: may not be more than 253 bytes"),
        row(
            "spec.storage.existingClaim",
            "rule",
            "../x",
            r#"Invalid value: "../x": write the name of an object of this namespace: a-z, 0-9, - and . only, with a letter or digit at both ends"#,
        ),
        row(
            "spec.storage.accessModes",
            "minItems",
            json!([]),
            "Invalid value: 0: {at} in body should have at least 1 items",
        ),
        row(
            "spec.storage.accessModes",
            "maxItems",
            json!([mode, mode, mode, mode, mode]),
            "Too many: 5: must have at most 4 items",
        ),
        row(
            "spec.storage.accessModes[]",
            "enum",
            "ReadSometimes",
            r#"Unsupported value: "ReadSometimes": supported values: "ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod""#,
        ),
        row(
            "spec.storage.accessModes",
            "type",
            mode,
            r#"Invalid value: "string": {at} in body must be of type array: "string""#,
        ),
        shared(json!({ "size": "1Gi" })),
        shared(json!({ "storageClass": "fast" })),
        shared(json!({ "accessModes": ["ReadWriteMany"] })),
    ]
}
