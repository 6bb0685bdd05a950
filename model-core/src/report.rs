//! What the loader tells the controller: progress lines in its log, and one [`Outcome`] in the termination message.

use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// Upper bound of a termination message in bytes. The kubelet cuts at 4096.
pub const MAX_OUTCOME_BYTES: usize = 4000;

/// One line of the loader's standard output while a download runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Bytes that are on the volume already, of this attempt and of earlier ones.
    pub downloaded_bytes: u64,
    /// Bytes of the whole model. Absent while the source has not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// Bytes per second over the last few seconds.
    #[serde(default)]
    pub bytes_per_second: u64,
    /// Files that are complete.
    #[serde(default)]
    pub files: u64,
    /// Files of the whole model. Absent while the source has not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_files: Option<u64>,
}

impl Progress {
    /// Reads one log line. Lines that are no progress line, of any size, give `None`.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line.trim()).ok()
    }

    /// The newest progress line in the end of a log, whatever else stands there. `None` where there is none.
    #[must_use]
    pub fn newest_in(log: &str) -> Option<Self> {
        log.lines().rev().find_map(Self::parse)
    }

    /// Share of the bytes that are there, in whole percent, 0 to 100. 100 only when every byte is.
    #[must_use]
    pub fn percent(&self) -> Option<i32> {
        let total = self.total_bytes.filter(|total| *total > 0)?;
        let share = u128::from(self.downloaded_bytes.min(total)) * 100 / u128::from(total);
        i32::try_from(share).ok()
    }
}

/// How the loader ended: the JSON in the termination message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Everything is there and published.
    Succeeded(Published),
    /// The source said what there is to download. Nothing was downloaded.
    Planned(Planned),
    /// Nothing was published.
    Failed(Failure),
}

/// What a successful download published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// Commit of a Hugging Face repository, or the ETag of a single object. Absent where the source has no such thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_revision: Option<String>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Number of files.
    pub files: u64,
    /// Number of files that no digest could be checked for. 0 means that every file was verified.
    #[serde(default)]
    pub unverified_files: u64,
    /// Names of what else lies beside it, published by the same loader.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
}

/// What a source has, before any of it is downloaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// Commit of a Hugging Face repository, or the ETag of a single object. Absent where the source has no such thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_revision: Option<String>,
    /// Bytes of all wanted files. Absent where the source does not tell before it sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Number of wanted files.
    pub files: u64,
}

/// Why a download failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The one word.
    pub reason: Reason,
    /// One sentence that names the thing at fault. Never holds a secret.
    pub message: String,
}

impl Outcome {
    /// Reads a termination message. `None` where it is not ours: empty, cut off, or written by somebody else.
    #[must_use]
    pub fn parse(termination_message: &str) -> Option<Self> {
        serde_json::from_str(termination_message.trim()).ok()
    }

    /// The termination message, at most [`MAX_OUTCOME_BYTES`] long: a longer failure message is cut at a character.
    #[must_use]
    pub fn to_termination_message(&self) -> String {
        let text = |outcome: &Self| serde_json::to_string(outcome).unwrap_or_default();
        let mut outcome = self.clone();
        let mut json = text(&outcome);
        while json.len() > MAX_OUTCOME_BYTES {
            let Self::Failed(failure) = &mut outcome else { break };
            let excess = json.len() - MAX_OUTCOME_BYTES;
            let mut end = failure.message.len().saturating_sub(excess.max(1));
            while !failure.message.is_char_boundary(end) {
                end -= 1;
            }
            failure.message.truncate(end);
            json = text(&outcome);
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percent_is_whole_and_bounded() {
        let at = |downloaded_bytes, total_bytes| {
            Progress { downloaded_bytes, total_bytes, bytes_per_second: 0, files: 0, total_files: None }.percent()
        };
        assert_eq!(at(0, None), None);
        assert_eq!(at(0, Some(0)), None);
        assert_eq!(at(1, Some(3)), Some(33));
        assert_eq!(at(999, Some(1000)), Some(99));
        assert_eq!(at(5, Some(3)), Some(100));
        assert_eq!(at(u64::MAX, Some(u64::MAX)), Some(100));
    }

    #[test]
    fn foreign_messages_are_no_outcome() {
        for text in ["", "{}", "null", "Killed", r#"{"succeeded":"#, r#"{"failed":{"reason":"Nonsense","message":""}}"#]
        {
            assert_eq!(Outcome::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_newest_line_counts_and_nothing_else_in_the_log() {
        let huge = "9".repeat(4096);
        for (log, want) in [
            ("", None),
            ("{\"downloadedBytes\":1}\n{\"downloadedBytes\":2}\n", Some(2)),
            ("{\"downloadedBytes\":1}\n2026-01-01 WARN {\"downloadedBytes\":7}\n", Some(1)),
            ("{\"downloadedBytes\":1}\n{\"downloadedBytes\":", Some(1)),
            ("dBytes\":5}\n{\"downloadedBytes\":-1}", None),
            (&format!("{{\"downloadedBytes\":{huge}}}"), None),
        ] {
            assert_eq!(Progress::newest_in(log).map(|progress| progress.downloaded_bytes), want, "{log:.80}");
        }
    }

    proptest! {
        #[test]
        fn a_failure_of_any_length_fits_and_parses(message in "\\PC{0,6000}") {
            let outcome = Outcome::Failed(Failure { reason: Reason::NetworkError, message });
            let text = outcome.to_termination_message();
            prop_assert!(text.len() <= MAX_OUTCOME_BYTES);
            let Some(Outcome::Failed(failure)) = Outcome::parse(&text) else { panic!("{text}") };
            prop_assert_eq!(failure.reason, Reason::NetworkError);
        }
    }
}
