//! How often a request is tried and how long is waited in between.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use super::waits::Waits;
use crate::Error;

/// How patient the loader is with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries without any progress before a download fails, the first one included. At least 1.
    pub tries: u32,
    /// Wait before the second try. Doubles with each further one; up to half of each wait is left out at random.
    pub first_wait: Duration,
    /// Longest wait, also where the source asks for a longer one in `Retry-After` or `RateLimit`.
    pub longest_wait: Duration,
    /// Longest time that a whole download may wait between tries. Waits of several requests at the same time count once.
    pub longest_waits: Duration,
}

impl Default for RetryPolicy {
    /// Five tries, waits of 1, 2, 4 and 8 seconds, as long as the source asks for up to five minutes, which is how long
    /// the hub counts requests; one hour in all.
    fn default() -> Self {
        Self {
            tries: 5,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(300),
            longest_waits: Duration::from_secs(3600),
        }
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
    /// The file is shorter than the range that was asked for. For whoever asked for the rest of a file that may have
    /// changed, that is [`Again::FromStart`]; for others the answer would be the same.
    NoSuchRange,
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

/// The tries that are left of one request, and the waits that are left of the whole download.
#[derive(Debug)]
pub(crate) struct Budget {
    policy: RetryPolicy,
    waits: Arc<Waits>,
    failed: u32,
}

impl Budget {
    pub(super) fn new(policy: RetryPolicy, waits: Arc<Waits>) -> Self {
        Self { policy, waits, failed: 0 }
    }

    /// There was progress: all tries are available again.
    pub(crate) fn refill(&mut self) {
        self.failed = 0;
    }

    /// Waits until the next try, or gives the trouble back as an error when none is left or would help.
    pub(crate) async fn spend(&mut self, trouble: Trouble) -> Result<(), Error> {
        self.failed += 1;
        if matches!(trouble.again, Again::Never | Again::NoSuchRange) || self.failed >= self.policy.tries {
            return Err(trouble.error);
        }
        let wait = self.wait(trouble.again, jitter());
        if !self.waits.take(wait) {
            let seconds = self.policy.longest_waits.as_secs();
            return Err(trouble.error.remark(&format!("gave up, as no more than {seconds} s may be waited in all")));
        }
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
            // Whoever was told the same does not come back at the same moment.
            Again::After(asked) => {
                let spread = self.policy.first_wait.mul_f64(jitter);
                asked.saturating_add(spread).max(own).min(self.policy.longest_wait)
            }
            Again::Never | Again::NoSuchRange | Again::Soon | Again::FromStart => own,
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
    use tokio::time::Instant;

    fn passing() -> Trouble {
        Trouble::passing(Error::new(Reason::NetworkError, "cut"))
    }

    fn budget(policy: RetryPolicy) -> Budget {
        Budget::new(policy, Arc::new(Waits::new(policy.longest_waits)))
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_after_the_last_try_and_at_once_when_in_vain() {
        let mut patient = budget(RetryPolicy::default());
        for _ in 0..4 {
            patient.spend(passing()).await.unwrap();
        }
        patient.refill();
        for _ in 0..4 {
            patient.spend(passing()).await.unwrap();
        }
        assert_eq!(patient.spend(passing()).await.unwrap_err().reason(), Reason::NetworkError);
        let denied = Trouble::lasting(Error::new(Reason::AccessDenied, "no"));
        assert_eq!(budget(RetryPolicy::default()).spend(denied).await.unwrap_err().reason(), Reason::AccessDenied);
    }

    #[tokio::test(start_paused = true)]
    async fn a_download_that_only_waits_ends() {
        let policy = RetryPolicy { longest_waits: Duration::from_secs(600), ..RetryPolicy::default() };
        let mut budget = budget(policy);
        let start = Instant::now();
        let error = loop {
            // Each time there is a little progress, so that tries alone never end it.
            budget.refill();
            let busy = Error::new(Reason::RateLimited, "hf://o/r: too many requests");
            if let Err(error) =
                budget.spend(Trouble { error: busy, again: Again::After(Duration::from_secs(55)) }).await
            {
                break error;
            }
        };
        assert_eq!(error.reason(), Reason::RateLimited);
        assert!(error.to_string().contains("too many requests; gave up"), "{error}");
        assert!(error.to_string().contains("600 s"), "{error}");
        let waited = start.elapsed();
        assert!(waited > Duration::from_secs(500) && waited <= policy.longest_waits, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn many_requests_that_wait_together_count_once() {
        let policy = RetryPolicy { longest_waits: Duration::from_secs(60), ..RetryPolicy::default() };
        let waits = Arc::new(Waits::new(policy.longest_waits));
        let all = (0..64).map(|_| {
            let mut budget = Budget::new(policy, waits.clone());
            async move {
                let error = Error::new(Reason::RateLimited, "busy");
                budget.spend(Trouble { error, again: Again::After(Duration::from_secs(50)) }).await
            }
        });
        for result in futures::future::join_all(all).await {
            result.unwrap();
        }
    }

    #[test]
    fn jitter_differs_from_time_to_time() {
        let drawn: Vec<f64> = (0..100).map(|_| jitter()).collect();
        assert!(drawn.iter().all(|jitter| (0.0..=1.0).contains(jitter)));
        assert!(drawn.iter().any(|jitter| *jitter < 0.5) && drawn.iter().any(|jitter| *jitter >= 0.5));
    }

    proptest! {
        #[test]
        fn waits_grow_and_are_bounded(failed in 1u32..100, jitter in 0.0..1.0f64, asked in 0..u64::MAX) {
            let policy = RetryPolicy::default();
            let budget = Budget { failed, ..budget(policy) };
            let own = budget.wait(Again::Soon, jitter);
            prop_assert!(own >= policy.first_wait / 2 && own <= policy.longest_wait);
            let asked = Duration::from_secs(asked);
            let waited = budget.wait(Again::After(asked), jitter);
            prop_assert!(waited >= asked.min(policy.longest_wait) && waited <= policy.longest_wait);
        }
    }
}
