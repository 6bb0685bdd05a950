//! The content id: what tells one download from another.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::Source;

/// Version of the hashed form. A change of it downloads every model again, so it never changes lightly.
const FORMAT: u32 = 1;

/// Number of hex digits of an id.
pub const LENGTH: usize = 20;

/// Whether this can be a content id: [`LENGTH`] hex digits.
#[must_use]
pub fn is_content_id(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The content id of a source, a version and the value of the refresh annotation: the first [`LENGTH`] hex digits of
/// the SHA-256 over canonical JSON, with sorted keys and without absent fields.
///
/// Storage, credentials and Job settings do not count: to change them must not download anything again.
#[must_use]
pub fn content_id(source: &Source, version: Option<&str>, refresh: Option<&str>) -> String {
    let wanted = json!({ "format": FORMAT, "source": source, "version": version, "refresh": refresh });
    let mut hashed = String::new();
    write_canonical(&wanted, &mut hashed);
    let digest = Sha256::digest(hashed);
    digest.iter().take(LENGTH / 2).fold(String::with_capacity(LENGTH), |mut id, byte| {
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
        id
    })
}

/// Canonical JSON: keys sorted, nulls left out, no white space.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut present: Vec<_> = fields.iter().filter(|(_, value)| !value.is_null()).collect();
            present.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (index, (key, value)) in present.into_iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                write_scalar(key.as_str(), out);
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => write_scalar(scalar, out),
    }
}

fn write_scalar(scalar: impl Serialize, out: &mut String) {
    // Texts, numbers and truth values have a form in JSON.
    out.push_str(&serde_json::to_string(&scalar).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{HuggingFaceSource, S3Source, UrlSource};

    fn hugging_face(revision: &str) -> Source {
        Source::HuggingFace(HuggingFaceSource {
            repo_id: "meta-llama/Llama-3.1-8B-Instruct".into(),
            revision: revision.into(),
            include: vec![],
            exclude: vec!["original/*".into()],
        })
    }

    /// Golden values: if one changes, every installed Model downloads again.
    #[test]
    fn ids_never_change() {
        let url = Source::Url(UrlSource { url: "https://example.com/a.bin".into(), sha256: None });
        let s3 = Source::S3(S3Source { bucket: "models".into(), key: "llama/".into(), endpoint: None, region: None });
        let ids = [
            content_id(&hugging_face("main"), None, None),
            content_id(&hugging_face("main"), Some("3.1"), None),
            content_id(&hugging_face("main"), Some("3.1"), Some("2026-01-01T00:00:00Z")),
            content_id(&url, None, None),
            content_id(&s3, None, None),
        ];
        insta::assert_yaml_snapshot!(ids);
    }

    #[test]
    fn the_hashed_form_is_canonical() {
        let json = json!({"b": [1, "x\"y"], "a": {"d": null, "c": true}});
        let mut canonical = String::new();
        write_canonical(&json, &mut canonical);
        assert_eq!(canonical, r#"{"a":{"c":true},"b":[1,"x\"y"]}"#);
    }

    #[test]
    fn source_version_and_refresh_each_count() {
        let base = content_id(&hugging_face("main"), None, None);
        assert!(is_content_id(&base));
        for other in ["", "lost+found", &base[1..], &base.to_uppercase(), "../../../../../../.."] {
            assert!(!is_content_id(other), "{other}");
        }
        assert_ne!(base, content_id(&hugging_face("v2"), None, None));
        assert_ne!(base, content_id(&hugging_face("main"), Some("main"), None));
        assert_ne!(base, content_id(&hugging_face("main"), None, Some("main")));
        assert_ne!(
            content_id(&hugging_face("main"), Some("x"), None),
            content_id(&hugging_face("main"), None, Some("x"))
        );
    }
}
