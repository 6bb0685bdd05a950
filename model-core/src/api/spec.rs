//! The wish: `Model` and its `spec`.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{JobTemplate, ModelStatus, Source, rules};
use crate::names::{claim_name, revision_path, shared_directory};

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
#[non_exhaustive]
pub struct ModelSpec {
    /// Where the files come from: exactly one of `huggingFace`, `url`, `s3`.
    pub source: Source,
    /// The claim that holds the files.
    pub storage: Storage,
    /// Whether to ask the source for size, access and files before a claim is made, also where `storage.size` is given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preflight: bool,
    /// A label of your own for this content. A new value starts a new download.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub version: Option<String>,
    /// Secret in the Model's namespace with the keys that the source needs: `HF_TOKEN`; `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY` and optionally `AWS_SESSION_TOKEN`; for a url `TOKEN`, or `USERNAME` and `PASSWORD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub credentials_secret: Option<String>,
    /// Labels of the nodes that the download may run on. Says nothing about the pods that mount the model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// How often the source is asked whether it has newer content than what is mounted, for example `24h` or `1h30m`: at
    /// least `1h`, at most `8760h`. The condition `UpToDate` tells. Nothing is downloaded by that. Absent: it is not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = rules::check_interval())]
    pub check_interval: Option<String>,
    /// How many contents stay on the claim, the mounted one included. Default 1. More make the way back to an earlier one
    /// short: nothing is downloaded again. What a pod still names stays in any case, whatever phase the pod is in.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 50))]
    pub keep_revisions: i32,
    /// Whether the claim goes with the Model. Default `Delete`. What is in force says `status.deletionPolicy`. A claim that
    /// was retained is taken over by the next Model of the same name, and its files are checked before they are mounted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
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
    validation = rules::existing_claim_stands_alone(),
    validation = rules::existing_claim_is_fixed(),
    validation = rules::size_is_positive(),
    validation = rules::size_only_grows()
)]
#[non_exhaustive]
pub struct Storage {
    /// A claim of the Model's namespace that is there already. The model gets a directory of its own on it, so several
    /// Models can share it. The operator never changes or deletes the claim; files stay on it when the Model goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub existing_claim: Option<String>,
    /// Storage class. Absent: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class: Option<String>,
    /// Size of the claim, for example `20Gi`. Leave room for a second copy while a new revision is downloaded. Absent: the
    /// source is asked first, and the claim gets twice what it has, and a tenth more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules::quantity())]
    pub size: Option<String>,
    /// Access modes of the claim. Default `[ReadWriteOnce]`. Means nothing beside `existingClaim`.
    #[serde(default = "read_write_once")]
    #[schemars(length(min = 1, max = 4))]
    pub access_modes: Vec<AccessMode>,
}

impl ModelSpec {
    /// What downloads this source onto this claim, with the default of every other field.
    ///
    /// ```
    /// use model_core::api::{HuggingFaceSource, Model, ModelSpec, Source, Storage};
    ///
    /// let source = Source::HuggingFace(HuggingFaceSource::new("acme/tiny"));
    /// let mut spec = ModelSpec::new(source, Storage::of_size("2Gi"));
    /// spec.version = Some("1".to_owned());
    /// let model = Model::new("tiny", spec);
    /// # assert_eq!(model.spec.keep_revisions, 1);
    /// ```
    #[must_use]
    pub const fn new(source: Source, storage: Storage) -> Self {
        Self {
            source,
            storage,
            preflight: false,
            version: None,
            credentials_secret: None,
            node_selector: BTreeMap::new(),
            check_interval: None,
            keep_revisions: one(),
            deletion_policy: DeletionPolicy::Delete,
            job_template: None,
        }
    }
}

/// A claim of the cluster's default class, as large as the source turns out to need.
impl Default for Storage {
    fn default() -> Self {
        Self { existing_claim: None, storage_class: None, size: None, access_modes: read_write_once() }
    }
}

impl Storage {
    /// A claim of this size, for example `20Gi`, of the cluster's default class.
    #[must_use]
    pub fn of_size(size: impl Into<String>) -> Self {
        Self { size: Some(size.into()), ..Self::default() }
    }

    /// A claim that is there already.
    #[must_use]
    pub fn existing(claim: impl Into<String>) -> Self {
        Self { existing_claim: Some(claim.into()), ..Self::default() }
    }

    /// The claim that holds the files of the Model of this name.
    #[must_use]
    pub fn claim_name(&self, model: &str) -> String {
        self.existing_claim.clone().unwrap_or_else(|| claim_name(model))
    }

    /// Where files of a Model lie, relative to the root of its claim: those of one content id in a directory of its own.
    /// Empty: the root itself.
    #[must_use]
    pub fn content_path(&self, namespace: &str, model: &str, content_id: Option<&str>) -> String {
        let directory = self.existing_claim.as_ref().map(|_| shared_directory(namespace, model));
        let revision = content_id.map(revision_path);
        [directory, revision].into_iter().flatten().collect::<Vec<_>>().join("/")
    }
}

/// What becomes of the claim when its Model is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It is deleted, once no pod mounts it.
    #[default]
    Delete,
    /// It stays.
    Retain,
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

const fn one() -> i32 {
    1
}

fn read_write_once() -> Vec<AccessMode> {
    vec![AccessMode::ReadWriteOnce]
}
