//! What the loader tells the controller: progress lines in its log, and one [`Outcome`] in the termination message.

use jiff::Timestamp;
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
    /// Published content was read again.
    Verified(Verified),
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
    /// Stands for the files as the source had them: equal for equal names, sizes, and tags or digests. Absent where the
    /// source tells nothing of a file but its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<String>,
    /// When the source was asked for what was published: long ago where it was on the claim already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
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
    /// Stands for the files as the source has them, as in [`Published::listing`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<String>,
    /// Bytes of all wanted files. Absent where the source does not tell before it sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Number of wanted files.
    pub files: u64,
}

/// What reading published content again found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// Bytes of all files as they were published.
    pub bytes: u64,
    /// Number of files as they were published.
    pub files: u64,
    /// Number of files that are not as they were published. 0: all is well.
    pub fault_count: u64,
    /// The first of them by path, as many as fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<CheckedFile>,
}

/// One file of published content that was read again: also one line of the loader's standard output, after the progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckedFile {
    /// Path below the content's directory. That of an extra file is anybody's.
    pub file: String,
    /// Bytes as published. Absent for an extra file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How it is.
    pub state: FileState,
}

/// How a file of published content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FileState {
    /// As it was published.
    Ok,
    /// Its bytes or its length are others, or it is no ordinary file.
    Changed,
    /// It is not there.
    Missing,
    /// It is there and was not published.
    Extra,
    /// The volume does not give its bytes.
    Unreadable,
}

impl FileState {
    /// The word for people, as it is written in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Unreadable => "unreadable",
        }
    }
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

    /// The termination message, at most [`MAX_OUTCOME_BYTES`] long: a longer failure message is cut at a character, and of
    /// many faults the last are left out.
    #[must_use]
    pub fn to_termination_message(&self) -> String {
        let text = |outcome: &Self| serde_json::to_string(outcome).unwrap_or_default();
        let mut outcome = self.clone();
        let mut json = text(&outcome);
        while json.len() > MAX_OUTCOME_BYTES {
            let failure = match &mut outcome {
                Self::Failed(failure) => failure,
                Self::Verified(verified) if !verified.faults.is_empty() => {
                    verified.faults.pop();
                    json = text(&outcome);
                    continue;
                }
                _ => break,
            };
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

        #[test]
        fn faults_of_any_number_fit_and_are_all_counted(paths in prop::collection::vec("\\PC{0,300}", 0..60)) {
            let fault = |file: String| CheckedFile { file, bytes: None, state: FileState::Extra };
            let faults: Vec<_> = paths.into_iter().map(fault).collect();
            let verified = Verified { bytes: 1, files: 1, fault_count: faults.len() as u64, faults: faults.clone() };
            let text = Outcome::Verified(verified).to_termination_message();
            prop_assert!(text.len() <= MAX_OUTCOME_BYTES);
            let Some(Outcome::Verified(read)) = Outcome::parse(&text) else { panic!("{text}") };
            prop_assert_eq!(read.fault_count, faults.len() as u64);
            prop_assert!(faults.starts_with(&read.faults));
        }
    }
}
