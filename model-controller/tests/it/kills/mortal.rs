//! A controller that dies at a chosen write, as by `kill -9`, and the one that is started in its place.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::http::{Method, Request};
use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use serde_json::Value;
use tokio::sync::Notify;
use tower::layer::layer_fn;
use tower::{BoxError, Service};

/// On which side of a write the controller dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The request was never sent.
    Before,
    /// The API server has answered, and the controller does not know.
    After,
}

/// When a controller dies: at its n-th write, counted from 1.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    pub write: usize,
    pub side: Side,
}

/// A write that a controller asked for.
#[derive(Clone, Debug)]
pub struct Write {
    pub method: Method,
    /// The path below the namespace, such as `jobs/model-download-llama`; of a creation with the new object's name.
    pub path: String,
    pub body: Value,
}

impl Write {
    /// Reads a request. `None`: it changes nothing, or tells of a change only (Events, leases).
    fn of(request: &Request<Body>) -> Option<Self> {
        let method = request.method().clone();
        if method == Method::GET {
            return None;
        }
        let whole = request.uri().path();
        let path = whole.split_once("/namespaces/").and_then(|(_, rest)| rest.split_once('/')).map_or(whole, |of| of.1);
        if path.starts_with("events") || path.starts_with("leases") {
            return None;
        }
        let bytes = request.body().try_clone().and_then(|body| body.collect_bytes().now_or_never()?.ok());
        let body: Value = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let path = match body["metadata"]["name"].as_str().filter(|_| method == Method::POST) {
            Some(name) => format!("{path}/{name}"),
            None => path.to_owned(),
        };
        Some(Self { method, path, body })
    }
}

impl std::fmt::Display for Write {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.method, self.path)
    }
}

/// What sees each write before it is sent.
pub type Witness = Arc<dyn Fn(&Write) + Send + Sync>;

/// The lives of the controllers of one history, one after another.
#[derive(Clone)]
pub struct Lives(Arc<State>);

struct State {
    kill: Option<Kill>,
    witness: Witness,
    /// Writes of all lives.
    writes: AtomicUsize,
    killed_at: Mutex<Option<Write>>,
    death: Notify,
}

impl Lives {
    pub fn new(kill: Option<Kill>, witness: Witness) -> Self {
        let (writes, killed_at, death) = (AtomicUsize::new(0), Mutex::default(), Notify::new());
        Self(Arc::new(State { kill, witness, writes, killed_at, death }))
    }

    /// Writes that were asked for so far.
    pub fn writes(&self) -> usize {
        self.0.writes.load(Ordering::SeqCst)
    }

    /// The write at which the first controller died.
    pub fn killed_at(&self) -> Option<Write> {
        self.0.killed_at.lock().expect("nobody panicked").clone()
    }

    /// Runs a controller, and after its death another one.
    pub async fn run<R: Future<Output = ()>>(&self, config: &Config, controller: impl Fn(Client) -> R) {
        tokio::select! {
            () = controller(self.client(config, self.0.kill)) => {}
            () = self.0.death.notified() => {}
        }
        controller(self.client(config, None)).await;
    }

    /// A client for one life.
    pub fn client(&self, config: &Config, kill: Option<Kill>) -> Client {
        let (state, dead) = (self.0.clone(), Arc::new(AtomicBool::new(false)));
        let mortal = |inner| Mortal { inner, state: state.clone(), kill, dead: dead.clone() };
        ClientBuilder::try_from(config.clone()).expect("a client").with_layer(&layer_fn(mortal)).build()
    }
}

struct Mortal<S> {
    inner: S,
    state: Arc<State>,
    kill: Option<Kill>,
    dead: Arc<AtomicBool>,
}

impl<S> Mortal<S> {
    fn dies(&self, write: &Write) {
        self.dead.store(true, Ordering::SeqCst);
        *self.state.killed_at.lock().expect("nobody panicked") = Some(write.clone());
    }
}

impl<S> Service<Request<Body>> for Mortal<S>
where
    S: Service<Request<Body>, Error = BoxError>,
    S::Response: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if self.dead.load(Ordering::SeqCst) {
            return pending().boxed();
        }
        let Some(write) = Write::of(&request) else { return self.inner.call(request).boxed() };
        let number = self.state.writes.fetch_add(1, Ordering::SeqCst) + 1;
        let side = self.kill.filter(|kill| kill.write == number).map(|kill| kill.side);
        if side == Some(Side::Before) {
            self.dies(&write);
            self.state.death.notify_one();
            return pending().boxed();
        }
        (self.state.witness)(&write);
        let answer = self.inner.call(request);
        if side.is_none() {
            return answer.boxed();
        }
        // Whatever else it asks for while this is on its way is lost with it.
        self.dies(&write);
        let state = self.state.clone();
        async move {
            let _ = answer.await;
            state.death.notify_one();
            pending().await
        }
        .boxed()
    }
}
