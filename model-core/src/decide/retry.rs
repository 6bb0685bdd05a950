//! When a failed download is tried again.

use jiff::{SignedDuration, Timestamp};

use crate::api::LastFailure;

/// `ttlSecondsAfterFinished` of the Job: how long a finished Job stays to be looked at.
pub const JOB_TTL_SECONDS: i32 = 3600;

/// The clocks of two controllers differ by less than this.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(60);

const FIRST_DELAY: SignedDuration = SignedDuration::from_hours(1);
const LONGEST_DELAY: SignedDuration = SignedDuration::from_hours(24);

/// What to do about a failed download whose Job is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Start again.
    Now,
    /// Start again then.
    At(Timestamp),
    /// Wait for a new spec, a refresh or a person.
    Never,
}

/// A Job that went before its TTL ended was deleted by somebody: that is the wish to retry, as specified. A Job that
/// its TTL removed was nobody's wish: reasons that may pass retry with doubling delay, the others wait for a person.
#[must_use]
pub fn retry(failure: &LastFailure, attempt: i32, now: Timestamp) -> Retry {
    let since = now.duration_since(failure.at.0);
    let ttl = SignedDuration::from_secs(JOB_TTL_SECONDS.into());
    if since < ttl - CLOCK_SKEW {
        return Retry::Now;
    }
    if failure.reason.is_permanent() {
        return Retry::Never;
    }
    let delay = delay(attempt);
    if since >= delay {
        return Retry::Now;
    }
    // The end of time is late enough where the sum does not fit.
    Retry::At(failure.at.0.checked_add(delay).unwrap_or(Timestamp::MAX))
}

/// One hour after the first attempt, doubling, at most a day.
fn delay(attempt: i32) -> SignedDuration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(16);
    FIRST_DELAY.saturating_mul(1 << doublings).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::reason::Reason;

    #[test]
    fn only_a_deleted_job_or_a_passing_reason_is_tried_again() {
        let end = Timestamp::UNIX_EPOCH;
        let minutes = |count: i64| end + SignedDuration::from_mins(count);
        let (transient, permanent) = (Reason::NetworkError, Reason::GatedRepository);
        for (name, reason, attempt, now, want) in [
            ("deleted at once", transient, 1, minutes(1), Retry::Now),
            ("deleted at once, permanent", permanent, 5, minutes(1), Retry::Now),
            ("removed by its TTL", transient, 1, minutes(60), Retry::Now),
            ("within the skew of clocks", transient, 1, minutes(59), Retry::At(minutes(60))),
            ("removed by its TTL, permanent", permanent, 1, minutes(60), Retry::Never),
            ("permanent, much later", permanent, 1, minutes(60 * 24 * 30), Retry::Never),
            ("second time", transient, 2, minutes(60), Retry::At(minutes(120))),
            ("third time", transient, 3, minutes(60), Retry::At(minutes(240))),
            ("never later than a day", transient, 1000, minutes(60), Retry::At(minutes(60 * 24))),
            ("due", transient, 1000, minutes(60 * 24), Retry::Now),
            ("a clock that was set back", transient, 9, minutes(-60), Retry::Now),
        ] {
            let failure = LastFailure { reason, message: String::new(), at: Time(end) };
            assert_eq!(retry(&failure, attempt, now), want, "{name}");
        }
    }
}
