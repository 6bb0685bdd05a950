//! The wish: `Model` and its `spec`.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{JobTemplate, ModelStatus, Source, rules};

/// A model whose files are downloaded once and mounted into pods that ask for it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "models.main-currents.news",
    version = "v1alpha1",
    kind = "Model",
    namespaced,
    status = "ModelStatus",
    derive = "PartialEq",
    category = "models",
    doc = "A model whose files are downloaded once, kept on a claim, and mounted into any pod of its namespace that asks for it by annotation.",
    validation = rules::name(),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Pending, Downloading, Ready or Failed"),
    printcolumn(name = "Progress", type_ = "integer", json_path = ".status.progress", description = "Percent of the bytes that are there"),
    printcolumn(name = "Version", type_ = "string", json_path = ".spec.version"),
    printcolumn(name = "Size", type_ = "string", json_path = ".spec.storage.size", description = "Size of the claim"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct ModelSpec {
    /// Where the files come from: exactly one of `huggingFace`, `url`, `s3`.
    pub source: Source,
    /// The claim that holds the files.
    pub storage: Storage,
    /// A label of your own for this content. A new value starts a new download.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub version: Option<String>,
    /// Secret in the Model's namespace with the keys that the source needs: `HF_TOKEN`; `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY` and optionally `AWS_SESSION_TOKEN`; for a url `TOKEN`, or `USERNAME` and `PASSWORD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub credentials_secret: Option<String>,
    /// Labels of the nodes that the download may run on. Says nothing about the pods that mount the model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Further settings of the download Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_template: Option<JobTemplate>,
}

/// The claim that holds a model's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::storage_class_is_fixed(),
    validation = rules::access_modes_are_fixed(),
    validation = rules::size_is_positive(),
    validation = rules::size_only_grows()
)]
pub struct Storage {
    /// Storage class. Absent: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class: Option<String>,
    /// Size of the claim, for example `20Gi`. Leave room for a second copy while a new revision is downloaded.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[0-9]+(\.[0-9]+)?([EPTGMk]i?|Ki|m|[eE][0-9]+)?$"))]
    pub size: String,
    /// Access modes of the claim. Default `[ReadWriteOnce]`.
    #[serde(default = "read_write_once")]
    #[schemars(length(min = 1, max = 4))]
    pub access_modes: Vec<AccessMode>,
}

/// How many nodes or pods can mount the claim at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AccessMode {
    /// One node.
    ReadWriteOnce,
    /// Many nodes, for reading.
    ReadOnlyMany,
    /// Many nodes.
    ReadWriteMany,
    /// One pod.
    ReadWriteOncePod,
}

impl AccessMode {
    /// The word that Kubernetes uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWriteOnce => "ReadWriteOnce",
            Self::ReadOnlyMany => "ReadOnlyMany",
            Self::ReadWriteMany => "ReadWriteMany",
            Self::ReadWriteOncePod => "ReadWriteOncePod",
        }
    }
}

fn read_write_once() -> Vec<AccessMode> {
    vec![AccessMode::ReadWriteOnce]
}
