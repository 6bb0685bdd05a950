//! `/healthz` and `/readyz`.

use std::io;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::controller::Readiness;

/// Serves both for as long as the process lives.
///
/// # Errors
/// When the port cannot be opened.
pub async fn serve(port: u16, readiness: Readiness) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    tokio::spawn(async move { axum::serve(listener, router(readiness)).await });
    Ok(())
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
