//! Which host a source is downloaded from, to bound the downloads from each.

use std::collections::BTreeMap;

use crate::api::Source;

/// The host of a source, with its port where the URL has one, in lower case and without user name or password.
///
/// `env` is the environment of every download container: it may name another hub (`HF_ENDPOINT`) or another object store
/// (`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`). What a hub or store forwards to is not known before the download.
#[must_use]
pub fn source_host(source: &Source, env: &BTreeMap<String, String>) -> String {
    let set = |name: &str| env.get(name).filter(|value| !value.is_empty());
    match source {
        Source::HuggingFace(_) => set("HF_ENDPOINT").map_or("huggingface.co".to_owned(), |endpoint| host(endpoint)),
        Source::Url(url) => host(&url.url),
        Source::S3(s3) => {
            let endpoint =
                s3.endpoint.as_ref().or_else(|| set("AWS_ENDPOINT_URL_S3")).or_else(|| set("AWS_ENDPOINT_URL"));
            match (endpoint, &s3.region) {
                (Some(endpoint), _) => host(endpoint),
                (None, Some(region)) => format!("s3.{region}.amazonaws.com"),
                (None, None) => "s3.amazonaws.com".to_owned(),
            }
        }
    }
}

fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    // A backslash ends the host too, as URL parsers have it.
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_source_has_one_host_however_it_is_written() {
        let mirror = [("HF_ENDPOINT", "http://hub:8080/mirror"), ("AWS_ENDPOINT_URL", "https://Minio:9000")];
        let bucket = |more: serde_json::Value| {
            let mut s3 = json!({ "bucket": "models", "key": "llama/" });
            s3.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({ "s3": s3 })
        };
        let hub = json!({ "huggingFace": { "repoId": "a/b" } });
        let url = |url: &str| json!({ "url": { "url": url } });
        for (source, env, want) in [
            (hub.clone(), &[][..], "huggingface.co"),
            (hub, &mirror, "hub:8080"),
            (url("https://Example.com/a"), &mirror, "example.com"),
            (url("https://example.com:8443?a=b"), &[], "example.com:8443"),
            (url("https://user:p%40ss@example.com/a@b"), &[], "example.com"),
            (url("https://user:secret@example.com"), &[], "example.com"),
            (url("http://[::1]:80/a"), &[], "[::1]:80"),
            (url("https://example.com\\@other.com"), &[], "example.com"),
            (bucket(json!({})), &[], "s3.amazonaws.com"),
            (bucket(json!({ "region": "eu-central-1" })), &[], "s3.eu-central-1.amazonaws.com"),
            (bucket(json!({ "region": "eu-central-1" })), &mirror, "minio:9000"),
            (bucket(json!({ "endpoint": "https://store.example.com" })), &mirror, "store.example.com"),
        ] {
            let parsed: Source = serde_json::from_value(source.clone()).unwrap();
            let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(source_host(&parsed, &env), want, "{source}");
        }
    }
}
