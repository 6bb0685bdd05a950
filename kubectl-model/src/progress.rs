//! How far a Model is: as one line, as a bar, and whether waiting has come to its end.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use kube::ResourceExt as _;
use model_core::api::{DownloadStatus, Model, ModelStatus, Phase};
use model_core::decide::{Retry, retry};
use model_core::report::Progress;
use model_core::status::DOWNLOADED;

use crate::text::line;
use model_core::figures::{bytes, span};

/// As long as, or where, it is not known how much there is.
const UNKNOWN: &str = "{spinner} {prefix} {msg}";
const KNOWN: &str = "{prefix} [{wide_bar}] {percent}% {msg}";

/// What waiting for a Model has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Content can be mounted.
    Ready,
    /// Only a person, or a long time, helps.
    Failed,
    /// It goes on.
    GoesOn,
}

/// The phase of a Model. `Pending` where nobody has recorded any.
#[must_use]
pub fn phase(model: &Model) -> Phase {
    model.status.as_ref().and_then(|status| status.phase).unwrap_or_default()
}

/// What waiting has come to, where `job_exists` says whether the Model's download Job is there.
///
/// A Model that failed is not given up while its Job is being deleted: that is how a retry begins.
#[must_use]
pub fn waiting(model: &Model, job_exists: bool, now: Timestamp) -> Waiting {
    match phase(model) {
        Phase::Ready => Waiting::Ready,
        Phase::Pending | Phase::Downloading => Waiting::GoesOn,
        Phase::Failed if !is_observed(model) => Waiting::GoesOn,
        Phase::Failed if job_exists => Waiting::Failed,
        Phase::Failed => match next_attempt(model, now) {
            Some(Retry::Now) => Waiting::GoesOn,
            Some(Retry::At(_) | Retry::Never) | None => Waiting::Failed,
        },
    }
}

/// Whether the wanted content is not there, and nothing but a wish to retry brings it soon, now that no Job is there.
#[must_use]
pub fn is_given_up(model: &Model, now: Timestamp) -> bool {
    let conditions = model.status.iter().flat_map(|status| &status.conditions);
    let downloaded =
        conditions.into_iter().any(|condition| condition.type_ == DOWNLOADED && condition.status == "True");
    !downloaded && matches!(next_attempt(model, now), Some(Retry::At(_) | Retry::Never))
}

/// Whether the status speaks of the newest spec.
#[must_use]
pub fn is_observed(model: &Model) -> bool {
    let observed = model.status.as_ref().and_then(|status| status.observed_generation);
    observed.is_some() && observed >= model.metadata.generation
}

/// When a download that failed, and whose Job is gone, is tried again. `None`: none has failed.
pub(crate) fn next_attempt(model: &Model, now: Timestamp) -> Option<Retry> {
    let download = model.status.as_ref()?.download.as_ref()?;
    Some(retry(download.last_failure.as_ref()?, download.attempt, now))
}

/// The download that runs for content which is not published yet.
pub(crate) fn running(status: &ModelStatus) -> Option<&DownloadStatus> {
    let download = status.download.as_ref()?;
    let published = status.content.as_ref().is_some_and(|content| content.id == download.id);
    let ended = published || status.phase == Some(Phase::Failed);
    (!ended && download.started_at.is_some()).then_some(download)
}

