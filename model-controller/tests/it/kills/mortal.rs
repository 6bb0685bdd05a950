//! A controller that dies at a chosen write, as by `kill -9`, or is cut off there, and the one that is started in its place.
//! Or one whose every write meets a conflict before it goes through.
//!
//! Nobody waits for an Event, so none is counted.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::http::{Method, Request, Response};
use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use kube::client::{Body, ClientBuilder};
use kube::core::Status;
use kube::{Client, Config};
use serde_json::Value;
use tokio::sync::Notify;
use tower::layer::layer_fn;
use tower::{BoxError, Service};

/// On which side of a write the controller dies, or is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The request was never sent.
    Before,
    /// The API server has answered, and the controller does not know.
    After,
    /// It lives on. This request is not sent, and none that it makes from then on is answered.
    CutOff,
}

/// What a write is about. Each kind is counted by itself: a lease is renewed whenever it is time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the controller is there for.
    Work,
    /// The lease is taken or renewed.
    Lease,
    /// The lease is given back.
    Release,
}

/// When a controller dies: at its n-th write of this kind, counted from 1.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    pub kind: Kind,
    pub write: usize,
    pub side: Side,
}

impl Kill {
    /// On these sides of each of so many writes of a kind.
    pub fn each(kind: Kind, writes: usize, sides: &[Side]) -> impl Iterator<Item = Self> {
        (1..=writes).flat_map(move |write| sides.iter().map(move |&side| Self { kind, write, side }))
    }
}

impl std::fmt::Display for Kill {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, write, side } = self;
        match kind {
            Kind::Work => write!(out, "{write}-{side:?}"),
            Kind::Lease | Kind::Release => write!(out, "{kind:?}-{write}-{side:?}"),
        }
    }
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
    /// Reads a request. `None`: it changes nothing.
    fn of(request: &Request<Body>) -> Option<Self> {
        let method = request.method().clone();
        if method == Method::GET {
            return None;
        }
        let whole = request.uri().path();
        let path = whole.split_once("/namespaces/").and_then(|(_, rest)| rest.split_once('/')).map_or(whole, |of| of.1);
        let bytes = request.body().try_clone().and_then(|body| body.collect_bytes().now_or_never()?.ok());
        let body: Value = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let path = match body["metadata"]["name"].as_str().filter(|_| method == Method::POST) {
            Some(name) => format!("{path}/{name}"),
            None => path.to_owned(),
        };
        Some(Self { method, path, body })
    }

    /// Whether it tells of a change only.
    fn is_event(&self) -> bool {
        self.path.starts_with("events")
    }

    fn kind(&self) -> Kind {
        match self.holder() {
            None => Kind::Work,
            Some("") => Kind::Release,
            Some(_) => Kind::Lease,
        }
    }

    /// Who has the lease after this write. `None`: it writes none.
    pub fn holder(&self) -> Option<&str> {
        self.path.starts_with("leases").then(|| self.body["spec"]["holderIdentity"].as_str().unwrap_or_default())
    }
}

impl std::fmt::Display for Write {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.method, self.path)
    }
}

/// Sees each write of a controller.
pub trait Witness: Send + Sync {
    /// It is about to be sent.
    fn sent(&self, write: &Write);

    /// The API server has made it, whether or not the controller lives to know.
    fn made(&self, _write: &Write) {}
}

/// What is done to a controller.
#[derive(Clone, Copy)]
pub enum Trouble {
    Nothing,
    Dies(Kill),
    /// Each of its writes, that of an Event too, meets a conflict before it goes through.
    Conflicts,
}

impl Trouble {
    /// The name of a history with this trouble.
    pub fn label(self, history: &str) -> String {
        match self {
            Self::Nothing => history.to_owned(),
            Self::Dies(kill) => format!("{history}-{kill}"),
            Self::Conflicts => format!("{history}-conflicts"),
        }
    }

    pub fn lives(self, witness: Arc<dyn Witness>) -> Lives {
        match self {
            Self::Nothing => Lives::new(None, witness),
            Self::Dies(kill) => Lives::new(Some(kill), witness),
            Self::Conflicts => Lives::with(None, Some(Mutex::default()), witness),
        }
    }
}

/// The lives of the controllers of one history, one after another.
#[derive(Clone)]
pub struct Lives(Arc<State>);

struct State {
    kill: Option<Kill>,
    /// Writes that met a conflict and were not asked for again yet. `None`: none meets any.
    refused: Option<Mutex<BTreeSet<String>>>,
    witness: Arc<dyn Witness>,
    /// Writes of all lives, by kind.
    writes: [AtomicUsize; 3],
    killed_at: Mutex<Option<Write>>,
    death: Notify,
}

