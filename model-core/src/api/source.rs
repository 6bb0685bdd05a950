//! Where a model comes from.

use std::borrow::Cow;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::rules;

/// Where the files come from: exactly one kind of source.
///
/// In JSON this is an object with exactly one of three fields, `{"huggingFace": {…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A repository of a Hugging Face hub.
    HuggingFace(HuggingFaceSource),
    /// One file at an address.
    Url(UrlSource),
    /// An object of an S3 bucket, or all objects below a prefix.
    S3(S3Source),
}

/// The kind of a [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceType {
    /// A repository of a Hugging Face hub.
    HuggingFace,
    /// One file at an address.
    Url,
    /// A bucket.
    S3,
}

impl SourceType {
    /// The field of `spec.source`: `huggingFace`, `url` or `s3`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HuggingFace => "huggingFace",
            Self::Url => "url",
            Self::S3 => "s3",
        }
    }
}

impl Source {
    /// The kind of source.
    #[must_use]
    pub const fn source_type(&self) -> SourceType {
        match self {
            Self::HuggingFace(_) => SourceType::HuggingFace,
            Self::Url(_) => SourceType::Url,
            Self::S3(_) => SourceType::S3,
        }
    }
}

/// A repository of a Hugging Face hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HuggingFaceSource {
    /// Repository, `ORGANISATION/NAME`, for example `meta-llama/Llama-3.1-8B-Instruct`.
    #[schemars(length(min = 1, max = 200))]
    #[x_kube(validation = rules::repository())]
    pub repo_id: String,
    /// Branch, tag or commit. Default `main`. It is resolved to a commit when the download starts.
    #[serde(default = "main_branch")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rules::revision())]
    pub revision: String,
    /// Only files that match one of these patterns, for example `*.safetensors`. Empty: all files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub include: Vec<String>,
    /// No files that match one of these patterns, for example `original/*`. Stronger than `include`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub exclude: Vec<String>,
}

impl HuggingFaceSource {
    /// All files of the branch `main` of this repository.
    #[must_use]
    pub fn new(repo_id: impl Into<String>) -> Self {
        Self { repo_id: repo_id.into(), revision: main_branch(), include: Vec::new(), exclude: Vec::new() }
    }
}

fn main_branch() -> String {
    "main".to_owned()
}

/// One file at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::plain_url())]
pub struct UrlSource {
    /// Address of the file, `http://` or `https://`, without credentials.
    #[schemars(length(min = 8, max = 2048))]
    pub url: String,
    /// Expected SHA-256 of the file, 64 hex digits. Without it the size alone is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 64, max = 64))]
    #[x_kube(validation = rules::sha256())]
    pub sha256: Option<String>,
}

/// An object of an S3 bucket, or all objects below a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3Source {
    /// Name of the bucket.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = rules::bucket())]
    pub bucket: String,
    /// Key of an object, or the prefix of several, without a leading slash.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = rules::key())]
    pub key: String,
    /// Address of an S3-compatible server. Absent: AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 2048))]
    #[x_kube(validation = rules::endpoint())]
    pub endpoint: Option<String>,
    /// Region of the bucket. Absent: `us-east-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = rules::region())]
    pub region: Option<String>,
}

/// The schema of [`Source`]: three optional fields and one rule with a readable message, where a derived `oneOf`
/// would answer "must validate one and only one schema".
#[derive(KubeSchema)]
#[schemars(rename_all = "camelCase")]
#[x_kube(validation = rules::one_source())]
#[expect(dead_code, reason = "only its schema is used")]
struct SourceFields {
    /// A repository of a Hugging Face hub.
    hugging_face: Option<HuggingFaceSource>,
    /// One file at an address.
    url: Option<UrlSource>,
    /// An object of an S3 bucket, or all objects below a prefix.
    s3: Option<S3Source>,
}

impl JsonSchema for Source {
    fn schema_name() -> Cow<'static, str> {
        "Source".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        SourceFields::json_schema(generator)
    }
}
