//! Whether the source has newer content: it is asked now and then, where `spec.checkInterval` wants that.
//!
//! A check is a plan Job beside content that is mounted. It downloads nothing and touches neither phase nor content; what it
//! finds is recorded first, and then its Job is removed, so that nobody asks twice. Everything else of a Model goes first.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sha2::{Digest, Sha256};

use super::download::not_started;
use super::plan::POD;
use super::{Decision, Write};
use crate::api::{FoundContent, LastFailure, SourceCheck};
use crate::names::plan_job_name;
use crate::observed::{Observed, PlanState, PruneJob, refusal};
use crate::reason::Reason;
use crate::report::{Failure, Planned};

/// Seconds after which a check is given up.
pub const CHECK_SECONDS: i64 = 600;

/// How soon a check is tried again that found as many under way as may be.
const FULL_RECHECK: SignedDuration = SignedDuration::from_mins(1);

/// Adds to a decision what is to be done about newer content.
pub(super) fn check(mut decision: Decision, seen: &Observed, now: Timestamp) -> Decision {
    let Some(interval) = seen.model.check_interval().filter(|_| !seen.model.is_pinned()) else { return decision };
    if matches!(seen.plan, PlanState::Unsupported) {
        return decision;
    }
    let now = seconds(now);
    let recorded = seen.model.status.and_then(|status| status.check.as_ref());
    let mut check = recorded.cloned().unwrap_or_else(|| from(now));
    let before = seen.model.status.and_then(|status| status.content.as_ref());
    if before.map(|content| &content.id) != decision.content.as_ref().map(|content| &content.id) {
        // The download has asked, and was answered.
        check.last_failure = None;
    }
    let busy = !decision.writes.is_empty()
        || !decision.wants.is_empty()
        || matches!(seen.prune, PruneJob::Running { .. } | PruneJob::Terminating);
    if decision.up_to_date && !busy {
        let due = next_check(&check, interval, seen.model.uid);
        // No check is ever due so late: a clock was wrong.
        let due = if due.duration_since(now) > interval.saturating_mul(2) { now } else { due };
        let recorded = |uid: &String| check.job.as_ref() == Some(uid);
        match &seen.plan {
            PlanState::Stale { uid } if due <= now => decision.writes.push(Write::DeletePlanJob { uid: uid.clone() }),
            PlanState::Running { uid, .. } | PlanState::Succeeded { uid, .. } | PlanState::Failed { uid, .. }
                if recorded(uid) =>
            {
                decision.writes.push(Write::DeletePlanJob { uid: uid.clone() });
            }
            PlanState::Succeeded { uid, planned: Some(planned), .. } => {
                check = SourceCheck { found: Some(found(seen, planned, now)), ..asked(&check, Some(uid), now) };
            }
            PlanState::Succeeded { uid, planned: None, .. } => {
                let message = "the Job has ended, and its result is gone with its pod".to_owned();
                check = failed(&check, Some(uid), Failure { reason: Reason::DownloadFailed, message }, now);
            }
            PlanState::Failed { uid, failure, .. } => check = failed(&check, Some(uid), told(failure), now),
            // It would wait for a person, in the place of others.
            PlanState::Running { uid, trouble: Some(trouble), .. } if is_hopeless(trouble.reason) => {
                check = failed(&check, Some(uid), trouble.clone(), now);
            }
            PlanState::Running { uid, trouble: None, unmounted: Some(unmounted), .. } if unmounted.placed => {
                if now < unmounted.late() {
                    decision.look_again_by(unmounted.late());
                } else {
                    let (reason, message) = not_started(unmounted, POD);
                    check = failed(&check, Some(uid), Failure { reason, message }, now);
                }
            }
            PlanState::Foreign { owner } if due <= now => {
                let message = format!("Job {} belongs to {owner}", plan_job_name(seen.model.name));
                check = failed(&check, None, Failure { reason: Reason::JobConflict, message }, now);
            }
            PlanState::Absent if due <= now && !seen.checks_full => decision.writes.push(Write::CreateCheckJob),
            PlanState::Absent | PlanState::Foreign { .. } | PlanState::Stale { .. } => {
                let recheck = now.checked_add(FULL_RECHECK).unwrap_or(Timestamp::MAX);
                decision.look_again_by(if due <= now { recheck } else { due });
            }
            PlanState::Running { .. } | PlanState::Terminating | PlanState::Unsupported => {}
        }
    }
    decision.check = Some(check);
    decision
}

/// The decision after the API server refused the Job of a check. Nothing else suffers from that.
pub(super) fn refused(decision: Decision, message: String, now: Timestamp) -> Decision {
    let now = seconds(now);
    let check = decision.check.clone().unwrap_or_else(|| from(now));
    let failure = Failure { reason: refusal(&message).reason, message };
    Decision { check: Some(failed(&check, None, failure, now)), ..decision }
}

/// When the source is asked next.
///
/// Each Model has a share of its own, by its UID: many that are to be checked from the same moment on are checked all over
/// the first interval, and stay apart. Between two checks there is never less than the interval, and at most a tenth more.
pub(crate) fn next_check(check: &SourceCheck, interval: SignedDuration, uid: &str) -> Timestamp {
    let digest = Sha256::digest(uid);
    let share = i64::from(u16::from_be_bytes([digest[0], digest[1]]));
    let spread = interval.as_secs().saturating_mul(share) >> 16;
    let (from, wait) = match &check.checked_at {
        Some(checked) => (checked.0, interval.as_secs().saturating_add(spread / 10)),
        None => (check.since.0, spread),
    };
    from.checked_add(SignedDuration::from_secs(wait)).unwrap_or(Timestamp::MAX)
}

fn from(now: Timestamp) -> SourceCheck {
    SourceCheck { since: Time(now), checked_at: None, found: None, last_failure: None, job: None }
}

fn asked(check: &SourceCheck, job: Option<&String>, now: Timestamp) -> SourceCheck {
    SourceCheck { checked_at: Some(Time(now)), last_failure: None, job: job.cloned(), ..check.clone() }
}

fn failed(check: &SourceCheck, job: Option<&String>, failure: Failure, now: Timestamp) -> SourceCheck {
    let Failure { reason, message } = failure;
    SourceCheck { last_failure: Some(LastFailure { reason, message, at: Time(now) }), ..asked(check, job, now) }
}

fn found(seen: &Observed, planned: &Planned, now: Timestamp) -> FoundContent {
    FoundContent {
        id: seen.model.content_id.clone(),
        at: Time(now),
        resolved_revision: planned.resolved_revision.clone(),
        listing: planned.listing.clone(),
        bytes: planned.bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
    }
}

/// The deadline is the operator's own, so the Job's words about it would lead astray.
fn told(failure: &Failure) -> Failure {
    if failure.reason == Reason::DeadlineExceeded {
        let message = format!("there was no answer within {CHECK_SECONDS} seconds");
        return Failure { reason: failure.reason, message };
    }
    failure.clone()
}

/// Whether the pod cannot even start.
const fn is_hopeless(reason: Reason) -> bool {
    matches!(reason, Reason::ImagePullFailed | Reason::CredentialsMissing | Reason::ContainerNotStarted)
}

/// Times in status are whole seconds.
fn seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
