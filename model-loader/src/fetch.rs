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
    manifest::FileRecord,
    plan::{Plan, Remote},
    progress::Meter,
    publish::{Staging, UNSYNCED},
};
use schedule::Limits;

/// Buffer of one connection for a large file, in bytes: what the HTTP client reads at once, and room for what it adds.
const STREAM_BUFFER: u64 = 512 << 10;
/// Buffer of one connection for a small file, in bytes.
const SMALL_BUFFER: u64 = 256 << 10;
/// Connections that still help.
const MOST_STREAMS: u64 = 32;
/// Small files that are asked for at once where latency is what counts.
const MOST_SMALL: u64 = 64;

/// What every file of a download shares.
pub(crate) struct Fetch {
    pub(crate) http: Http,
    pub(crate) remote: Remote,
    pub(crate) staging: Staging,
    pub(crate) meter: Meter,
    /// Bytes that may be held in memory for all connections together.
    pub(crate) buffers: u64,
    /// Bytes per second that one connection brings at present. 0 while nobody knows.
    pub(crate) typical_speed: AtomicU64,
}

impl Fetch {
    /// So many bytes that are there will have to come again.
    fn dismiss(&self, bytes: u64) {
        self.meter.remove_bytes(bytes);
        self.meter.received_again(bytes);
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
        small_size: UNSYNCED,
        range: 8 << 20,
        window: 128 << 20,
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
        assert_eq!(of(32), (32, 64));
        assert_eq!(of(64), (32, 64));
        assert_eq!(of(1024), (32, 64));
        assert_eq!(of(4), (4, 8));
        assert_eq!(of(0), (1, 1));
    }
}