/// Bytes, speed and time left of a download, as far as they are known: `1.2 GiB/15.0 GiB, 98.0 MiB/s, ETA 2m24s`.
#[must_use]
pub fn amounts(download: &DownloadStatus) -> String {
    let there = download.downloaded_bytes.map(bytes);
    let total = download.total_bytes.map(bytes);
    let amount = match (there, total) {
        (Some(there), Some(total)) => Some(format!("{there}/{total}")),
        (Some(there), None) => Some(there),
        (None, Some(total)) => Some(format!("of {total}")),
        (None, None) => None,
    };
    let speed = download.bytes_per_second.map(|speed| format!("{}/s", bytes(speed)));
    let left = seconds_left(download).map(|seconds| format!("ETA {}", span(seconds)));
    [amount, speed, left].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Seconds until the download ends at its present speed. `None` while that is not known.
pub(crate) fn seconds_left(download: &DownloadStatus) -> Option<i64> {
    let left = download.total_bytes?.saturating_sub(download.downloaded_bytes?).max(0);
    let speed = download.bytes_per_second.filter(|speed| *speed > 0)?;
    Some(left / speed + i64::from(left % speed > 0))
}

/// A Model in one line: its name and its [`state`].
#[must_use]
pub fn status_line(model: &Model) -> String {
    format!("{}: {}", model.name_any(), state(model))
}

/// Phase, percent, amounts and the operator's message.
#[must_use]
pub fn state(model: &Model) -> String {
    let Some(status) = &model.status else {
        return "Pending, the operator has not looked at it yet".to_owned();
    };
    let percent = match (phase(model), status.progress) {
        (Phase::Pending | Phase::Downloading, Some(percent)) => Some(format!("{percent} %")),
        _ => None,
    };
    let amounts = running(status).map(amounts).filter(|amounts| !amounts.is_empty());
    let content = status.content.as_ref().and_then(|content| content.bytes).map(bytes);
    let message = status.message.as_deref().filter(|message| *message != "downloading").map(line);
    let phase = phase(model).as_str().to_owned();
    let parts = [Some(phase), percent, content, amounts, message];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Whether a new line is worth printing after the one that was printed last: another phase, message or percent.
#[must_use]
pub fn is_news(before: Option<&Model>, now: &Model) -> bool {
    let word = |model: &Model| {
        let status = model.status.clone().unwrap_or_default();
        (status.phase, status.progress, status.message)
    };
    before.map(word) != Some(word(now))
}

/// A bar on standard output that follows a Model.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub fn begin() -> Self {
        let bar = ProgressBar::no_length();
        bar.set_style(style(UNKNOWN));
        bar.set_draw_target(ProgressDrawTarget::stdout());
        Self(bar)
    }

    pub fn draw(&self, model: &Model) {
        let status = model.status.clone().unwrap_or_default();
        self.0.set_prefix(model.name_any());
        match running(&status) {
            Some(download) if download.total_bytes.is_some_and(|total| total > 0) => {
                let count = |bytes: Option<i64>| u64::try_from(bytes.unwrap_or(0)).unwrap_or(0);
                self.0.set_message(with_trouble(&amounts(download), &status));
                self.0.set_length(count(download.total_bytes));
                self.0.set_position(count(download.downloaded_bytes));
                // Last, so that no bar is drawn with half of its figures.
                self.0.set_style(style(KNOWN));
            }
            Some(_) | None => {
                self.0.set_style(style(UNKNOWN));
                let phase = phase(model).as_str();
                let message = status.message.as_deref().map(line).unwrap_or_default();
                self.0.set_message(format!("{phase}: {message}"));
            }
        }
        self.0.tick();
    }

    /// How far a check of what is published is, and what holds it up.
    pub fn draw_check(&self, name: &str, progress: Option<&Progress>, trouble: &str) {
        self.0.set_prefix(name.to_owned());
        let known = progress.and_then(|progress| Some((progress, progress.total_bytes.filter(|total| *total > 0)?)));
        if let Some((progress, total)) = known {
            let figure = |count: u64| bytes(i64::try_from(count).unwrap_or(i64::MAX));
            let speed = progress.bytes_per_second;
            let left = total.saturating_sub(progress.downloaded_bytes).checked_div(speed);
            let left = left.and_then(|seconds| i64::try_from(seconds).ok());
            let left = left.map_or_else(String::new, |seconds| format!(", ETA {}", span(seconds)));
            let there = figure(progress.downloaded_bytes);
            self.0.set_message(format!("{there}/{} read, {}/s{left}", figure(total), figure(speed)));
            self.0.set_length(total);
            self.0.set_position(progress.downloaded_bytes);
            self.0.set_style(style(KNOWN));
        } else {
            self.0.set_style(style(UNKNOWN));
            let trouble = if trouble.is_empty() { "waiting for the pod that reads the files" } else { trouble };
            self.0.set_message(trouble.to_owned());
        }
        self.0.tick();
    }

    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}

