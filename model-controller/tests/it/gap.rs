//! A watch that lost its place lists anew. What went in between is in no list, and nothing tells of it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::http::{Request, Response};
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use kube::ResourceExt;
use kube::client::{Body, ClientBuilder};
use model_controller::controller;
use model_core::api::Phase;
use model_watch::Namespaces;
use serde_json::json;
use tower::layer::layer_fn;
use tower::{BoxError, Service};

use crate::kills::plane;
use crate::plane::{Scene, settings, until};

/// A watch over which nothing came for so long breaks off, as one over a dead connection does.
const IDLE: Duration = Duration::from_secs(1);

/// Nobody watches Jobs meanwhile.
#[derive(Clone, Default)]
struct Gap {
    is_open: Arc<AtomicBool>,
    was_met: Arc<AtomicBool>,
}

impl Gap {
    /// Waits until the gap is over.
    async fn over(self) {
        self.was_met.store(true, Ordering::SeqCst);
        while self.is_open.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What an API server says that does not keep the changes any more that a watch asks for.
fn gone() -> Response<axum::body::Body> {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410 });
    let event = json!({ "type": "ERROR", "object": status });
    Response::new(format!("{event}\n").into())
}

struct Gapped<S> {
    inner: S,
    gap: Gap,
}

impl<S, B> Service<Request<Body>> for Gapped<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<axum::body::Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let query = request.uri().query().unwrap_or_default();
        let watches_jobs = request.uri().path().ends_with("/jobs") && query.contains("watch=true");
        if watches_jobs && self.gap.is_open.load(Ordering::SeqCst) {
            return self.gap.clone().over().map(|()| Ok(gone())).boxed();
        }
        self.inner.call(request).map_ok(|response| response.map(axum::body::Body::new)).boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_while_nobody_watched_is_noticed() {
    let (mut config, admin) = plane().await;
    let scene = Scene::of(admin, "gap").await;
    config.read_timeout = Some(IDLE);
    let gap = Gap::default();
    let gapped = {
        let gap = gap.clone();
        layer_fn(move |inner| Gapped { inner, gap: gap.clone() })
    };
    let client = ClientBuilder::try_from(config).expect("a client").with_layer(&gapped).build();
    let ours = Namespaces::new([scene.namespace.clone()]);
    tokio::spawn(controller(client, settings()).with_namespaces(ours).run_until(std::future::pending()));

    scene.apply("https://example.com/model.gguf").await;
    let first = scene.job(None).await.uid();
    scene.job_ends("Failed").await;
    scene.phase(Phase::Failed).await;
    gap.is_open.store(true, Ordering::SeqCst);
    until("the watch is asked for again", async || gap.was_met.load(Ordering::SeqCst).then_some(())).await;
    // The wish to try again, which nobody hears.
    scene.delete_job().await;
    until("the Job is gone", async || {
        scene.jobs.get_opt("model-download-llama").await.expect("it can be asked for").is_none().then_some(())
    })
    .await;
    gap.is_open.store(false, Ordering::SeqCst);
    scene.job(first.as_deref()).await;
    scene.phase(Phase::Downloading).await;
}
