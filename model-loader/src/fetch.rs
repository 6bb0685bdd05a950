//! Second step: bring each file of the plan to the staging directory, verified.
//!
//! One pool of connections serves the whole model, over files and over ranges of large files at once. [`schedule`] says
//! what is asked for next, a [`stream`] fetches one part, an [`assembly`] is a file on the volume and its digest so far,
//! [`chunks`] keeps what a later run can go on from.

mod answer;
mod assembly;
mod chunks;
mod ramp;
mod run;
mod schedule;
mod spans;
mod stream;

use std::sync::{Arc, atomic::AtomicU64};

use crate::{
    Error,
    http::Http,
    manifest::{FileRecord, Manifest},
    plan::{Plan, Remote},
    progress::Meter,
    publish::Staging,
};
use assembly::Waiting;
use schedule::Limits;

/// Buffer of one connection for a large file, in bytes: what the HTTP client reads at once, and room for what it adds.
const STREAM_BUFFER: u64 = 512 << 10;
/// Connections for large files that still help.
const MOST_STREAMS: u64 = 32;
/// Bytes that one request for a part of a large file asks for. A second or so of a slow connection.
const RANGE: u64 = 8 << 20;
/// Largest file that counts as small, in bytes.
const SMALL: u64 = 100 << 10;
/// Buffer of one connection for small files, in bytes: it grows with what comes, and most files are shorter than the
/// longest.
const SMALL_BUFFER: u64 = 80 << 10;
/// Small files that are asked for at once where latency is what counts. Sources redirect, so each takes two answers.
const MOST_SMALL: u64 = 192;

/// Start and length of the chunks that a file of records tells of.
#[cfg(fuzzing)]
#[must_use]
pub fn recorded(records: &[u8], size: u64) -> Vec<(u64, u64)> {
    chunks::parse(records, size).into_iter().map(|chunk| (chunk.start, chunk.length)).collect()
}

/// What every file of a download shares.
pub(crate) struct Fetch {
    http: Http,
    remote: Remote,
    staging: Staging,
    meter: Meter,
    /// Bytes that may be held in memory for all connections together.
    buffers: u64,
    /// What waits to be hashed.
    waiting: Arc<Waiting>,
    /// Bytes per second that one connection brings at present. 0 while nobody knows.
    typical_speed: AtomicU64,
}

impl Fetch {
    /// `buffers`: bytes that may be held in memory for all connections together.
    pub(crate) fn new(http: Http, remote: Remote, staging: Staging, meter: Meter, buffers: u64) -> Self {
        let (waiting, typical_speed) = (Waiting::new(buffers / 4), AtomicU64::new(0));
        Self { http, remote, staging, meter, buffers, waiting, typical_speed }
    }

    /// So many bytes that are there will have to come again.
    fn dismiss(&self, bytes: u64) {
        self.meter.remove_bytes(bytes);
        self.meter.received_again(bytes);
    }

    /// Publishes what was fetched.
    pub(crate) fn publish(&self, manifest: &Manifest) -> Result<(), Error> {
        self.staging.publish(manifest)
    }
}

/// Fetches all files that are not complete yet.
///
/// # Errors
/// The first file that cannot be fetched ends the whole; what is there stays in the staging directory.
pub(crate) async fn fetch(plan: &Plan, with: &Arc<Fetch>) -> Result<Vec<FileRecord>, Error> {
    run::Run::new(plan, with).finish().await
}

/// Shares the buffers out: half to ranges of large files, half to small files.
fn limits(buffers: u64) -> Limits {
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Limits {
        streams: count((buffers / 2 / STREAM_BUFFER).clamp(1, MOST_STREAMS)),
        small: count((buffers / 2 / SMALL_BUFFER).clamp(1, MOST_SMALL)),
        small_size: SMALL,
        range: RANGE,
        // As many parts as there may be connections, if one file has them all.
        window: MOST_STREAMS * RANGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_bound_the_connections() {
        let of = |mebibytes: u64| {
            let limits = limits(mebibytes << 20);
            (limits.streams, limits.small)
        };
        assert_eq!(of(32), (32, 192));
        assert_eq!(of(1024), (32, 192));
        assert_eq!(of(4), (4, 25));
        assert_eq!(of(0), (1, 1));
    }
}