/// What holds a download up stands beside its figures.
fn with_trouble(amounts: &str, status: &ModelStatus) -> String {
    match status.message.as_deref().filter(|message| *message != "downloading") {
        Some(message) => format!("{amounts}: {}", line(message)),
        None => amounts.to_owned(),
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use model_core::reason::Reason;
    use serde_json::{Value, json};

    use super::*;

    fn model(status: &Value) -> Model {
        serde_json::from_value(json!({
            "apiVersion": "models.main-currents.news/v1alpha1",
            "kind": "Model",
            "metadata": { "name": "llama", "namespace": "team", "uid": "u", "generation": 2 },
            "spec": { "source": { "url": { "url": "https://example.com/a" } }, "storage": { "size": "1Gi" } },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn templates_are_valid() {
        for template in [UNKNOWN, KNOWN] {
            ProgressStyle::with_template(template).unwrap();
        }
    }

    #[test]
    fn one_line_says_how_far_a_model_is() {
        let downloading = |download: Value| json!({ "phase": "Downloading", "progress": 42, "message": "downloading", "download": download });
        let running = json!({ "id": "a", "attempt": 1, "startedAt": "2026-01-01T00:00:00Z", "totalBytes": 4_294_967_296_i64, "downloadedBytes": 2_147_483_648_i64, "bytesPerSecond": 104_857_600 });
        let begun = json!({ "id": "a", "attempt": 1, "startedAt": "2026-01-01T00:00:00Z" });
        let content = json!({ "id": "a", "path": "revisions/a", "source": { "url": { "url": "https://example.com/a" } }, "bytes": 4_294_967_296_i64 });
        let lines: Vec<String> = [
            Value::Null,
            json!({ "phase": "Pending", "progress": 0, "message": "waiting until the old Job is gone" }),
            downloading(begun),
            downloading(running.clone()),
            json!({ "phase": "Ready", "progress": 100, "message": "ready to mount", "content": content, "download": { "id": "a", "attempt": 1 } }),
            json!({ "phase": "Ready", "progress": 100, "message": "ready with earlier content; newer content: downloading", "content": { "id": "old", "path": "", "source": { "url": { "url": "https://example.com/a" } } }, "download": running }),
            json!({ "phase": "Failed", "progress": 3, "message": "\u{1b}[2Jno such repository; check repoId\nready" }),
        ]
        .iter()
        .map(|status| status_line(&model(status)))
        .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn waiting_ends_when_only_a_person_can_help() {
        let end = Timestamp::UNIX_EPOCH;
        let failed = |reason: Reason, generation: i64| {
            model(&json!({
                "phase": "Failed", "observedGeneration": generation,
                "download": { "id": "a", "attempt": 1, "lastFailure": { "reason": reason, "message": "", "at": "1970-01-01T00:00:00Z" } },
            }))
        };
        let (soon, later) = (end + jiff::SignedDuration::from_secs(1), end + jiff::SignedDuration::from_hours(2));
        for (name, model, job_exists, now, want) in vec![
            ("nobody looked", model(&Value::Null), false, soon, Waiting::GoesOn),
            ("downloading", model(&json!({ "phase": "Downloading" })), true, soon, Waiting::GoesOn),
            ("ready", model(&json!({ "phase": "Ready" })), true, soon, Waiting::Ready),
            ("failed", failed(Reason::SourceNotFound, 2), true, soon, Waiting::Failed),
            ("a new spec", failed(Reason::SourceNotFound, 1), true, soon, Waiting::GoesOn),
            ("the Job was deleted", failed(Reason::SourceNotFound, 2), false, soon, Waiting::GoesOn),
            ("the Job's time is over", failed(Reason::SourceNotFound, 2), false, later, Waiting::Failed),
            ("tried again by itself", failed(Reason::NetworkError, 2), false, later, Waiting::GoesOn),
            (
                "without a download",
                model(&json!({ "phase": "Failed", "observedGeneration": 2 })),
                false,
                soon,
                Waiting::Failed,
            ),
        ] {
            assert_eq!(waiting(&model, job_exists, now), want, "{name}");
        }
    }

    #[test]
    fn a_line_is_printed_again_only_for_news() {
        let at = |percent: i32, bytes: i64| {
            model(
                &json!({ "phase": "Downloading", "progress": percent, "download": { "id": "a", "attempt": 1, "downloadedBytes": bytes } }),
            )
        };
        assert!(is_news(None, &at(0, 0)));
        assert!(!is_news(Some(&at(1, 100)), &at(1, 101)));
        assert!(is_news(Some(&at(1, 100)), &at(2, 200)));
    }
}
