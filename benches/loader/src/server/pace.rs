//! The rate limit of one connection.

use std::thread;
use std::time::{Duration, Instant};

/// Bytes sent at a time under a rate limit: 5 ms at 50 MiB/s, so that the flow looks even.
const STEP: u64 = 256 << 10;
/// How much of a delay is made up for, so that a machine with much to do does not lower the rate.
const SLACK: Duration = Duration::from_millis(50);

/// Lets bytes through at a fixed rate.
pub struct Pace {
    /// Bytes per second; `None` is as fast as it goes.
    rate: Option<u64>,
    /// When the next byte may be sent.
    next: Instant,
}

impl Pace {
    pub fn new(rate: Option<u64>) -> Self {
        Self { rate, next: Instant::now() }
    }

    /// Begins an answer. The time since the one before gives no credit.
    pub fn begin(&mut self) {
        self.next = self.next.max(Instant::now());
    }

    /// Waits until bytes may be sent and says how many of the wanted ones.
    pub fn wait(&self, wanted: u64) -> u64 {
        if self.rate.is_none() {
            return wanted;
        }
        thread::sleep(self.next.saturating_duration_since(Instant::now()));
        wanted.min(STEP)
    }

    /// Counts bytes that were sent.
    pub fn sent(&mut self, bytes: u64) {
        if let Some(rate) = self.rate {
            #[expect(clippy::cast_precision_loss, reason = "a duration needs no more precision")]
            let took = Duration::from_secs_f64(bytes as f64 / rate as f64);
            let late = Instant::now().saturating_duration_since(self.next + took);
            self.next += took + late.saturating_sub(SLACK);
        }
    }
}
