//! Rows of `spec.jobTemplate`. Most are Kubernetes' own fields, in its own words.

use serde_json::json;

use super::spec::entries;
use super::{INT32, INT64, Row, row};

pub fn rows() -> Vec<Row> {
    let mut rows = own();
    rows.extend(affinity());
    for row in &mut rows {
        row.path = format!("spec.jobTemplate.{}", row.path);
    }
    rows
}

fn own() -> Vec<Row> {
    let list = |count: usize| json!(vec![json!({ "name": "x" }); count]);
    let beyond = json!(9_223_372_036_854_775_808_u64);
    vec![
        row(
            "activeDeadlineSeconds",
            "minimum",
            0,
            "Invalid value: 0: {at} in body should be greater than or equal to 1",
        ),
        row("activeDeadlineSeconds", "format", beyond.clone(), INT64),
        row("annotations", "maxProperties", entries(65), "Too many: 65: must have at most 64 items"),
        row("labels", "maxProperties", entries(65), "Too many: 65: must have at most 64 items"),
        row("imagePullSecrets", "maxItems", list(17), "Too many: 17: must have at most 16 items"),
        row("imagePullSecrets[]", "required name", json!({}), "Required value"),
        row("priorityClassName", "minLength", "", r#"Invalid value: "": {at} in body should be at least 1 chars long"#),
        row("priorityClassName", "maxLength", "x".repeat(254), "Too long: may not be more than 253 bytes"),
        row(
            "serviceAccountName",
            "minLength",
            "",
            r#"Invalid value: "": {at} in body should be at least 1 chars long"#,
        ),
        row("serviceAccountName", "maxLength", "x".repeat(254), "Too long: may not be more than 253 bytes"),
        row(
            "tolerations",
            "maxItems",
            json!(vec![json!({ "operator": "Exists" }); 65]),
            "Too many: 65: must have at most 64 items",
        ),
        row("tolerations[].tolerationSeconds", "format", beyond, INT64),
        row("resources.claims[]", "required name", json!({}), "Required value"),
        row(
            "resources.limits{}",
            "x-kubernetes-int-or-string",
            true,
            r#"Invalid value: "boolean": {at} in body must be of type integer,string: "boolean""#,
        ),
        row(
            "resources.requests{}",
            "x-kubernetes-int-or-string",
            true,
            r#"Invalid value: "boolean": {at} in body must be of type integer,string: "boolean""#,
        ),
    ]
}

fn affinity() -> Vec<Row> {
    let (preferred, required) =
        ("preferredDuringSchedulingIgnoredDuringExecution", "requiredDuringSchedulingIgnoredDuringExecution");
    let mut rows = Vec::new();
    let mut missing = |path: String, fields: &[&'static str]| {
        rows.extend(fields.iter().map(|field| row(&format!("affinity.{path}"), field, json!({}), "Required value")));
    };
    let expression = ["required key", "required operator"];
    missing(format!("nodeAffinity.{preferred}[]"), &["required preference", "required weight"]);
    missing(format!("nodeAffinity.{preferred}[].preference.matchExpressions[]"), &expression);
    missing(format!("nodeAffinity.{preferred}[].preference.matchFields[]"), &expression);
    missing(format!("nodeAffinity.{required}"), &["required nodeSelectorTerms"]);
    missing(format!("nodeAffinity.{required}.nodeSelectorTerms[].matchExpressions[]"), &expression);
    missing(format!("nodeAffinity.{required}.nodeSelectorTerms[].matchFields[]"), &expression);
    for pods in ["podAffinity", "podAntiAffinity"] {
        missing(format!("{pods}.{preferred}[]"), &["required podAffinityTerm", "required weight"]);
        for term in [format!("{pods}.{preferred}[].podAffinityTerm"), format!("{pods}.{required}[]")] {
            missing(term.clone(), &["required topologyKey"]);
            for selector in ["labelSelector", "namespaceSelector"] {
                missing(format!("{term}.{selector}.matchExpressions[]"), &expression);
            }
        }
    }
    for kind in ["nodeAffinity", "podAffinity", "podAntiAffinity"] {
        rows.push(row(&format!("affinity.{kind}.{preferred}[].weight"), "format", 2_147_483_648_i64, INT32));
    }
    rows
}
