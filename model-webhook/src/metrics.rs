//! `/metrics`, for Prometheus, in the text format of `OpenMetrics`.
//!
//! Labels hold outcomes and reasons, never the name of a pod, a Model or a namespace: anybody may create those.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use jiff::Timestamp;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

type Outcome = [(&'static str, &'static str); 2];

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds. An answer is computed from memory; the API server waits for 5 s.
const SECONDS: [f64; 9] = [0.000_1, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 5.0];

/// Figures of one webhook. Clones share the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    admissions: Family<Outcome, Counter>,
    deletions: Family<Outcome, Counter>,
    seconds: Histogram,
    expiry: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("model_webhook");
        let admissions = Family::<Outcome, Counter>::default();
        registry.register("admissions", "Answers, by outcome and, where denied, reason", admissions.clone());
        let deletions = Family::<Outcome, Counter>::default();
        let help = "Answers about Models that are to be deleted, by outcome and, where denied, reason";
        registry.register("deletions", help, deletions.clone());
        let seconds = Histogram::new(SECONDS);
        registry.register_with_unit("admission_duration", "How long an answer took", Unit::Seconds, seconds.clone());
        let expiry = Gauge::default();
        let help = "When the certificate in use ends, in seconds since 1970";
        registry.register_with_unit("certificate_expiry_timestamp", help, Unit::Seconds, expiry.clone());
        for outcome in ["untouched", "injected"] {
            let _ = admissions.get_or_create(&[("outcome", outcome), ("reason", "")]);
        }
        let _ = deletions.get_or_create(&[("outcome", "allowed"), ("reason", "")]);
        Self { registry: Arc::new(registry), admissions, deletions, seconds, expiry }
    }
}

impl Metrics {
    /// Counts an answer. `reason` is empty where there is none.
    pub(crate) fn answered(&self, outcome: &'static str, reason: &'static str, took: Duration) {
        self.admissions.get_or_create(&[("outcome", outcome), ("reason", reason)]).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Counts an answer about a deletion. `reason` is empty where there is none.
    pub(crate) fn answered_deletion(&self, outcome: &'static str, reason: &'static str, took: Duration) {
        self.deletions.get_or_create(&[("outcome", outcome), ("reason", reason)]).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// The certificate that is served from now on ends then.
    pub(crate) fn certificate_ends(&self, when: Timestamp) {
        self.expiry.set(when.as_second());
    }

    /// Everything as a scrape sees it, in the text format of `OpenMetrics`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // A String takes all that is written to it.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

/// `/metrics`, to be merged into another server.
pub fn metrics_router(metrics: Metrics) -> Router {
    let scrape = move || std::future::ready(([(CONTENT_TYPE, OPEN_METRICS)], metrics.text()));
    Router::new().route("/metrics", get(scrape))
}
