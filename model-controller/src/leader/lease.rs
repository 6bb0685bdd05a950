//! What to do about the lease: values in, values out.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// How long the lease holds after a renewal.
pub(super) const HOLDS: Duration = Duration::from_secs(15);
/// A leader that could not renew for so long stops. Shorter than [`HOLDS`] by what its last requests may still take.
pub(super) const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at the lease.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The next step of one replica.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// There is no lease: create it.
    Create(LeaseSpec),
    /// Write this over the lease that was seen, and over no newer one.
    Replace(LeaseSpec),
    /// Somebody else holds it. Look again after so long.
    Wait(Duration),
}

/// Decides about the lease as it was read. `unchanged` is how long this replica has seen exactly that lease, by its own
/// clock that never jumps: the times that others wrote are never compared with ours.
pub(super) fn step(lease: Option<&LeaseSpec>, unchanged: Duration, me: &str, now: Timestamp) -> Step {
    let Some(lease) = lease else { return Step::Create(held_by(me, 0, now)) };
    let transitions = lease.lease_transitions.unwrap_or(0);
    match holder(lease) {
        Some(holder) if holder == me => Step::Replace(LeaseSpec { renew_time: Some(MicroTime(now)), ..lease.clone() }),
        Some(_) => match holds(lease).checked_sub(unchanged) {
            Some(left) if !left.is_zero() => Step::Wait(left.min(LOOK_EVERY)),
            Some(_) | None => Step::Replace(held_by(me, transitions.saturating_add(1), now)),
        },
        None => Step::Replace(held_by(me, transitions.saturating_add(1), now)),
    }
}

/// The lease of somebody who goes: free at once.
pub(super) fn released(lease: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        renew_time: Some(MicroTime(now)),
        ..lease.clone()
    }
}

/// Who holds it. An empty name is nobody's.
pub(super) fn holder(lease: &LeaseSpec) -> Option<&str> {
    lease.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn held_by(me: &str, transitions: i32, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: i32::try_from(HOLDS.as_secs()).ok(),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    }
}

/// How long it holds, as its holder wrote it: another version may have other times.
fn holds(lease: &LeaseSpec) -> Duration {
    let seconds = lease.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(HOLDS, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn lease(holder: Option<&str>, seconds: Option<i32>) -> LeaseSpec {
        LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: seconds,
            lease_transitions: Some(3),
            acquire_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn only_a_lease_that_has_run_out_or_is_free_is_taken() {
        // Written times are far off on purpose: clocks differ.
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365);
        let secs = Duration::from_secs;
        let wait = |millis| (Some("them"), None, Some(Duration::from_millis(millis)));
        let mine = |transitions| (Some("me"), Some(transitions), None);
        for (name, seen, unchanged, want) in [
            ("there is none", None, secs(0), mine(0)),
            ("nobody's", Some(lease(None, Some(15))), secs(0), mine(4)),
            ("released", Some(lease(Some(""), Some(1))), secs(0), mine(4)),
            ("held", Some(lease(Some("them"), Some(15))), secs(0), wait(2_000)),
            ("held, seen for long", Some(lease(Some("them"), Some(15))), secs(14), wait(1_000)),
            ("run out", Some(lease(Some("them"), Some(15))), secs(15), mine(4)),
            ("run out long ago", Some(lease(Some("them"), Some(15))), secs(1500), mine(4)),
            ("a shorter one", Some(lease(Some("them"), Some(3))), secs(3), mine(4)),
            ("says no time", Some(lease(Some("them"), None)), secs(14), wait(1_000)),
            ("says nonsense", Some(lease(Some("them"), Some(-9))), secs(14), wait(1_000)),
            ("ours", Some(lease(Some("me"), Some(15))), secs(1), mine(3)),
            ("ours, run out", Some(lease(Some("me"), Some(15))), secs(99), mine(3)),
        ] {
            let held = |spec: LeaseSpec| {
                assert_eq!(spec.renew_time, Some(MicroTime(now)), "{name}");
                (holder(&spec).map(str::to_owned), spec.lease_transitions, None)
            };
            let (holder, transitions, wait) = want;
            let got = match step(seen.as_ref(), unchanged, "me", now) {
                Step::Create(spec) => {
                    assert_eq!(seen, None, "{name}");
                    held(spec)
                }
                Step::Replace(spec) => held(spec),
                Step::Wait(left) => (Some("them".to_owned()), None, Some(left)),
            };
            assert_eq!(got, (holder.map(str::to_owned), transitions, wait), "{name}");
        }
    }

    #[test]
    fn what_was_released_is_taken_at_once() {
        let now = Timestamp::UNIX_EPOCH;
        let free = released(&held_by("them", 7, now), now);
        let Step::Replace(taken) = step(Some(&free), Duration::ZERO, "me", now) else { panic!("not taken") };
        assert_eq!((holder(&taken), taken.lease_transitions), (Some("me"), Some(8)));
        assert_eq!(taken.lease_duration_seconds, Some(15));
    }

    /// In virtual time, for every moment between two looks at which the leader may have died.
    #[test]
    fn another_replica_leads_within_20_seconds_and_never_before_the_old_leader_has_stopped() {
        let held = held_by("them", 0, Timestamp::UNIX_EPOCH);
        for late in (0..=LOOK_EVERY.as_millis()).step_by(10) {
            // The last renewal was at 0, and is seen so much later.
            let first_seen = Duration::from_millis(u64::try_from(late).unwrap());
            let mut unchanged = Duration::ZERO;
            while let Step::Wait(left) = step(Some(&held), unchanged, "me", Timestamp::UNIX_EPOCH) {
                assert!(!left.is_zero(), "a busy loop");
                unchanged += left;
            }
            let clock = first_seen + unchanged;
            assert!(clock < Duration::from_secs(20), "{clock:?}");
            assert!(clock >= RENEW_WITHIN + Duration::from_secs(5), "{clock:?}");
        }
    }
}
