//! What a check of published content found: `status.verification`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A check of published content: each file read again and compared with what was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Verification {
    /// Value of the annotation `models.main-currents.news/verify` that asked for it.
    pub request: String,
    /// How it stands.
    pub result: VerificationResult,
    /// Content id of what is read. Absent where nothing was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// When it was started, or refused.
    pub started_at: Time,
    /// When it ended. Absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// Number of files as they were published. Absent until it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub files: Option<i64>,
    /// Number of files that are not as they were published. Absent until it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub faults: Option<i64>,
    /// One sentence: the first files that are not as they were published, why there is no result, or what holds it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How a check of published content stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum VerificationResult {
    /// Its Job has not ended.
    Running,
    /// Every file is as it was published.
    Intact,
    /// A file is changed, missing, unreadable, or was not published.
    Damaged,
    /// It could not be carried out; the message says why.
    Failed,
}

impl VerificationResult {
    /// The word as written in status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Intact => "Intact",
            Self::Damaged => "Damaged",
            Self::Failed => "Failed",
        }
    }
}
