//! How far a download is and what it took, for people and for the controller.

mod steps;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use model_core::report::Progress;
use serde::{Deserialize, Serialize};

pub(crate) use self::steps::Step;
use self::steps::Steps;

/// Stands for a total that is not known.
const UNKNOWN: u64 = u64::MAX;
/// The time over which speed is measured.
const WINDOW: Duration = Duration::from_secs(6);

/// Counts bytes and files while a download or a check runs. Clones share their counts: one for the work, one for whoever
/// shows it.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    bytes: AtomicU64,
    files: AtomicU64,
    total_bytes: AtomicU64,
    total_files: AtomicU64,
    received: AtomicU64,
    received_again: AtomicU64,
    verified: AtomicU64,
    steps: Steps,
}

/// What a download took until now, in this run alone: what an earlier run left on the volume does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Bytes of files that came over the network, those that came again included. Without headers, listings and TLS.
    pub received_bytes: u64,
    /// Bytes among them that had come before in this run: a range or a file started over.
    pub received_again_bytes: u64,
    /// Bytes of the files whose digest was compared with one that the source or the user had promised.
    pub verified_bytes: u64,
    /// Seconds of finding out what to download.
    pub plan_seconds: f64,
    /// Seconds of downloading and verifying.
    pub fetch_seconds: f64,
    /// Seconds of syncing and publishing.
    pub publish_seconds: f64,
}

impl Default for Counts {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            bytes: zero(),
            files: zero(),
            total_bytes: AtomicU64::new(UNKNOWN),
            total_files: AtomicU64::new(UNKNOWN),
            received: zero(),
            received_again: zero(),
            verified: zero(),
            steps: Steps::default(),
        }
    }
}

impl Meter {
    pub(crate) fn expect(&self, bytes: Option<u64>, files: u64) {
        self.0.total_bytes.store(bytes.unwrap_or(UNKNOWN), Relaxed);
        self.0.total_files.store(files, Relaxed);
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Relaxed);
    }

    /// Takes back bytes of a file that starts over.
    pub(crate) fn remove_bytes(&self, bytes: u64) {
        self.0.bytes.fetch_sub(bytes, Relaxed);
    }

    pub(crate) fn add_file(&self) {
        self.0.files.fetch_add(1, Relaxed);
    }

    /// Bytes of a file came over the network, whether for the first time or again.
    pub(crate) fn received(&self, bytes: u64) {
        self.0.received.fetch_add(bytes, Relaxed);
    }

    /// So many of the bytes that were received had come before.
    pub(crate) fn received_again(&self, bytes: u64) {
        self.0.received_again.fetch_add(bytes, Relaxed);
    }

    /// A file of this length has the digest that it should have.
    pub(crate) fn verified(&self, bytes: u64) {
        self.0.verified.fetch_add(bytes, Relaxed);
    }

    /// The next step begins, and the one before ends.
    pub(crate) fn enter(&self, step: Step) {
        self.0.steps.enter(Instant::now(), step);
    }

    /// What the download took until now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let [plan_seconds, fetch_seconds, publish_seconds] =
            self.0.steps.at(Instant::now()).map(|time| time.as_secs_f64());
        Totals {
            received_bytes: self.0.received.load(Relaxed),
            received_again_bytes: self.0.received_again.load(Relaxed),
            verified_bytes: self.0.verified.load(Relaxed),
            plan_seconds,
            fetch_seconds,
            publish_seconds,
        }
    }

    /// How far the download is now. The speed is 0: see [`Speed`].
    #[must_use]
    pub fn progress(&self) -> Progress {
        let known = |total: &AtomicU64| Some(total.load(Relaxed)).filter(|total| *total != UNKNOWN);
        Progress {
            downloaded_bytes: self.0.bytes.load(Relaxed),
            total_bytes: known(&self.0.total_bytes),
            bytes_per_second: 0,
            files: self.0.files.load(Relaxed),
            total_files: known(&self.0.total_files),
        }
    }
}

/// Measures the speed over the last few seconds.
#[derive(Debug, Default)]
pub struct Speed {
    seen: VecDeque<(Instant, u64)>,
}

impl Speed {
    /// Takes one look, `bytes` being there at `now`, and gives bytes per second since the oldest look that still counts.
    pub fn at(&mut self, now: Instant, bytes: u64) -> u64 {
        self.seen.push_back((now, bytes));
        while self.seen.len() > 2 && now.duration_since(self.seen[0].0) > WINDOW {
            self.seen.pop_front();
        }
        let (since, before) = self.seen[0];
        let millis = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX);
        bytes.saturating_sub(before).saturating_mul(1000).checked_div(millis).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_absent_until_known() {
        let meter = Meter::default();
        assert_eq!(meter.progress().total_bytes, None);
        meter.expect(Some(10), 2);
        meter.add_bytes(7);
        meter.remove_bytes(3);
        meter.add_file();
        let seen = meter.progress();
        assert_eq!((seen.downloaded_bytes, seen.total_bytes, seen.files, seen.total_files), (4, Some(10), 1, Some(2)));
    }

    #[test]
    fn totals_tell_what_a_download_took() {
        let meter = Meter::default();
        assert_eq!(meter.totals(), Totals::default());
        meter.enter(Step::Plan);
        meter.enter(Step::Fetch);
        meter.received(10);
        meter.received(5);
        meter.received_again(5);
        meter.verified(9);
        meter.enter(Step::Done);
        let totals = meter.totals();
        assert_eq!((totals.received_bytes, totals.received_again_bytes, totals.verified_bytes), (15, 5, 9));
        assert_eq!(meter.totals(), totals, "time stands still once it is done");
        let json = serde_json::to_value(totals).unwrap();
        assert_eq!(json["receivedAgainBytes"], 5);
        assert_eq!(serde_json::from_value::<Totals>(json).unwrap(), totals);
    }

    #[test]
    fn speed_is_that_of_the_last_seconds() {
        let mut speed = Speed::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(speed.at(at(0), 0), 0);
        assert_eq!(speed.at(at(2), 2000), 1000);
        for second in 2..10 {
            speed.at(at(second * 2), 2000);
        }
        assert_eq!(speed.at(at(20), 2000), 0);
        assert_eq!(speed.at(at(22), 1000), 0, "a file that starts over is no negative speed");
    }
}
