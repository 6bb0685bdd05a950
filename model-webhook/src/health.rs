//! `/healthz` and `/readyz`, plain HTTP on a port of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use crate::cache::ModelCache;

/// Whether the webhook should be sent requests. Clones share the same state.
#[derive(Clone, Debug)]
pub struct Readiness {
    models: ModelCache,
    ending: Arc<AtomicBool>,
}

impl Readiness {
    /// Ready as soon as `models` is filled.
    #[must_use]
    pub fn new(models: ModelCache) -> Self {
        Self { models, ending: Arc::default() }
    }

    /// From now on not ready, for good: the process is about to end.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    fn answer(&self) -> (StatusCode, &'static str) {
        if self.ending.load(Ordering::Acquire) {
            (StatusCode::SERVICE_UNAVAILABLE, "shutting down")
        } else if self.models.is_filled() {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "the Models have not been read yet")
        }
    }
}

/// `/healthz` answers 200 while the process lives, `/readyz` 200 while it can decide about pods and 503 otherwise.
pub fn health_router(readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(|State(readiness): State<Readiness>| async move { readiness.answer() }))
        .with_state(readiness)
}
