//! The environment of a download container.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};
use model_core::api::{S3Source, SourceType};
use model_core::persisted::Persisted;

use crate::expansion::literal;

/// Region of a bucket whose Model names none.
const DEFAULT_REGION: &str = "us-east-1";

/// Variables by name, so that no name appears twice: server-side apply refuses that.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment(BTreeMap<String, EnvVar>);

impl Environment {
    /// Starts with what the operator sets for every download.
    pub(super) fn new(settings: &BTreeMap<String, String>) -> Self {
        let mut environment = Self::default();
        for (name, value) in settings {
            environment.set(name, value);
        }
        environment
    }

    /// Sets a variable to exactly `value`.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        let variable = EnvVar { name: name.to_owned(), value: Some(literal(value)), value_from: None };
        self.0.insert(name.to_owned(), variable);
    }

    /// Sets address and region of a bucket, under the names that every S3 client reads.
    pub(super) fn set_s3(&mut self, source: &S3Source) {
        if let Some(endpoint) = &source.endpoint {
            self.set("AWS_ENDPOINT_URL", endpoint);
        }
        self.set("AWS_REGION", source.region.as_deref().unwrap_or(DEFAULT_REGION));
    }

    /// Takes the keys that the source needs from `spec.credentialsSecret`, if there is one.
    ///
    /// A key without which nothing works is not optional: the kubelet then names the missing key instead of starting
    /// a download that must fail.
    pub(super) fn set_credentials(&mut self, model: &Persisted) {
        const REQUIRED: bool = false;
        const OPTIONAL: bool = true;
        let Some(secret) = &model.spec.credentials_secret else { return };
        let keys: &[(&str, bool)] = match model.spec.source.source_type() {
            SourceType::HuggingFace => &[("HF_TOKEN", REQUIRED)],
            SourceType::S3 => {
                &[("AWS_ACCESS_KEY_ID", REQUIRED), ("AWS_SECRET_ACCESS_KEY", REQUIRED), ("AWS_SESSION_TOKEN", OPTIONAL)]
            }
            SourceType::Url => &[("TOKEN", OPTIONAL), ("USERNAME", OPTIONAL), ("PASSWORD", OPTIONAL)],
        };
        for &(key, optional) in keys {
            let selector =
                SecretKeySelector { key: key.to_owned(), name: secret.clone(), optional: optional.then_some(true) };
            let source = EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() };
            let variable = EnvVar { name: key.to_owned(), value: None, value_from: Some(source) };
            self.0.insert(key.to_owned(), variable);
        }
    }

    /// The variables in the order of their names; `None` when there are none.
    pub(super) fn into_variables(self) -> Option<Vec<EnvVar>> {
        (!self.0.is_empty()).then(|| self.0.into_values().collect())
    }
}
