//! A Model that the API server stored.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;

use crate::api::{Model, ModelSpec, ModelStatus, Source};
use crate::content::content_id;
use crate::labels;
use crate::names::is_model_name;

/// Longest value of the annotation [`labels::VERIFY`] that counts, in bytes. It is repeated in the status.
pub const MAX_VERIFY_REQUEST: usize = 64;

/// A Model as read back from the API server, so that every name a child needs is known to exist.
#[derive(Clone, Debug)]
pub struct Persisted<'a> {
    /// `metadata.name`, known to be a [Model name](is_model_name).
    pub name: &'a str,
    /// `metadata.namespace`.
    pub namespace: &'a str,
    /// `metadata.uid`.
    pub uid: &'a str,
    /// `metadata.creationTimestamp`, to the second.
    pub created: Option<Timestamp>,
    /// `metadata.generation`.
    pub generation: i64,
    /// The [content id](crate::content) that spec and refresh annotation ask for.
    pub content_id: String,
    /// The request to read the published content again: the annotation [`labels::VERIFY`], if it is a time or another word
    /// of at most [`MAX_VERIFY_REQUEST`] characters.
    pub verify: Option<&'a str>,
    /// The wish.
    pub spec: &'a ModelSpec,
    /// What was recorded last. `None` at first sight.
    pub status: Option<&'a ModelStatus>,
}

/// The object cannot be acted on. Only a change of the object helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotPersisted {
    /// A field that the API server always sets is missing.
    #[error("the Model has no metadata.{0}: it was not read from an API server")]
    NoField(&'static str),
    /// The name would break the names of the children.
    #[error("metadata.name {0:?} is no DNS label of at most 48 characters: create the Model under another name")]
    BadName(String),
}

impl<'a> TryFrom<&'a Model> for Persisted<'a> {
    type Error = NotPersisted;

    fn try_from(model: &'a Model) -> Result<Self, NotPersisted> {
        let meta = &model.metadata;
        let name = meta.name.as_deref().ok_or(NotPersisted::NoField("name"))?;
        if !is_model_name(name) {
            return Err(NotPersisted::BadName(name.to_owned()));
        }
        Ok(Self {
            name,
            namespace: meta.namespace.as_deref().ok_or(NotPersisted::NoField("namespace"))?,
            uid: meta.uid.as_deref().ok_or(NotPersisted::NoField("uid"))?,
            created: meta.creation_timestamp.as_ref().map(|time| time.0),
            generation: meta.generation.ok_or(NotPersisted::NoField("generation"))?,
            content_id: wanted_content_id(model),
            verify: verify_request(model),
            spec: &model.spec,
            status: model.status.as_ref(),
        })
    }
}

/// The [content id](crate::content) that spec and refresh annotation ask for.
#[must_use]
pub fn wanted_content_id(model: &Model) -> String {
    let refresh = model.metadata.annotations.as_ref().and_then(|all| all.get(labels::REFRESH)).map(String::as_str);
    content_id(&model.spec.source, model.spec.version.as_deref(), refresh)
}

/// The request to read the published content again: see [`Persisted::verify`].
#[must_use]
pub fn verify_request(model: &Model) -> Option<&str> {
    let request = model.metadata.annotations.as_ref()?.get(labels::VERIFY)?.as_str();
    (1..=MAX_VERIFY_REQUEST).contains(&request.len()).then_some(request)
}

impl Persisted<'_> {
    /// The owner reference of every child, so that it goes when the Model goes.
    #[must_use]
    pub fn owner_reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: Model::api_version(&()).into_owned(),
            kind: Model::kind(&()).into_owned(),
            name: self.name.to_owned(),
            uid: self.uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// Whether the source is asked for size and files before a claim is made.
    #[must_use]
    pub fn wants_plan(&self) -> bool {
        !self.shares_claim() && (self.spec.preflight || self.spec.storage.size.is_none())
    }

    /// How often the source is asked for newer content. `None`: never.
    #[must_use]
    pub fn check_interval(&self) -> Option<SignedDuration> {
        self.spec.check_interval.as_ref()?.parse().ok().filter(|interval: &SignedDuration| interval.is_positive())
    }

    /// Whether the source is a commit, or a file of a known digest: it can have nothing newer.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        match &self.spec.source {
            Source::HuggingFace(source) => {
                source.revision.len() == 40 && source.revision.bytes().all(|byte| byte.is_ascii_hexdigit())
            }
            Source::Url(source) => source.sha256.is_some(),
            Source::S3(_) => false,
        }
    }

    /// Where this content lies on the claim, relative to its root. Stock images write to the root of a claim that is the
    /// Model's own: empty.
    #[must_use]
    pub fn content_path(&self, downloader: &Downloader) -> String {
        let revision = match downloader {
            Downloader::Stock => None,
            Downloader::Loader { .. } => Some(self.content_id.as_str()),
        };
        self.spec.storage.content_path(self.namespace, self.name, revision)
    }

    /// The claim that holds the files.
    #[must_use]
    pub fn claim_name(&self) -> String {
        self.spec.storage.claim_name(self.name)
    }

    /// Whether somebody else made that claim: it is never created, changed or deleted.
    #[must_use]
    pub const fn shares_claim(&self) -> bool {
        self.spec.storage.existing_claim.is_some()
    }
}

/// Which images download.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Downloader {
    /// The images that the specification names. Nothing is verified, and there is no progress between 0 and 100.
    #[default]
    Stock,
    /// Our loader: every file verified, published by one rename, with progress.
    Loader {
        /// Image with the `model-loader` binary as its entry point.
        image: String,
    },
}
