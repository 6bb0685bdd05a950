//! One part of one file: request, receive, write; go on at the byte after every interruption.

#[cfg(feature = "xet")]
mod xet;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, header};
use model_core::reason::Reason;
use reqwest::{RequestBuilder, Response};
use tokio::sync::mpsc::UnboundedSender;
use url::{Origin, Url};

use super::{
    Fetch,
    answer::{self, Body},
    assembly::Assembly,
    chunks::Recorder,
    schedule::Part,
};
use crate::{
    Error,
    digest::{Algorithm, Digest},
    http::{Again, Trouble},
    plan::PlannedFile,
};

/// Bytes that count as progress: after as many all tries are available again.
const PROGRESS: u64 = 64 << 10;
/// Answers with the whole file after which no range is expected any more. A single one may come from a proxy.
const WHOLE_ANSWERS: u32 = 2;
/// Bytes per second below which a connection counts as stalled.
const SLOWEST: u64 = 1 << 10;
/// A connection that is so many times slower than the others is replaced: a file waits for the slowest of its parts.
const STRAGGLER: u64 = 16;
/// How often the speed of a connection is looked at.
const LOOK_AT_PACE: Duration = Duration::from_secs(3);

/// One file while it is fetched, as its streams share it.
#[derive(Debug)]
pub(super) struct Target {
    /// Number of the file in the plan.
    pub(super) index: usize,
    pub(super) file: PlannedFile,
    /// Set before the first stream for large files, else by the first answer.
    pub(super) assembly: OnceLock<Arc<Assembly>>,
    /// What the source promised when it began to send. Set with the assembly.
    pub(super) promised: OnceLock<Digest>,
    learnt: Mutex<Learnt>,
}

#[derive(Debug, Default)]
struct Learnt {
    /// Tells whether the file is still the one that was begun.
    validator: Option<HeaderValue>,
    /// Where redirects have led to: another origin, which needs no credentials of ours.
    direct: Option<Url>,
}

/// What a stream tells while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The source of this file gives ranges.
    Ranges(usize),
    /// The source gives the whole file, and the stream takes it.
    Whole(usize),
}

/// How a stream ended that did not fail.
#[derive(Debug)]
pub(super) enum End {
    /// The part is written.
    Written,
    /// Nothing of the file can be kept. `whole`: its source does not give ranges.
    StartOver { whole: bool, why: Error },
}

impl Target {
    pub(super) fn new(index: usize, file: PlannedFile) -> Self {
        let (assembly, promised, learnt) = (OnceLock::new(), OnceLock::new(), Mutex::default());
        Self { index, file, assembly, promised, learnt }
    }

    /// A large file of which something may be there already.
    pub(super) fn begun(index: usize, file: PlannedFile, assembly: Arc<Assembly>, promised: Option<Digest>) -> Self {
        let promised = promised.map_or_else(OnceLock::new, OnceLock::from);
        Self { assembly: OnceLock::from(assembly), promised, ..Self::new(index, file) }
    }

    /// The same file from its start. What is known before the first answer stays.
    pub(super) fn again(&self) -> Self {
        let file = self.file.clone();
        match self.assembly.get().filter(|assembly| assembly.records().is_some()) {
            Some(assembly) => Self::begun(self.index, file, assembly.clone(), self.promised.get().cloned()),
            None => Self::new(self.index, file),
        }
    }

