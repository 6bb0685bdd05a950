//! The `AWS_…` variables: credentials, endpoint, style of addresses.

use std::fs;

use model_core::reason::Reason;
use object_store::{
    RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey},
};
use url::Url;

use super::connector::Connector;
use crate::{Access, Error, http::Http};

/// Variables that need each other.
const PAIRS: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
];
/// Variables that name a file with a token in it.
const TOKEN_FILES: [&str; 2] = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"];
/// Needs no other variable.
const CONTAINER: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";

/// Whether there are credentials. Half of them is an error, so that nothing is asked for without them by mistake.
pub(super) fn signs(access: &Access, shown: &str) -> Result<bool, Error> {
    let has = |name: &str| access.aws.contains_key(name);
    let incomplete = |message: String| Error::new(Reason::CredentialsMissing, format!("{shown}: {message}"));
    for (one, other) in PAIRS {
        match (has(one), has(other)) {
            (true, false) => return Err(incomplete(format!("{one} is set and {other} is not"))),
            // Keys go before everything else.
            (true, true) if one == "AWS_ACCESS_KEY_ID" => return Ok(true),
            _ => {}
        }
    }
    for path in TOKEN_FILES.iter().filter_map(|name| access.aws.get(*name)) {
        fs::File::open(path)
            .map_err(|error| incomplete(format!("could not read the token in {path}")).caused_by(error))?;
    }
    Ok(has(CONTAINER) || TOKEN_FILES.iter().any(|name| has(name)))
}

/// The bucket as the variables describe it.
pub(super) fn open(bucket: &str, access: &Access, http: &Http, signed: bool) -> object_store::Result<AmazonS3> {
    let mut builder = AmazonS3Builder::new();
    for (name, value) in &access.aws {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    let value = |key| builder.get_config_value(&key);
    let is_virtual = value(AmazonS3ConfigKey::VirtualHostedStyleRequest).is_some_and(|text| is_true(&text));
    let endpoint = value(AmazonS3ConfigKey::S3Endpoint).or(value(AmazonS3ConfigKey::Endpoint));
    if let Some(host) = endpoint.filter(|_| is_virtual).and_then(|endpoint| with_bucket(&endpoint, bucket)) {
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, host);
    }
    if !signed {
        // Only to have URLs written, which need some credentials; they are taken off again.
        builder = builder.with_access_key_id("anonymous").with_secret_access_key("anonymous").with_skip_signature(true);
    }
    let no_retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    builder.with_bucket_name(bucket).with_retry(no_retry).with_http_connector(Connector(http.clone())).build()
}

/// As `object_store` reads it.
fn is_true(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "1" | "true" | "on" | "yes" | "y")
}

/// The endpoint with the bucket in its host, as other tools write it themselves and `object_store` does not. An address
/// without names, and one that has the bucket in it already, stay as they are.
fn with_bucket(endpoint: &str, bucket: &str) -> Option<String> {
    let mut url = Url::parse(endpoint).ok()?;
    let host = url.domain()?;
    if host.starts_with(&format!("{bucket}.")) {
        return None;
    }
    let host = format!("{bucket}.{host}");
    url.set_host(Some(&host)).ok()?;
    Some(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(variables: &[(&str, &str)]) -> Access {
        Access::from_vars(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).unwrap()
    }

    #[test]
    fn half_of_the_credentials_is_no_anonymous_user() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        fs::write(&token, "t").unwrap();
        let token = token.to_str().unwrap();
        let (key, secret) = (("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s"));
        let (file, role) = (("AWS_WEB_IDENTITY_TOKEN_FILE", token), ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"));
        for (variables, want) in [
            (&[][..], Some(false)),
            (&[("AWS_REGION", "eu-west-1"), role], Some(false)),
            (&[key, secret], Some(true)),
            (&[key], None),
            (&[secret], None),
            (&[file, role], Some(true)),
            (&[file], None),
            (&[key, secret, file], Some(true)),
            (&[("AWS_WEB_IDENTITY_TOKEN_FILE", "/absent/token"), role], None),
            (&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials")], None),
            (&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials")], Some(true)),
        ] {
            let got = signs(&access(variables), "s3://b/k");
            let reason = got.as_ref().err().map(Error::reason);
            assert_eq!(got.ok(), want, "{variables:?}");
            assert!(reason.is_none_or(|reason| reason == Reason::CredentialsMissing), "{variables:?}");
        }
    }

    #[test]
    fn the_bucket_goes_into_a_host_that_has_a_name() {
        for (endpoint, want) in [
            ("https://minio.example.com", Some("https://models.minio.example.com")),
            ("http://minio:9000/", Some("http://models.minio:9000")),
            ("https://models.s3.example.com", None),
            ("http://127.0.0.1:9000", None),
            ("http://[::1]:9000", None),
            ("minio", None),
        ] {
            assert_eq!(with_bucket(endpoint, "models").as_deref(), want, "{endpoint}");
        }
    }
}
