//! What the operator saw and did: `status`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DeletionPolicy, Source, Verification};
use crate::reason::Reason;

/// Where a model is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Claim and Job are about to be made, or something has to go away first.
    #[default]
    Pending,
    /// The Job is there and has not ended.
    Downloading,
    /// Content is published; pods can mount it.
    Ready,
    /// The download failed; the message says why.
    Failed,
}

impl Phase {
    /// The word as written in status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Downloading => "Downloading",
            Self::Ready => "Ready",
            Self::Failed => "Failed",
        }
    }
}

/// What the operator saw and did. Written by the controller only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ModelStatus {
    /// Where the model is on its way. `Ready` as long as any content is published, also while a newer one is fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Name of the claim that holds the files.
    #[serde(default, rename = "pvcName", skip_serializing_if = "Option::is_none")]
    pub pvc_name: Option<String>,
    /// One sentence on the phase: why, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Share of the wanted bytes that are on the claim, in whole percent. 0 until the source has told the size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub progress: Option<i32>,
    /// `Ready`, `StorageBound`, `SourceReachable`, `Downloaded` and `UpToDate`, each with a reason; `ContentWritable` only while a pod may
    /// change the content, `PruneFailed` only while earlier content could not be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The published content: what pods mount. Absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// UID of the claim that the content lies on. Another UID means that the claim was made anew, so the content is lost.
    #[serde(default, rename = "claimUID", skip_serializing_if = "Option::is_none")]
    pub claim_uid: Option<String>,
    /// What becomes of the claim if the Model is deleted now. Absent while there is no claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// What lies on the claim beside the published content, the newest first. It goes once `spec.keepRevisions` does not keep
    /// it, it was not offered for ten minutes, and no pod names it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierContent>,
    /// What the source was found to have when it was asked for newer content. Absent without `spec.checkInterval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<SourceCheck>,
    /// The newest download, running or ended. Absent until one was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download: Option<DownloadStatus>,
    /// The newest check of published content that the annotation `models.main-currents.news/verify` asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
}

/// Published content. It describes what is mounted, not the newest spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Content {
    /// Content id: 20 hex digits that stand for source, version and refresh time.
    pub id: String,
    /// Directory on the claim, relative to its root. Empty: the root itself (stock images).
    pub path: String,
    /// `spec.version` when it was downloaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `spec.source` when it was downloaded.
    pub source: Source,
    /// Commit or ETag that the revision was resolved to. Absent where nothing resolved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_revision: Option<String>,
    /// Stands for the files as the source had them: equal for equal names, sizes, and tags or digests. Absent where the
    /// source tells nothing of a file but its size, and with stock images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<String>,
    /// When the source was asked for it. Absent with stock images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Time>,
    /// Bytes of all files. Absent where nothing counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub bytes: Option<i64>,
    /// Whether every file was checked against a digest of its source.
    #[serde(default)]
    pub verified: bool,
}

impl Content {
    /// Content of which no more is known than where it is and what it is of.
    #[must_use]
    pub const fn new(id: String, path: String, source: Source) -> Self {
        Self {
            id,
            path,
            version: None,
            source,
            resolved_revision: None,
            listing: None,
            asked_at: None,
            bytes: None,
            verified: false,
        }
    }
}

/// The checks for newer content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SourceCheck {
    /// Since when the source is to be asked now and then.
    pub since: Time,
    /// When it was asked last, whatever came of it. Absent before the first time. An earlier time brings the next check on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Time>,
    /// What it had when it answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<FoundContent>,
    /// Why it could not be asked, or did not answer, the last time. Absent where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,
    /// UID of the Job that asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

/// What a source has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct FoundContent {
    /// Content id of what was mounted then.
    pub id: String,
    /// When the source said so.
    pub at: Time,
    /// As in `status.content`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_revision: Option<String>,
    /// As in `status.content`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<String>,
    /// Bytes of all files. Absent where the source does not tell before it sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub bytes: Option<i64>,
}

/// Content on the claim that is not offered any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EarlierContent {
    /// Content id.
    pub id: String,
    /// Since when it is not offered.
    pub since: Time,
    /// Whether it is what is left of a download that was given up. It was never offered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Whether a Job that sets it aside may have begun, so that nobody knows whether a pod can mount it. Recorded before that
    /// Job is made, so that it is known of whatever happens to the Job.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub setting_aside: bool,
    /// Whether it was set aside: no pod can mount it, and it is deleted next unless a pod names it all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub set_aside: bool,
}

/// One download, with all its attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DownloadStatus {
    /// The content id that is fetched.
    pub id: String,
    /// Bytes of the whole model. Absent until the source has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub total_bytes: Option<i64>,
    /// Files of the whole model. Absent unless the source was asked before the download.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub total_files: Option<i64>,
    /// Bytes that are on the claim. Never goes back within one id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub downloaded_bytes: Option<i64>,
    /// Speed over the last seconds. Absent while nothing runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub bytes_per_second: Option<i64>,
    /// Seconds until the last byte is there, if the speed stays. Absent where that cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub eta_seconds: Option<i64>,
    /// Commit or `ETag` that the revision was resolved to. Absent until that is known, and where nothing resolves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_revision: Option<String>,
    /// Number of Jobs started for this id. 0 while the source is only asked.
    #[schemars(range(min = 0))]
    pub attempt: i32,
    /// When the newest of these Jobs was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// How the newest failed Job failed. Stays while the next one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,
}

/// How a Job failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastFailure {
    /// The reason, one word.
    #[schemars(with = "String")]
    #[serde(deserialize_with = "Reason::deserialize_or_unknown")]
    pub reason: Reason,
    /// One sentence that names the thing at fault.
    pub message: String,
    /// When the Job ended.
    pub at: Time,
}
