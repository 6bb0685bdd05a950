//! What the hub was asked for and what it sent, so that tests can assert on it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use serde::{Deserialize, Serialize};

use crate::Origin;

/// Requests counted since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Counts by server. A server that was never asked is absent.
    pub origins: BTreeMap<Origin, Counts>,
    /// Counts by server and decoded path, such as `cdn /acme/tiny/…/model.safetensors`.
    pub paths: BTreeMap<String, Counts>,
    /// TCP connections accepted by all servers since the start.
    pub connections: u64,
    /// The most requests that were being answered at one moment.
    pub peak_in_flight: u64,
}

/// Counts of some requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests of every method.
    pub requests: u64,
    /// Body bytes handed to the connection; headers do not count.
    pub bytes: u64,
    /// Requests that carried an `Authorization` header.
    pub with_credentials: u64,
    /// Answers by HTTP status.
    pub statuses: BTreeMap<u16, u64>,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.with_credentials += other.with_credentials;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
    }
}

impl Stats {
    /// Counts of one server.
    #[must_use]
    pub fn origin(&self, origin: Origin) -> Counts {
        self.origins.get(&origin).cloned().unwrap_or_default()
    }

    /// Counts of all requests whose server and path, as in [`Stats::paths`], contain `part`.
    #[must_use]
    pub fn containing(&self, part: &str) -> Counts {
        let mut sum = Counts::default();
        for (_, counts) in self.paths.iter().filter(|(path, _)| path.contains(part)) {
            sum.add(counts);
        }
        sum
    }

    /// Counts of all servers together.
    #[must_use]
    pub fn total(&self) -> Counts {
        let mut sum = Counts::default();
        for counts in self.origins.values() {
            sum.add(counts);
        }
        sum
    }
}

/// Collects the counts of all servers.
#[derive(Default)]
pub(crate) struct Recorder {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stats: Stats,
    in_flight: u64,
}

impl Recorder {
    pub(crate) fn snapshot(&self) -> Stats {
        self.lock().stats.clone()
    }

    /// Forgets all counts. Requests being answered count from now on.
    pub(crate) fn reset(&self) {
        let mut state = self.lock();
        state.stats = Stats { peak_in_flight: state.in_flight, ..Stats::default() };
    }

    pub(crate) fn begin(self: &Arc<Self>, origin: Origin, path: &str, credentials: bool) -> InFlight {
        let key = format!("{origin} {path}");
        let counted = Counts { requests: 1, with_credentials: u64::from(credentials), ..Counts::default() };
        let mut state = self.lock();
        state.count(origin, &key, &counted);
        state.in_flight += 1;
        state.stats.peak_in_flight = state.stats.peak_in_flight.max(state.in_flight);
        InFlight { recorder: self.clone(), origin, key }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the counters valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn count(&mut self, origin: Origin, key: &str, counts: &Counts) {
        self.stats.origins.entry(origin).or_default().add(counts);
        match self.stats.paths.get_mut(key) {
            Some(path) => path.add(counts),
            None => {
                self.stats.paths.insert(key.to_owned(), counts.clone());
            }
        }
    }
}

/// A request that is being answered. It ends when its body has been sent or dropped.
pub(crate) struct InFlight {
    recorder: Arc<Recorder>,
    origin: Origin,
    key: String,
}

impl InFlight {
    /// Counts the status now and the body's bytes as they are sent.
    pub(crate) fn answered(self, response: Response) -> Response {
        let statuses = BTreeMap::from([(response.status().as_u16(), 1)]);
        self.count(&Counts { statuses, ..Counts::default() });
        response.map(|body| Body::new(Counted { body, request: self }))
    }

    fn count(&self, counts: &Counts) {
        self.recorder.lock().count(self.origin, &self.key, counts);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.recorder.lock().in_flight -= 1;
    }
}

struct Counted {
    body: Body,
    request: InFlight,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.request.count(&Counts { bytes, ..Counts::default() });
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