    /// Whether a part of the file could be told from one of another version.
    fn is_recognisable(&self) -> bool {
        self.promised.get().is_some() || self.learnt().validator.is_some()
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream at work.
pub(super) struct Stream {
    pub(super) with: Arc<Fetch>,
    pub(super) target: Arc<Target>,
    pub(super) part: Part,
    pub(super) news: UnboundedSender<News>,
    /// Answers with the whole file instead of a range.
    pub(super) whole_answers: u32,
}

impl Stream {
    /// Fetches the part, however often the connection breaks off.
    pub(super) async fn run(mut self) -> Result<End, Error> {
        let mut budget = self.with.http.budget();
        let mut at = self.part.start;
        let mut furthest = at;
        loop {
            let mut trouble = match self.attempt(&mut at).await {
                Ok(end) => return Ok(end),
                Err(trouble) => trouble,
            };
            if trouble.again == Again::NoSuchRange && self.target.file.size.is_none() {
                trouble.again = Again::FromStart;
            }
            if at >= furthest + PROGRESS {
                furthest = at;
                budget.refill();
            }
            let from_start = trouble.again == Again::FromStart;
            if Some(at) == self.part.end && at > self.part.start && !from_start {
                // The last byte came before the connection broke off.
                return Ok(End::Written);
            }
            let refused = trouble.again == Again::Never && trouble.error.reason().is_of_source();
            if refused && self.target.learnt().direct.take().is_some() {
                // The address that redirects led to is valid for a while only. What fails on our side, such as a full
                // volume, fails with every address.
                continue;
            }
            let why = Error::new(trouble.error.reason(), trouble.error.failure().message);
            if self.whole_answers >= WHOLE_ANSWERS {
                return Ok(End::StartOver { whole: true, why });
            }
            budget.spend(trouble).await?;
            if from_start {
                if !self.has_all() {
                    return Ok(End::StartOver { whole: false, why });
                }
                self.start_over()?;
                (at, furthest) = (0, 0);
            }
        }
    }

    /// One request, from the byte that was reached.
    async fn attempt(&mut self, at: &mut u64) -> Result<End, Trouble> {
        #[cfg(feature = "xet")]
        if let Some(end) = self.attempt_xet(at).await? {
            return Ok(end);
        }
        let Fetch { http, remote, .. } = &*self.with;
        let (target, what) = (self.target.clone(), self.target.file.path.as_str());
        if *at > 0 && self.has_all() && !target.is_recognisable() {
            // Nothing would show that the rest belongs to another content.
            self.start_over().map_err(Trouble::lasting)?;
            *at = 0;
        }
        let known = target.learnt().validator.clone();
        let (mut request, origin) = self.request().await?;
        if *at > 0 || !self.has_all() {
            let last = self.part.end.map(|end| (end - 1).to_string()).unwrap_or_default();
            request = request.header(header::RANGE, format!("bytes={at}-{last}"));
            if let Some(validator) = &known {
                request = request.header(header::IF_RANGE, validator);
            }
        }
        let mut response = http.once(request, remote.dialect(), what).await?;
        let body = answer::check(&target.file, *at, known.as_ref(), response.status(), response.headers())?;
        let news = match body {
            _ if self.has_all() => None,
            Body::Whole if !self.part.alone => {
                self.whole_answers += 1;
                let message = format!("{what}: the source gave ranges before and does not now");
                return Err(Trouble::passing(Error::new(Reason::SourceInvalid, message)));
            }
            Body::Whole => {
                (self.part.start, self.part.end) = (0, target.file.size);
                Some(News::Whole(self.part.file))
            }
            Body::Range if self.part.alone => {
                self.part.alone = false;
                Some(News::Ranges(self.part.file))
            }
            Body::Range => None,
        };
        if body == Body::Whole && *at > 0 {
            self.start_over().map_err(Trouble::lasting)?;
            *at = 0;
        }
        target.learn(&response, origin);
        if let Some(news) = news {
            // Nobody listens any more when the download has failed.
            let _ = self.news.send(news);
        }
        let assembly = self.begin(&response).map_err(Trouble::lasting)?;
        let mut answer = Answer { with: &self.with, response: &mut response, pace: Pace::default() };
        self.receive(&mut answer, &assembly, at).await?;
        match self.part.end {
            Some(end) if *at != end => {
                let message = format!("{what}: the answer ended {} bytes early", end - *at);
                Err(Trouble::passing(Error::new(Reason::NetworkError, message)))
            }
            _ => Ok(End::Written),
        }
    }

    /// Writes the request, and tells which origin it goes to.
    async fn request(&self) -> Result<(RequestBuilder, Option<Origin>), Trouble> {
        let Fetch { http, remote, .. } = &*self.with;
        let direct = self.target.learnt().direct.clone();
        let request = match direct {
            Some(url) => http.client().get(url).header(header::ACCEPT_ENCODING, "identity"),
            None => remote.get(http, &self.target.file).await.map_err(Trouble::lasting)?,
        };
        let written = request.try_clone().and_then(|request| request.build().ok());
        Ok((request, written.map(|request| request.url().origin())))
    }

    /// The file that the answer is written to, begun where this is its first answer.
    fn begin(&self, response: &Response) -> Result<Arc<Assembly>, Error> {
        let target = &*self.target;
        if let Some(assembly) = target.assembly.get() {
            return Ok(assembly.clone());
        }
        let promised = self.with.remote.promised(&target.file, response.headers());
        let algorithm = promised.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let path = self.with.staging.incoming(&target.index.to_string());
        let assembly = Assembly::create(path, target.file.size, algorithm, self.with.waiting.clone())?;
        if let Some(promised) = promised {
            let _ = target.promised.set(promised);
        }
        Ok(target.assembly.get_or_init(|| assembly).clone())
    }

    /// Writes pieces to the file as they come.
    async fn receive(&self, pieces: &mut impl Pieces, assembly: &Arc<Assembly>, at: &mut u64) -> Result<(), Trouble> {
        let what = self.target.file.path.as_str();
        let mut recorder = Recorder::new(assembly.records(), *at);
        let unrecorded = |error| Trouble::lasting(Error::io("record a chunk of", Path::new(what), error));
        let ended = loop {
            let piece = match pieces.next(what).await {
                Ok(Some(piece)) => piece,
                Ok(None) => break Ok(()),
                Err(trouble) => break Err(trouble),
            };
            let length = piece.len() as u64;
            if self.part.end.is_some_and(|end| *at + length > end) {
                let message = format!("{what}: more bytes are sent than were promised");
                break Err(Trouble::passing(Error::new(Reason::SourceInvalid, message)));
            }
            assembly.write(*at, piece.clone()).map_err(Trouble::lasting)?;
            recorder.written(&piece).map_err(unrecorded)?;
            *at += length;
            self.with.meter.add_bytes(length);
            self.with.meter.received(length);
        };
        recorder.flush().map_err(unrecorded)?;
        ended
    }

    /// Whether this stream has the whole file.
    fn has_all(&self) -> bool {
        self.part.start == 0 && self.part.end == self.target.file.size
    }

    /// Empties the file, whose only stream this is.
    fn start_over(&self) -> Result<(), Error> {
        *self.target.learnt() = Learnt::default();
        let Some(assembly) = self.target.assembly.get() else { return Ok(()) };
        self.with.dismiss(assembly.there().bytes());
        assembly.restart()
    }
}

impl Target {
    /// Keeps what an answer tells about the file and its address.
    fn learn(&self, response: &Response, origin: Option<Origin>) {
        let mut learnt = self.learnt();
        if learnt.validator.is_none() {
            learnt.validator = answer::validator(&self.file, response.headers());
        }
        if origin.is_some_and(|origin| origin != response.url().origin()) {
            learnt.direct = Some(response.url().clone());
        }
    }
}

/// Bytes of one part as they come.
trait Pieces {
    /// The next ones, `None` after the last. `what`: the file, for messages.
    fn next(&mut self, what: &str) -> impl Future<Output = Result<Option<Bytes>, Trouble>> + Send;
}

/// The body of an answer.
struct Answer<'a> {
    with: &'a Fetch,
    response: &'a mut Response,
    pace: Pace,
}

impl Pieces for Answer<'_> {
    async fn next(&mut self, what: &str) -> Result<Option<Bytes>, Trouble> {
        if self.pace.is_too_slow(self.with.typical_speed.load(Relaxed)) {
            let message = format!("{what}: hardly a byte comes over this connection");
            return Err(Trouble::passing(Error::new(Reason::Stalled, message)));
        }
        let piece = self.with.http.chunk(self.response, what).await?;
        self.pace.bytes += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Ok(piece)
    }
}

/// How fast bytes come over one connection.
struct Pace {
    since: Instant,
    bytes: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { since: Instant::now(), bytes: 0 }
    }
}

impl Pace {
    /// Tells from time to time whether too few bytes came since the last look: next to none, or far fewer than over a
    /// `typical` connection, in bytes per second.
    fn is_too_slow(&mut self, typical: u64) -> bool {
        let passed = self.since.elapsed();
        if passed < LOOK_AT_PACE {
            return false;
        }
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let speed = std::mem::take(self).bytes.saturating_mul(1000) / millis;
        speed < SLOWEST || speed < typical / STRAGGLER
    }
}
