//! Each write of the controller meets a 409 Conflict before it goes through. Nothing else may run beside this.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use e2e::Error;
use serde_json::{Value, json};

use crate::history;
use crate::proxy::{Fate, Fault, Proxy, Redirected};
use crate::scene::{PATIENCE, Scene};

/// What the controller writes in the history that is played.
const WRITES: [&str; 8] = [
    "DELETE jobs",
    "DELETE pods",
    "PATCH models/status",
    "PATCH pods",
    "POST events",
    "POST jobs",
    "POST persistentvolumeclaims",
    "PUT leases",
];

/// Refuses each write once: of those with the same method and path, every second one goes through. Writes to a namespace
/// that an earlier scenario left may never be asked for again: it is being deleted.
struct Conflicts {
    namespace: String,
    writes: Mutex<BTreeMap<Write, Met>>,
}

/// The method, the kind of object, and its path.
type Write = (Method, String, String);

#[derive(Clone, Copy, Default)]
struct Met {
    refused: usize,
    /// It was not asked for again yet.
    waits: bool,
}

impl Fault for Conflicts {
    fn meets(&self, request: &mut Parts, body: &[u8]) -> Fate {
        if request.method == Method::GET {
            return Fate::Passes;
        }
        let mut path = request.uri.path().to_owned();
        if request.method == Method::POST {
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or_default());
        }
        let kind = kind(&path);
        if kind != "leases" && !path.contains(&format!("/namespaces/{}/", self.namespace)) {
            return Fate::Passes;
        }
        let status = conflict(&request.method, &path, &kind);
        let mut writes = self.writes.lock().expect("nobody panicked");
        let met = writes.entry((request.method.clone(), kind, path)).or_default();
        met.waits = !met.waits;
        if !met.waits {
            return Fate::Passes;
        }
        met.refused += 1;
        Fate::Refused(StatusCode::CONFLICT, status)
    }
}

impl Conflicts {
    /// Writes that were refused and not asked for again. The lease is written for as long as the controller runs.
    fn left(&self) -> Vec<String> {
        let writes = self.writes.lock().expect("nobody panicked");
        let left = writes.iter().filter(|((_, kind, _), met)| met.waits && kind != "leases");
        left.map(|((method, _, path), _)| format!("{method} {path}")).collect()
    }

    /// How often each kind of write was refused.
    fn refused(&self) -> BTreeMap<String, usize> {
        let mut refused = BTreeMap::new();
        for ((method, kind, _), met) in self.writes.lock().expect("nobody panicked").iter() {
            *refused.entry(format!("{method} {kind}")).or_default() += met.refused;
        }
        refused
    }
}

/// The resource that a path is about, with its subresource.
fn kind(path: &str) -> String {
    let mut parts = path.trim_start_matches('/').split('/');
    // `api/v1`, or `apis/GROUP/v1`.
    let skipped = if parts.next() == Some("api") { 1 } else { 2 };
    let mut parts: Vec<_> = parts.skip(skipped).collect();
    if parts.first() == Some(&"namespaces") && parts.len() > 2 {
        parts.drain(..2);
    }
    match parts[..] {
        [kind, _, subresource] => format!("{kind}/{subresource}"),
        [kind, ..] => kind.to_owned(),
        [] => String::new(),
    }
}

/// In the API server's words. What is created meets the conflict of a quota that somebody else was counted in at the same
/// moment: nothing else of its name is there.
fn conflict(method: &Method, path: &str, kind: &str) -> Value {
    let name = path.split('/').nth_back(usize::from(kind.contains('/'))).unwrap_or_default();
    let (kind, name) = if method == Method::POST { ("resourcequotas", "quota") } else { (kind, name) };
    let message = format!(
        "Operation cannot be fulfilled on {kind} \"{name}\": the object has been modified; please apply your changes to \
         the latest version and try again"
    );
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": "Conflict", "details": { "name": name, "kind": kind }, "code": 409,
    })
}

pub async fn each_write_meets_a_conflict(scene: Scene) -> Result<(), Error> {
    let conflicts = Arc::new(Conflicts { namespace: scene.namespace.clone(), writes: Mutex::default() });
    let proxy = Proxy::start(&scene, conflicts.clone());
    let redirected = Redirected::start(&scene.cluster, &[("model-controller", &proxy)])?;
    history::play(&scene).await?;
    let deadline = Instant::now() + Duration::from_secs(PATIENCE);
    while !conflicts.left().is_empty() {
        assert!(Instant::now() < deadline, "refused, and not asked for again: {:?}", conflicts.left());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(redirected);
    let refused = conflicts.refused();
    println!("conflicts: {refused:?}");
    let missing: BTreeSet<_> = WRITES.into_iter().filter(|write| !refused.contains_key(*write)).collect();
    assert!(missing.is_empty(), "{missing:?} met no conflict: {refused:?}");
    Ok(())
}
