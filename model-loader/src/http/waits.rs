//! The time that a whole download may spend waiting.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// What is left of it, shared by all requests of a download.
#[derive(Debug)]
pub(super) struct Waits(Mutex<Left>);

#[derive(Debug)]
struct Left {
    left: Duration,
    /// Until when somebody waits already, so that waiting along costs nothing.
    until: Option<Instant>,
}

impl Waits {
    pub(super) fn new(left: Duration) -> Self {
        Self(Mutex::new(Left { left, until: None }))
    }

    /// Takes a wait that begins now. `false`: it is longer than what is left, and nothing is taken.
    pub(super) fn take(&self, wait: Duration) -> bool {
        self.take_at(Instant::now(), wait)
    }

    fn take_at(&self, now: Instant, wait: Duration) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = now + wait;
        let from = left.until.map_or(now, |until| until.max(now));
        match left.left.checked_sub(end.saturating_duration_since(from)) {
            None => false,
            Some(rest) => {
                *left = Left { left: rest, until: Some(from.max(end)) };
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_once_however_many_wait() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let waits = Waits::new(Duration::from_secs(10));
        for (name, now, wait, want) in [
            ("the first wait counts", 0, 4, true),
            ("a wait inside of it costs nothing", 1, 3, true),
            ("of a longer one only the rest counts", 2, 4, true),
            ("waits after a pause count anew, and 4 of 10 are left", 20, 5, false),
            ("a refusal takes nothing", 20, 4, true),
            ("waiting along is free to the last", 21, 3, true),
            ("then nothing is left", 21, 4, false),
        ] {
            assert_eq!(waits.take_at(at(now), Duration::from_secs(wait)), want, "{name}");
        }
    }
}
