//! `/healthz` and `/readyz`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use model_core::api::Model;
use tokio::net::TcpListener;

/// Serves both for as long as the process lives. Ready means that the first list of all Models was read.
///
/// # Errors
/// When the port cannot be opened.
pub async fn serve(port: u16, models: Store<DeserializeGuard<Model>>) -> io::Result<()> {
    let listed = Arc::new(AtomicBool::new(false));
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    let answers = router(listed.clone());
    tokio::spawn(async move { axum::serve(listener, answers).await });
    tokio::spawn(async move { listed.store(models.wait_until_ready().await.is_ok(), Ordering::Relaxed) });
    Ok(())
}

fn router(listed: Arc<AtomicBool>) -> Router {
    let ready = move || {
        let answer = if listed.load(Ordering::Relaxed) {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "waiting for the first list of Models")
        };
        std::future::ready(answer)
    };
    Router::new().route("/healthz", get(|| std::future::ready("ok"))).route("/readyz", get(ready))
}
