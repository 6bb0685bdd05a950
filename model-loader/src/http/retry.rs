//! How often a request is tried and how long is waited in between.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::Duration,
};

use crate::Error;

/// How patient the loader is with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries without any progress before a download fails, the first one included. At least 1.
    pub tries: u32,
    /// Wait before the second try. Doubles with each further one; up to half of each wait is left out at random.
    pub first_wait: Duration,
    /// Longest wait, also where the source asks for a longer one in `Retry-After`.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    /// Five tries, waits of 1, 2, 4 and 8 seconds, `Retry-After` up to two minutes.
    fn default() -> Self {
        Self { tries: 5, first_wait: Duration::from_secs(1), longest_wait: Duration::from_secs(120) }
    }
}

/// One try that failed.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) error: Error,
    pub(crate) again: Again,
}

/// Whether another try can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// The answer would be the same.
    Never,
    /// It may pass.
    Soon,
    /// The source said when to come back.
    After(Duration),
    /// The source cannot continue where the last try broke off: the file starts over.
    FromStart,
}

impl Trouble {
    /// Trouble that another try may not meet.
    pub(crate) fn passing(error: Error) -> Self {
        Self { error, again: Again::Soon }
    }

    /// Trouble that stays.
    pub(crate) fn lasting(error: Error) -> Self {
        Self { error, again: Again::Never }
    }
}

/// The tries that are left.
#[derive(Debug)]
pub(crate) struct Budget {
    policy: RetryPolicy,
    failed: u32,
}

impl Budget {
    pub(super) fn new(policy: RetryPolicy) -> Self {
        Self { policy, failed: 0 }
    }

    /// There was progress: all tries are available again.
    pub(crate) fn refill(&mut self) {
        self.failed = 0;
    }

    /// Waits until the next try, or gives the trouble back as an error when none is left or would help.
    pub(crate) async fn spend(&mut self, trouble: Trouble) -> Result<(), Error> {
        self.failed += 1;
        if trouble.again == Again::Never || self.failed >= self.policy.tries {
            return Err(trouble.error);
        }
        let wait = self.wait(trouble.again, jitter());
        let failure = trouble.error.failure();
        tracing::warn!(reason = %failure.reason, failed = self.failed, ?wait, "{}; tries again", failure.message);
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// How long to wait now. `jitter` is between 0 and 1.
    fn wait(&self, again: Again, jitter: f64) -> Duration {
        let doubled = self.policy.first_wait.saturating_mul(1 << (self.failed - 1).min(20));
        let own = doubled.min(self.policy.longest_wait).mul_f64(1.0 - jitter / 2.0);
        match again {
            Again::After(asked) => asked.min(self.policy.longest_wait).max(own),
            Again::Never | Again::Soon | Again::FromStart => own,
        }
    }
}

/// A number between 0 and 1 that is another one each time. The keys of a hash map need no `/dev/urandom`, which an empty
/// root file system may lack.
fn jitter() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 32;
    f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model_core::reason::Reason;
    use proptest::prelude::*;

    fn passing() -> Trouble {
        Trouble::passing(Error::new(Reason::NetworkError, "cut"))
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_after_the_last_try_and_at_once_when_in_vain() {
        let mut budget = Budget::new(RetryPolicy::default());
        for _ in 0..4 {
            budget.spend(passing()).await.unwrap();
        }
        budget.refill();
        for _ in 0..4 {
            budget.spend(passing()).await.unwrap();
        }
        assert_eq!(budget.spend(passing()).await.unwrap_err().reason(), Reason::NetworkError);
        let mut budget = Budget::new(RetryPolicy::default());
        let denied = Trouble::lasting(Error::new(Reason::AccessDenied, "no"));
        assert_eq!(budget.spend(denied).await.unwrap_err().reason(), Reason::AccessDenied);
    }

    #[test]
    fn jitter_differs_from_time_to_time() {
        let drawn: Vec<f64> = (0..100).map(|_| jitter()).collect();
        assert!(drawn.iter().all(|jitter| (0.0..=1.0).contains(jitter)));
        assert!(drawn.iter().any(|jitter| *jitter < 0.5) && drawn.iter().any(|jitter| *jitter >= 0.5));
    }

    proptest! {
        #[test]
        fn waits_grow_and_are_bounded(failed in 1u32..100, jitter in 0.0..1.0f64, asked in 0u64..100_000) {
            let policy = RetryPolicy::default();
            let budget = Budget { policy, failed };
            let own = budget.wait(Again::Soon, jitter);
            prop_assert!(own >= policy.first_wait / 2 && own <= policy.longest_wait);
            let asked = Duration::from_secs(asked);
            let waited = budget.wait(Again::After(asked), jitter);
            prop_assert!(waited >= asked.min(policy.longest_wait) && waited <= policy.longest_wait);
        }
    }
}
