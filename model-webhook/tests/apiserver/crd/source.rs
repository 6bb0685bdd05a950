//! Rows of the source, as the spec wants it and as the status repeats it.

use serde_json::json;

use super::{Row, row};

/// The rows of a source that stands at this path.
pub fn rows(at: &str) -> Vec<Row> {
    let there = |path: &str| if path.is_empty() { at.to_owned() } else { format!("{at}.{path}") };
    let rows = [whole(), hugging_face(), s3(), url()].into_iter().flatten();
    rows.map(|row| Row { path: there(&row.path), ..row }).collect()
}

fn whole() -> Vec<Row> {
    let two = json!({ "huggingFace": { "repoId": "a/b" }, "url": { "url": "https://example.com/x" } });
    let says = "Invalid value: spec.source must have exactly one of huggingFace, url, s3";
    vec![row("", "rule", json!({}), says), row("", "rule", json!({ "ftp": {} }), says), row("", "rule", two, says)]
}

fn hugging_face() -> Vec<Row> {
    let patterns = |count: usize| json!(vec!["*.json"; count]);
    vec![
        row("huggingFace", "required repoId", json!({}), "Required value"),
        row(
            "huggingFace.repoId",
            "minLength",
            "",
            r#"Invalid value: "": {at} in body should be at least 1 chars long"#,
        ),
        row("huggingFace.repoId", "maxLength", "x".repeat(201), "Too long: may not be more than 200 bytes"),
        row(
            "huggingFace.repoId",
            "rule",
            "a b/c",
            r#"Invalid value: "a b/c": write ORGANISATION/NAME as the address of the model's page ends, for example meta-llama/Llama-3.1-8B-Instruct"#,
        ),
        row(
            "huggingFace.repoId",
            "rule",
            "https://huggingface.co/a/b",
            r#"Invalid value: "https://huggingface.co/a/b": write ORGANISATION/NAME as the address of the model's page ends, for example meta-llama/Llama-3.1-8B-Instruct"#,
        ),
        row(
            "huggingFace.revision",
            "minLength",
            "",
            r#"Invalid value: "": {at} in body should be at least 1 chars long"#,
        ),
        row("huggingFace.revision", "maxLength", "x".repeat(256), "Too long: may not be more than 255 bytes"),
        row(
            "huggingFace.revision",
            "rule",
            "--flag",
            r#"Invalid value: "--flag": write a branch, tag or commit of the repository: it starts with a letter or digit and has no spaces"#,
        ),
        row("huggingFace.include", "maxItems", patterns(65), "Too many: 65: must have at most 64 items"),
        row(
            "huggingFace.include[]",
            "minLength",
            "",
            r#"Invalid value: "": {at} in body should be at least 1 chars long"#,
        ),
        row("huggingFace.include[]", "maxLength", "x".repeat(257), "Too long: may not be more than 256 bytes"),
        row("huggingFace.exclude", "maxItems", patterns(65), "Too many: 65: must have at most 64 items"),
        row(
            "huggingFace.exclude[]",
            "minLength",
            "",
            r#"Invalid value: "": {at} in body should be at least 1 chars long"#,
        ),
        row("huggingFace.exclude[]", "maxLength", "x".repeat(257), "Too long: may not be more than 256 bytes"),
    ]
}

fn s3() -> Vec<Row> {
    let address = |length: usize| format!("https://{}", "x".repeat(length - "https://".len()));
    vec![
        row("s3", "required key", json!({ "bucket": "models" }), "Required value"),
        row("s3", "required bucket", json!({ "key": "llama" }), "Required value"),
        row("s3.bucket", "minLength", "ab", r#"Invalid value: "ab": {at} in body should be at least 3 chars long"#),
        row("s3.bucket", "maxLength", "x".repeat(64), "Too long: may not be more than 63 bytes"),
        row(
            "s3.bucket",
            "rule",
            "Models",
            r#"Invalid value: "Models": write the bucket's name alone, without s3:// and key: a-z, 0-9, - and . only"#,
        ),
        row(
            "s3.bucket",
            "rule",
            "s3://models",
            r#"Invalid value: "s3://models": write the bucket's name alone, without s3:// and key: a-z, 0-9, - and . only"#,
        ),
        row("s3.key", "minLength", "", r#"Invalid value: "": {at} in body should be at least 1 chars long"#),
        row("s3.key", "maxLength", "x".repeat(1025), "Too long: may not be more than 1024 bytes"),
        row(
            "s3.key",
            "rule",
            "/a",
            r#"Invalid value: "/a": write the key, or the prefix of several, without a slash at its start and without control characters"#,
        ),
        row(
            "s3.key",
            "rule",
            "a\nb",
            r#"Invalid value: "a\nb": write the key, or the prefix of several, without a slash at its start and without control characters"#,
        ),
        row(
            "s3.endpoint",
            "minLength",
            "http://",
            r#"Invalid value: "http://": {at} in body should be at least 8 chars long"#,
        ),
        row("s3.endpoint", "maxLength", address(2049), "Too long: may not be more than 2048 bytes"),
        row(
            "s3.endpoint",
            "rule",
            "minio:9000",
            r#"Invalid value: "minio:9000": write the server's http or https address, without user or password: those belong in spec.credentialsSecret"#,
        ),
        row(
            "s3.endpoint",
            "rule",
            "https:///minio",
            r#"Invalid value: "https:///minio": write the server's http or https address, without user or password: those belong in spec.credentialsSecret"#,
        ),
        row(
            "s3.endpoint",
            "rule",
            "https://user:secret@minio",
            r#"Invalid value: "https://user:secret@minio": write the server's http or https address, without user or password: those belong in spec.credentialsSecret"#,
        ),
        row("s3.region", "minLength", "", r#"Invalid value: "": {at} in body should be at least 1 chars long"#),
        row("s3.region", "maxLength", "x".repeat(65), "Too long: may not be more than 64 bytes"),
        row(
            "s3.region",
            "rule",
            "eu central",
            r#"Invalid value: "eu central": write the region's name, for example eu-central-1"#,
        ),
    ]
}

fn url() -> Vec<Row> {
    let address = |length: usize| format!("https://{}", "x".repeat(length - "https://".len()));
    let short = format!(r#"Invalid value: "{}": {{at}} in body should be at least 64 chars long"#, "a".repeat(63));
    let no_digest =
        format!(r#"Invalid value: "{}": write the 64 hex digits that sha256sum prints for the file"#, "g".repeat(64));
    let says = "Invalid value: spec.source.url.url must be a valid http or https address without user or password: those belong in spec.credentialsSecret";
    let at = |url: &str| row("url", "rule", json!({ "url": url }), says);
    vec![
        row("url", "required url", json!({}), "Required value"),
        row(
            "url.url",
            "minLength",
            "http://",
            r#"Invalid value: "http://": {at} in body should be at least 8 chars long"#,
        ),
        row("url.url", "maxLength", address(2049), "Too long: may not be more than 2048 bytes"),
        at("https://user:secret@example.com/model"),
        at("http://user@example.com/model"),
        at("ftp://example.com/model"),
        at("https:///model"),
        at("https://example.com/a model"),
        row("url.sha256", "minLength", "a".repeat(63), &short),
        row("url.sha256", "maxLength", "a".repeat(65), "Too long: may not be more than 64 bytes"),
        row("url.sha256", "rule", "g".repeat(64), &no_digest),
    ]
}
