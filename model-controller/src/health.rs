//! `/healthz` and `/readyz`.

use std::io;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use crate::controller::Readiness;
use crate::port;

/// Serves both for as long as the process lives.
///
/// # Errors
/// When the port cannot be opened.
pub async fn serve(port: u16, readiness: Readiness) -> io::Result<()> {
    port::serve(port, router(readiness)).await
}

fn router(readiness: Readiness) -> Router {
    let ready = move || {
        let answer = if readiness.is_ready() {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "waiting for the first list of Models")
        };
        std::future::ready(answer)
    };
    Router::new().route("/healthz", get(|| std::future::ready("ok"))).route("/readyz", get(ready))
}
