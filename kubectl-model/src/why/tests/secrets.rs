//! What others wrote: it neither draws on the screen nor forges its lines, and no credential in it is repeated.

use model_core::api::Model;
use model_core::labels::CONTENT_ID;
use model_core::persisted::Persisted;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::why::{of_model, screen};

/// A view with this text wherever others write.
fn everywhere(foreign: &str) -> ModelView {
    let source = json!({ "url": { "url": "https://host/a.bin?sig=s3cret" } });
    let status = failed_status("DownloadFailed", foreign, "2026-01-01T11:55:00Z");
    let pods = json!([pod_failed("DownloadFailed", foreign)]);
    let events = json!([event("llama", foreign, foreign), event("model-download-llama", "FailedCreate", foreign)]);
    let mut model = model(&status);
    model["spec"]["version"] = json!(foreign);
    model["spec"]["source"] = source;
    let parsed: Model = serde_json::from_value(model.clone()).unwrap();
    let mut job = job_failed();
    job["metadata"]["annotations"][CONTENT_ID] = json!(Persisted::try_from(&parsed).unwrap().content_id);
    view(model, claim(&json!({ "phase": foreign })), None, job, pods, events)
}

#[test]
fn json_for_support_holds_no_credential() {
    let secrets = "GET https://user:s3cret@hub/x?X-Amz-Signature=s3cret with hf_s3cretS3cretS3cretS3cret failed";
    let mut view = everywhere(secrets);
    let environment =
        json!({ "name": "download", "env": [{ "name": "HTTPS_PROXY", "value": "http://me:s3cret@proxy" }] });
    if let Some(spec) = &mut view.pods[0].spec {
        spec.containers = vec![serde_json::from_value(environment).unwrap()];
    }
    let report = of_model(&view, now());
    let text = serde_json::to_string_pretty(&report).unwrap();
    assert!(!text.contains("s3cret") && !text.contains("S3cret"), "{text}");
    assert!(!screen(&report).contains("s3cret"), "{}", screen(&report));
    let parsed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(parsed["findings"][0]["reason"], "DownloadFailed");
    assert!(parsed["findings"][0]["do"].as_str().unwrap().contains("model-download-llama"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]
    #[test]
    fn foreign_text_adds_no_line_and_no_control_character(foreign in "a(\\PC|[\\x00-\\x1f\\x7f-\\x9f\\u{202e}]){0,80}") {
        let shown = screen(&of_model(&everywhere(&foreign), now()));
        let plain = screen(&of_model(&everywhere("plain"), now()));
        prop_assert_eq!(shown.lines().count(), plain.lines().count(), "{}", shown);
        prop_assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", shown);
    }
}
