//! The one HTTP client: TLS, patience, retries, and what an answer means.

mod addresses;
mod asked;
mod client;
mod refusal;
mod retry;
#[cfg(test)]
mod tests;
mod waits;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use model_core::reason::Reason;
use reqwest::{RequestBuilder, Response};

pub(crate) use refusal::Dialect;
pub use retry::RetryPolicy;
pub(crate) use retry::{Again, Budget, Trouble};

use self::waits::Waits;
use crate::{Access, Error};

/// Largest answer that is held in memory as a whole: a page of a listing, an error.
const MAX_SMALL_BODY: usize = 32 << 20;
/// How much of an error page is read to find out what is wrong.
const MAX_REFUSAL_BODY: usize = 8 << 10;

/// A client that waits no longer than it should and tells apart what helps to retry.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    /// Longest time without a byte.
    stall_timeout: Duration,
    retry: RetryPolicy,
    waits: Arc<Waits>,
    /// Shortest time to an answer so far, in microseconds.
    quickest: Arc<AtomicU64>,
}

/// An answer that was read as a whole.
pub(crate) struct Small {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Http {
    /// Sets up TLS and the connection pool.
    ///
    /// # Errors
    /// The file of extra certificate authorities cannot be read.
    pub(crate) fn new(access: &Access, stall_timeout: Duration, retry: RetryPolicy) -> Result<Self, Error> {
        let waits = Arc::new(Waits::new(retry.longest_waits));
        let quickest = Arc::new(AtomicU64::new(u64::MAX));
        Ok(Self { client: client::build(access)?, stall_timeout, retry, waits, quickest })
    }

    /// The client, to write requests with.
    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Longest time without a byte.
    #[cfg(feature = "xet")]
    pub(crate) fn stall_timeout(&self) -> Duration {
        self.stall_timeout
    }

    /// A fresh budget of tries. Waits come out of one budget for all requests of this client and its clones.
    pub(crate) fn budget(&self) -> Budget {
        Budget::new(self.retry, self.waits.clone())
    }

    /// Sends a request once and gives back any answer of success, its body still to be read.
    pub(crate) async fn once(
        &self,
        request: RequestBuilder,
        dialect: Dialect,
        what: &str,
    ) -> Result<Response, Trouble> {
        let mut response = self.answer(request, what).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let mut body = Vec::new();
        while body.len() < MAX_REFUSAL_BODY {
            // A page that breaks off still says something, and its status has said the most.
            let Ok(Some(chunk)) = self.chunk(&mut response, what).await else { break };
            body.extend_from_slice(&chunk);
        }
        let body = String::from_utf8_lossy(&body);
        Err(refusal::refusal(dialect, status, response.headers(), &body, what))
    }

    /// Sends a request once and gives back any answer, also one of refusal.
    pub(crate) async fn answer(&self, request: RequestBuilder, what: &str) -> Result<Response, Trouble> {
        let (client, request) = request.build_split();
        let request = request.map_err(|error| broken(error, what))?;
        addresses::check(request.url()).map_err(|forbidden| refused(&forbidden, what))?;
        let begun = Instant::now();
        let sent = tokio::time::timeout(self.stall_timeout, client.execute(request)).await;
        let response = sent.map_err(|_| self.stalled(what))?.map_err(|error| broken(error, what))?;
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.quickest.fetch_min(micros, Relaxed);
        Ok(response)
    }

    /// The shortest time from a request to its answer so far. Very long before the first.
    pub(crate) fn quickest_answer(&self) -> Duration {
        Duration::from_micros(self.quickest.load(Relaxed))
    }

    /// The next bytes of a body, `None` at its end.
    pub(crate) async fn chunk(&self, response: &mut Response, what: &str) -> Result<Option<Bytes>, Trouble> {
        let read = tokio::time::timeout(self.stall_timeout, response.chunk()).await;
        read.map_err(|_| self.stalled(what))?.map_err(|error| broken(error, what))
    }

    /// Sends a request until it is answered with success or trying again is in vain, and reads the answer.
    pub(crate) async fn small(
        &self,
        request: impl Fn() -> RequestBuilder,
        dialect: Dialect,
        what: &str,
    ) -> Result<Small, Error> {
        let mut budget = self.budget();
        loop {
            match self.small_once(request(), dialect, what).await {
                Ok(small) => return Ok(small),
                Err(trouble) => budget.spend(trouble).await?,
            }
        }
    }

    async fn small_once(&self, request: RequestBuilder, dialect: Dialect, what: &str) -> Result<Small, Trouble> {
        let mut response = self.once(request, dialect, what).await?;
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk(&mut response, what).await? {
            if body.len() + chunk.len() > MAX_SMALL_BODY {
                let message = format!("{what}: the answer is longer than {MAX_SMALL_BODY} bytes");
                return Err(Trouble::lasting(Error::new(Reason::SourceInvalid, message)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Small { status: response.status(), headers: response.headers().clone(), body: body.freeze() })
    }

    fn stalled(&self, what: &str) -> Trouble {
        let seconds = self.stall_timeout.as_secs_f32();
        Trouble::passing(Error::new(Reason::Stalled, format!("{what}: no byte came for {seconds} seconds")))
    }
}

/// A connection that could not be made or broke off.
fn broken(error: reqwest::Error, what: &str) -> Trouble {
    // The URL may hold a signature in its query.
    let error = error.without_url();
    if let Some(forbidden) = addresses::forbidden(&error) {
        return refused(forbidden, what);
    }
    if error.is_redirect() {
        let message = format!("{what}: the source redirects without end");
        return Trouble::lasting(Error::new(Reason::SourceInvalid, message).caused_by(error));
    }
    if error.is_builder() {
        return Trouble::lasting(
            Error::new(Reason::SourceInvalid, format!("{what}: no valid request")).caused_by(error),
        );
    }
    let message = if error.is_connect() { "could not connect" } else { "the connection broke off" };
    Trouble::passing(Error::new(Reason::NetworkError, format!("{what}: {message}")).caused_by(error))
}

/// A source, or a redirect of it, that leads to an address of the node or the cloud.
fn refused(forbidden: &addresses::Forbidden, what: &str) -> Trouble {
    Trouble::lasting(Error::new(Reason::ForbiddenAddress, format!("{what}: {forbidden}")))
}
