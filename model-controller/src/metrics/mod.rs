//! `/metrics`, for Prometheus, in the text format of `OpenMetrics`.
//!
//! No label holds the name of a Model or of a namespace: series stay as few as there are phases and reasons, whatever
//! users create. Who wants figures by Model has them in `status`, for example through kube-state-metrics.

mod state;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use model_core::api::ModelStatus;
use model_core::reason::Reason;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::port;
pub(crate) use state::Caches;
use state::State;

/// Name and value.
type Label = [(&'static str, &'static str); 1];

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds: from a pass over a settled Model to one that waits for a slow API server.
const PASS_SECONDS: [f64; 8] = [0.000_1, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0];

/// Figures of one controller. Clones share the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    state: State,
    passes: Family<Label, Counter>,
    pass_seconds: Histogram,
    failures: Family<Label, Counter>,
    bytes: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("model_controller");
        let passes = Family::<Label, Counter>::default();
        registry.register("reconciles", "Passes over a Model, by how they ended", passes.clone());
        let pass_seconds = Histogram::new(PASS_SECONDS);
        registry.register_with_unit("reconcile_duration", "How long a pass took", Unit::Seconds, pass_seconds.clone());
        let failures = Family::<Label, Counter>::default();
        registry.register(
            "download_failures",
            "Attempts that failed, by the reason that status gives",
            failures.clone(),
        );
        let bytes = Counter::default();
        registry.register_with_unit(
            "downloaded",
            "What downloads reported to have fetched",
            Unit::Bytes,
            bytes.clone(),
        );
        for result in PASS_RESULTS {
            let _ = passes.get_or_create(&[("result", result)]);
        }
        let state = State::default();
        registry.register_collector(Box::new(state.clone()));
        Self { registry: Arc::new(registry), state, passes, pass_seconds, failures, bytes }
    }

    /// Everything as a scrape sees it, in the text format of `OpenMetrics`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // A String takes all that is written to it.
        let _ = text::encode(&mut text, &self.registry);
        text
    }

    /// From now on the state of Models and Jobs is read from these caches at each scrape.
    pub(crate) fn read(&self, caches: Caches) {
        self.state.read(caches);
    }

    /// Counts a pass that ended like this.
    pub(crate) fn passed(&self, result: &'static str, took: Duration) {
        self.passes.get_or_create(&[("result", result)]).inc();
        self.pass_seconds.observe(took.as_secs_f64());
    }

    /// Counts what is new in a status that was recorded.
    pub(crate) fn recorded(&self, before: Option<&ModelStatus>, after: &ModelStatus) {
        let (failure, bytes) = news(before, after);
        if let Some(reason) = failure {
            self.failures.get_or_create(&[("reason", reason.as_str())]).inc();
        }
        self.bytes.inc_by(bytes);
    }
}

/// How a pass ends: [`crate::Error::result`] names the others.
pub(crate) const PASS_OK: &str = "ok";
const PASS_RESULTS: [&str; 5] = [PASS_OK, "failed", "refused", "raced", "invalid"];

/// A failure that was not recorded before, and the bytes that came since.
fn news(before: Option<&ModelStatus>, after: &ModelStatus) -> (Option<Reason>, u64) {
    let Some(download) = after.download.as_ref() else { return (None, 0) };
    let before = before.and_then(|status| status.download.as_ref()).filter(|before| before.id == download.id);
    let failure = download.last_failure.as_ref();
    let known = before.and_then(|before| before.last_failure.as_ref());
    let failure = failure.filter(|failure| known != Some(failure)).map(|failure| failure.reason);
    let came = download.downloaded_bytes.unwrap_or(0) - before.and_then(|before| before.downloaded_bytes).unwrap_or(0);
    (failure, u64::try_from(came).unwrap_or(0))
}

/// Serves `/metrics` for as long as the process lives.
///
/// # Errors
/// When the port cannot be opened.
pub async fn serve(port: u16, metrics: Metrics) -> io::Result<()> {
    port::serve(port, router(metrics)).await
}

/// `/metrics`, to be merged into another server.
pub fn router(metrics: Metrics) -> Router {
    let scrape = move || std::future::ready(([(CONTENT_TYPE, OPEN_METRICS)], metrics.text()));
    Router::new().route("/metrics", get(scrape))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use model_core::api::{DownloadStatus, LastFailure};

    use super::*;

    fn status(id: &str, bytes: i64, failed_at: Option<i64>) -> ModelStatus {
        let last_failure = failed_at.map(|second| LastFailure {
            reason: Reason::DiskFull,
            message: String::new(),
            at: Time(Timestamp::from_second(second).unwrap()),
        });
        let mut download = DownloadStatus::default();
        (download.id, download.downloaded_bytes, download.last_failure) = (id.into(), Some(bytes), last_failure);
        let mut status = ModelStatus::default();
        status.download = Some(download);
        status
    }

    #[test]
    fn a_failure_and_a_byte_count_once() {
        let full = Some(Reason::DiskFull);
        for (name, before, after, want) in [
            ("nothing yet", None, ModelStatus::default(), (None, 0)),
            ("the first bytes", None, status("a", 5, None), (None, 5)),
            ("more bytes", Some(status("a", 5, None)), status("a", 7, None), (None, 2)),
            ("no news", Some(status("a", 5, Some(1))), status("a", 5, Some(1)), (None, 0)),
            ("fails", Some(status("a", 5, None)), status("a", 5, Some(1)), (full, 0)),
            ("fails again", Some(status("a", 5, Some(1))), status("a", 5, Some(9)), (full, 0)),
            ("other content", Some(status("a", 5, Some(1))), status("b", 2, None), (None, 2)),
            ("from the start", Some(status("a", 5, None)), status("a", 0, None), (None, 0)),
        ] {
            assert_eq!(news(before.as_ref(), &after), want, "{name}");
        }
    }

    #[test]
    fn the_text_has_the_names_that_prometheus_expects() {
        let metrics = Metrics::new();
        metrics.passed(PASS_OK, Duration::from_millis(3));
        metrics.recorded(None, &status("a", 5, Some(1)));
        let text = metrics.text();
        for line in [
            "model_controller_reconciles_total{result=\"ok\"} 1",
            "model_controller_reconciles_total{result=\"raced\"} 0",
            "model_controller_reconcile_duration_seconds_bucket{le=\"0.005\"} 1",
            "model_controller_reconcile_duration_seconds_count 1",
            "model_controller_download_failures_total{reason=\"DiskFull\"} 1",
            "model_controller_downloaded_bytes_total 5",
        ] {
            assert!(text.lines().any(|seen| seen == line), "{line} is not in\n{text}");
        }
    }
}
