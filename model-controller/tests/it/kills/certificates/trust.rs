//! What the API server trusts, what replicas serve, and what must hold between the two.
//!
//! - An authority is in every registration before its certificate is in the Secret: whatever a replica takes from there is
//!   trusted.
//! - Where replicas serve already, it has been there for as long as an API server takes to see it.
//! - It leaves a registration only when its certificate is neither in the Secret nor served by any replica.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use jiff::SignedDuration;
use k8s_openapi::ByteString;
use serde_json::Value;

use crate::kills::mortal::{Witness, Write};

/// How long an API server takes at most to see a changed registration.
pub const SETTLE: SignedDuration = SignedDuration::from_millis(300);
pub const REPLICAS: usize = 2;
const REGISTRATIONS: usize = 2;
const END: &str = "-----END CERTIFICATE-----\n";

#[derive(Default)]
pub struct Trust {
    /// The authorities of each webhook, by registration.
    registered: BTreeMap<String, Vec<Vec<String>>>,
    /// Since when an authority has been in all of them.
    since: BTreeMap<String, Instant>,
    /// Authorities of the certificates that were written into the Secret, in order.
    pub published: Vec<String>,
    /// Authority of what each replica serves.
    pub served: [Option<String>; REPLICAS],
    /// What must never happen, and did.
    pub wrongs: Vec<String>,
}

impl Trust {
    fn trusts(&mut self, write: &Write, bundles: &[Vec<String>]) {
        let (published, served) = (self.published.last(), self.served.iter().flatten());
        for (what, ca) in published.map(|ca| ("in the Secret", ca)).into_iter().chain(served.map(|ca| ("served", ca))) {
            if bundles.iter().any(|bundle| !bundle.contains(ca)) {
                self.wrongs.push(format!("{write} does not trust what is {what}"));
            }
        }
        if bundles.is_empty() {
            self.wrongs.push(format!("{write} is about no webhook"));
        }
    }

    fn publishes(&mut self, write: &Write, ca: &str) {
        let Some(since) = self.since.get(ca) else {
            return self.wrongs.push(format!("{write} is not trusted everywhere"));
        };
        let settle = SETTLE.unsigned_abs();
        if !self.published.is_empty() && since.elapsed() < settle {
            self.wrongs.push(format!("{write} comes {:?} after it is trusted", since.elapsed()));
        }
    }

    fn registered(&mut self, path: &str, bundles: Vec<Vec<String>>) {
        self.registered.insert(path.to_owned(), bundles);
        let all: Vec<_> = self.registered.values().flatten().collect();
        let everywhere = |ca: &String| self.registered.len() == REGISTRATIONS && all.iter().all(|one| one.contains(ca));
        self.since.retain(|ca, _| everywhere(ca));
        for ca in all.iter().copied().flatten().filter(|ca| everywhere(ca)) {
            self.since.entry(ca.clone()).or_insert_with(Instant::now);
        }
    }
}

/// The same for everybody in a run.
#[derive(Clone, Default)]
pub struct Watched(Arc<Mutex<Trust>>);

impl Watched {
    pub fn lock(&self) -> MutexGuard<'_, Trust> {
        self.0.lock().expect("nobody panicked")
    }
}

/// What a write is about.
enum What {
    Registration(Vec<Vec<String>>),
    Secret(String),
}

fn what(write: &Write) -> What {
    if write.path.contains("webhookconfigurations/") {
        return What::Registration(bundles(&write.body["webhooks"]));
    }
    let data = serde_json::from_value(write.body["data"].clone()).expect("data");
    What::Secret(authority(Some(&data)).unwrap_or_else(|| panic!("{write} has no authority")))
}

impl Witness for Watched {
    fn sent(&self, write: &Write) {
        match what(write) {
            What::Registration(bundles) => self.lock().trusts(write, &bundles),
            What::Secret(ca) => self.lock().publishes(write, &ca),
        }
    }

    fn made(&self, write: &Write) {
        match what(write) {
            What::Registration(bundles) => self.lock().registered(&write.path, bundles),
            What::Secret(ca) => self.lock().published.push(ca),
        }
    }
}

/// The authorities of each webhook, PEM.
pub fn bundles(webhooks: &Value) -> Vec<Vec<String>> {
    let bundle = |webhook: &Value| {
        let bundle: Option<ByteString> = serde_json::from_value(webhook["clientConfig"]["caBundle"].clone()).ok();
        let text = bundle.map(|ByteString(bundle)| String::from_utf8(bundle).expect("PEM")).unwrap_or_default();
        text.split_inclusive(END).map(str::to_owned).collect()
    };
    webhooks.as_array().into_iter().flatten().map(bundle).collect()
}

/// The authority in a Secret, PEM.
pub fn authority(data: Option<&BTreeMap<String, ByteString>>) -> Option<String> {
    let ByteString(ca) = data?.get("ca.crt")?;
    Some(String::from_utf8(ca.clone()).expect("PEM"))
}
