//! What reading a Model's content again found: as a table and as JSON.

use model_core::api::{Verification, VerificationResult};
use model_core::report::{CheckedFile, FileState};
use serde::Serialize;

use crate::table::table;
use crate::text::line;
use model_core::figures::bytes;

/// A check that has ended.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Name of the Model.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Every file by path. Of files that are as they were published there is none where the log could not be read.
    pub files: Vec<CheckedFile>,
    /// What the operator has recorded.
    pub verification: Verification,
}

impl Check {
    /// Of a check that the operator has recorded, with what the log of its pod holds. `reported` are the faults that the
    /// pod left without a log.
    #[must_use]
    pub fn new(
        name: &str,
        namespace: &str,
        mut verification: Verification,
        log: &str,
        reported: Vec<CheckedFile>,
    ) -> Self {
        let of_log: Vec<CheckedFile> = log.lines().filter_map(|line| serde_json::from_str(line.trim()).ok()).collect();
        let files = if of_log.is_empty() { reported } else { of_log };
        // Of an extra file, anybody chose the name.
        let files = files.into_iter().map(|file| CheckedFile { file: line(&file.file), ..file }).collect();
        verification.message = verification.message.as_deref().map(line);
        Self { name: name.to_owned(), namespace: namespace.to_owned(), files, verification }
    }

    /// Whether every file is as it was published.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.verification.result == VerificationResult::Intact
    }

    /// The files one a line, those that are damaged first, and the sum.
    #[must_use]
    pub fn screen(&self) -> String {
        let mut files: Vec<&CheckedFile> = self.files.iter().collect();
        files.sort_by_key(|file| file.state == FileState::Ok);
        let size =
            |file: &CheckedFile| file.bytes.and_then(|bytes| i64::try_from(bytes).ok()).map_or("-".into(), bytes);
        let row = |file: &CheckedFile| vec![file.state.as_str().to_owned(), size(file), file.file.clone()];
        let rows: Vec<_> = files.into_iter().map(row).collect();
        let sum = self.sum();
        if rows.is_empty() { sum } else { format!("{}\n{sum}", table(&["STATE", "SIZE", "FILE"], rows)) }
    }

    fn sum(&self) -> String {
        let Verification { result, files, faults, message, .. } = &self.verification;
        let (name, files, faults) = (&self.name, files.unwrap_or(0), faults.unwrap_or(0));
        let message = message.as_deref().unwrap_or_default();
        match result {
            VerificationResult::Running => format!("{name}: it is still being read"),
            VerificationResult::Intact if files == 1 => format!("{name}: its file is as it was published"),
            VerificationResult::Intact => format!("{name}: all {files} files are as they were published"),
            VerificationResult::Damaged => {
                let are = if faults == 1 { "is not as it" } else { "are not as they" };
                let published = if files == 1 { "1 published file" } else { &format!("{files} published files") };
                format!("{name}: of {published}, {faults} {are} should be: {message}")
            }
            VerificationResult::Failed => format!("{name}: the files could not be read again: {message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verification(result: &str, faults: i64, message: Option<&str>) -> Verification {
        serde_json::from_value(json!({
            "request": "now", "result": result, "content": "a", "startedAt": "2026-01-01T00:00:00Z",
            "endedAt": "2026-01-01T00:00:09Z", "files": 2, "faults": faults, "message": message,
        }))
        .unwrap()
    }

    #[test]
    fn files_are_shown_one_by_one_with_what_is_wrong_first() {
        let log = "{\"downloadedBytes\":5}\n{\"file\":\"a.json\",\"bytes\":12,\"state\":\"ok\"}\nnoise\n{\"file\":\"b\\u001b[2J.bin\",\"bytes\":3145728,\"state\":\"changed\"}\n{\"file\":\"c\",\"state\":\"extra\"}\n";
        let check = Check::new("tiny", "team", verification("Damaged", 2, Some("changed b, extra c")), log, vec![]);
        let intact = Check::new("tiny", "team", verification("Intact", 0, None), "", vec![]);
        let failed = Check::new("tiny", "team", verification("Failed", 0, Some("no\nroom")), "", vec![]);
        let log = "{\"file\":\"config.json\",\"bytes\":12,\"state\":\"ok\"}\n{\"file\":\"model.safetensors\",\"bytes\":3145728,\"state\":\"changed\"}\n";
        let message = Some("changed model.safetensors");
        let one = Check::new("tiny", "team", verification("Damaged", 1, message), log, vec![]);
        let screens = [&check, &intact, &failed, &one].map(Check::screen);
        insta::assert_snapshot!(screens.join("\n\n"));
        assert_eq!([&check, &intact, &failed].map(Check::is_intact), [false, true, false]);
        let json = serde_json::to_value(&check).unwrap();
        assert_eq!(json["files"][1], json!({ "file": "b\u{fffd}[2J.bin", "bytes": 3_145_728, "state": "changed" }));
        assert_eq!(json["verification"]["result"], "Damaged");
    }

    #[test]
    fn without_a_log_the_faults_that_the_pod_left_are_shown() {
        let fault = CheckedFile { file: "b".into(), bytes: Some(1), state: FileState::Missing };
        let check = Check::new("tiny", "team", verification("Damaged", 1, Some("missing b")), "", vec![fault.clone()]);
        assert_eq!(check.files, [fault]);
    }
}