impl Lives {
    pub fn new(kill: Option<Kill>, witness: Arc<dyn Witness>) -> Self {
        Self::with(kill, None, witness)
    }

    fn with(kill: Option<Kill>, refused: Option<Mutex<BTreeSet<String>>>, witness: Arc<dyn Witness>) -> Self {
        let (writes, killed_at, death) = (Default::default(), Mutex::default(), Notify::new());
        Self(Arc::new(State { kill, refused, witness, writes, killed_at, death }))
    }

    /// Writes that met a conflict and were never asked for again, which is wrong.
    pub fn given_up(&self) -> Vec<String> {
        let refused = self.0.refused.iter().flat_map(|refused| refused.lock().expect("nobody panicked").clone());
        refused.map(|write| format!("{write} met a conflict and was given up")).collect()
    }

    /// Writes of this kind that were asked for so far.
    pub fn writes(&self, kind: Kind) -> usize {
        self.0.writes[kind as usize].load(Ordering::SeqCst)
    }

    /// The write at which the first controller died.
    pub fn killed_at(&self) -> Option<Write> {
        self.0.killed_at.lock().expect("nobody panicked").clone()
    }

    /// Runs a controller, and after its death another one.
    pub async fn run<R: Future<Output = ()>>(&self, config: &Config, controller: impl Fn(Client) -> R) {
        self.run_once(config, &controller).await;
        controller(self.client(config, None)).await;
    }

    /// Runs a controller to its end or its death.
    pub async fn run_once<R: Future<Output = ()>>(&self, config: &Config, controller: impl FnOnce(Client) -> R) {
        tokio::select! {
            () = controller(self.client(config, self.0.kill)) => {}
            () = self.0.death.notified() => {}
        }
    }

    /// A client for one life.
    fn client(&self, config: &Config, kill: Option<Kill>) -> Client {
        let (state, dead) = (self.0.clone(), Arc::new(AtomicBool::new(false)));
        let mortal = |inner| Mortal { inner, state: state.clone(), kill, dead: dead.clone() };
        ClientBuilder::try_from(config.clone()).expect("a client").with_layer(&layer_fn(mortal)).build()
    }
}

impl State {
    /// Whether this write is refused: each second one of the same object is not.
    fn meets_a_conflict(&self, write: &Write) -> bool {
        let Some(refused) = &self.refused else { return false };
        let (mut refused, write) = (refused.lock().expect("nobody panicked"), write.to_string());
        if refused.remove(&write) {
            return false;
        }
        refused.insert(write)
    }
}

/// As the client understands the API server's answer.
fn conflict() -> kube::Error {
    let message = "the object has been modified; please apply your changes to the latest version and try again";
    kube::Error::Api(Box::new(Status::failure(message, "Conflict").with_code(409)))
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

impl<S, B> Service<Request<Body>> for Mortal<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    B: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let write = Write::of(&request);
        if self.dead.load(Ordering::SeqCst) {
            let write = write.filter(|write| !write.is_event());
            // The dead ask for nothing. Who is cut off might, and must not where somebody else acts.
            if let (Some(write), Some(Side::CutOff)) = (write, self.kill.map(|kill| kill.side)) {
                self.state.witness.sent(&write);
            }
            return pending().boxed();
        }
        let Some(write) = write else { return self.inner.call(request).boxed() };
        if self.state.meets_a_conflict(&write) {
            return async { Err(conflict().into()) }.boxed();
        }
        if write.is_event() {
            return self.inner.call(request).boxed();
        }
        let kind = write.kind();
        let number = self.state.writes[kind as usize].fetch_add(1, Ordering::SeqCst) + 1;
        let side = self.kill.filter(|kill| kill.kind == kind && kill.write == number).map(|kill| kill.side);
        if side == Some(Side::Before) {
            self.dies(&write);
            self.state.death.notify_one();
            return pending().boxed();
        }
        self.state.witness.sent(&write);
        if side == Some(Side::CutOff) {
            self.dies(&write);
            return pending().boxed();
        }
        let answer = self.inner.call(request);
        if side.is_some() {
            // Whatever else it asks for while this is on its way is lost with it.
            self.dies(&write);
        }
        let state = self.state.clone();
        async move {
            let answer = answer.await;
            if answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
                state.witness.made(&write);
            }
            if side.is_none() {
                return answer;
            }
            state.death.notify_one();
            pending().await
        }
        .boxed()
    }
}
