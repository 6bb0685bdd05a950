//! How long to wait after a failed pass, by Model.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// Failed passes in a row, by `namespace/name`.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    /// Counts a failure and says how long to wait: one second, doubling, at most five minutes.
    pub(crate) fn failed(&self, model: &str) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = failures.entry(model.to_owned()).or_insert(0);
        let wait = FIRST.saturating_mul(1 << (*count).min(10)).min(LONGEST);
        *count = count.saturating_add(1);
        wait
    }

    /// Forgets the failures of a Model.
    pub(crate) fn succeeded(&self, model: &str) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(model);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes_and_a_success_starts_over() {
        let backoff = Backoff::default();
        let waits: Vec<u64> = (0..10).map(|_| backoff.failed("a/b").as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(backoff.failed("a/c").as_secs(), 1);
        backoff.succeeded("a/b");
        assert_eq!(backoff.failed("a/b").as_secs(), 1);
    }
}
