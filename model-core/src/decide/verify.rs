//! Reading published content again, where somebody asked for it.
//!
//! A request is the value of an annotation, and is answered once: what became of it stands in `status.verification`. The Job
//! is made first and recorded after that, so a crash in between leaves a Job that carries its request. Who deletes the Job
//! before it has ended takes the request back.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Decision, Look, Write};
use crate::api::{Content, Verification, VerificationResult};
use crate::names::{revision_path, verify_job_name};
use crate::observed::{Observed, Placement, VerifyJob};
use crate::persisted::Persisted;
use crate::report::Verified;

/// Faults that the message names.
const MOST_NAMED: usize = 3;

/// Whether a request to read the published content again is still to be answered. Otherwise its Job is of no account.
#[must_use]
pub fn is_open(model: &Persisted) -> bool {
    let runs = recorded(model).is_some_and(|known| known.result == VerificationResult::Running);
    runs || model.verify.is_some_and(|request| !is_answered(model, request))
}

fn recorded<'a>(model: &Persisted<'a>) -> Option<&'a Verification> {
    model.status?.verification.as_ref()
}

fn is_answered(model: &Persisted, request: &str) -> bool {
    recorded(model).is_some_and(|known| known.request == request && known.result != VerificationResult::Running)
}

/// Whether a check reads this content.
pub(super) fn reads(seen: &Observed, id: &str) -> bool {
    matches!(&seen.verify, VerifyJob::Running { mark, .. } if mark.content == id)
}

/// Adds to a decision what is to be done about a request to read the published content again.
pub(super) fn verify(mut decision: Decision, seen: &Observed, now: Timestamp) -> Decision {
    let recorded = recorded(seen.model).cloned();
    decision.verification.clone_from(&recorded);
    if !is_open(seen.model) {
        return decision;
    }
    let asked = seen.model.verify.filter(|request| !is_answered(seen.model, request));
    match &seen.verify {
        VerifyJob::Running { mark, trouble } => {
            let message = trouble.as_ref().map(|trouble| format!("{}: {}", trouble.reason, trouble.message));
            let known = recorded.filter(|known| known.request == mark.request);
            let begun = known.unwrap_or_else(|| running(&mark.request, &mark.content, now));
            decision.verification = Some(Verification { message, ..begun });
        }
        VerifyJob::Ended { uid, mark, outcome, at } => {
            if !is_answered(seen.model, &mark.request) {
                let known = recorded.filter(|known| known.request == mark.request);
                let begun = known.unwrap_or_else(|| running(&mark.request, &mark.content, *at));
                let ended = Verification { ended_at: Some(Time(*at)), ..begun };
                decision.verification = Some(match outcome {
                    Ok(verified) => found(ended, verified),
                    Err(failure) => failed(ended, &format!("{}: {}", failure.reason, failure.message), *at),
                });
            } else if asked.is_some() {
                decision.writes.push(Write::DeleteVerifyJob { uid: uid.clone() });
            }
        }
        VerifyJob::Stale { uid, mark } => {
            // Its pod would wait for ever for a directory that the new claim does not have.
            if !is_answered(seen.model, &mark.request) {
                let known = recorded.filter(|known| known.request == mark.request);
                let begun = known.unwrap_or_else(|| running(&mark.request, &mark.content, now));
                decision.verification = Some(failed(begun, "the claim that it was to read is gone", now));
            }
            decision.writes.push(Write::DeleteVerifyJob { uid: uid.clone() });
        }
        VerifyJob::Terminating => {}
        VerifyJob::Foreign { owner } => {
            if let Some(request) = asked {
                let name = verify_job_name(seen.model.name);
                let why = format!("Job {name} belongs to {owner} and is left untouched");
                decision.verification = Some(failed(running(request, "", now), &why, now));
            }
        }
        VerifyJob::Absent => match (asked, recorded) {
            (Some(request), Some(known)) if known.request == request => {
                decision.verification = Some(failed(known, "its Job was deleted before it had ended", now));
            }
            (Some(request), _) => start(&mut decision, seen, request, now),
            (None, Some(known)) if known.result == VerificationResult::Running => {
                decision.verification = Some(failed(known, "its Job was deleted before it had ended", now));
            }
            (None, _) => {}
        },
    }
    decision
}

fn start(decision: &mut Decision, seen: &Observed, request: &str, now: Timestamp) {
    let refuse = |why: &str| Some(failed(running(request, "", now), why, now));
    let Some(content) = decision.content.clone() else {
        decision.verification = refuse("nothing is published that could be read");
        return;
    };
    if !is_recorded(&content) || !seen.can_verify {
        decision.verification = refuse("stock images record nothing that files could be compared with");
        return;
    }
    if !decision.writes.is_empty() {
        // What these change is looked at again.
        return;
    }
    if seen.users.is_none() {
        decision.wants.push(Look::Users);
        return;
    }
    if let Placement::InUse { pod } = &seen.placement {
        let why = format!("pod {pod} has the claim, which one pod at a time can mount: ask again when it is gone");
        decision.verification = refuse(&why);
        return;
    }
    decision.verification = Some(running(request, &content.id, now));
    decision.writes.push(Write::CreateVerifyJob { request: request.to_owned(), content: Box::new(content) });
}

/// Whether what was published stands in a manifest beside it.
fn is_recorded(content: &Content) -> bool {
    content.path.ends_with(&revision_path(&content.id))
}

fn running(request: &str, content: &str, now: Timestamp) -> Verification {
    Verification {
        request: request.to_owned(),
        result: VerificationResult::Running,
        content: (!content.is_empty()).then(|| content.to_owned()),
        started_at: Time(now),
        ended_at: None,
        files: None,
        faults: None,
        message: None,
    }
}

/// The record of the request that is open, after the API server refused what it needs. It is answered by that.
pub(super) fn refused(seen: &Observed, why: &str, now: Timestamp) -> Option<Verification> {
    let request = seen.model.verify.filter(|request| !is_answered(seen.model, request))?;
    Some(failed(running(request, "", now), why, now))
}

/// The record of a check that could not be carried out.
fn failed(begun: Verification, why: &str, at: Timestamp) -> Verification {
    let result = VerificationResult::Failed;
    Verification { result, message: Some(why.to_owned()), ended_at: Some(Time(at)), ..begun }
}

fn found(begun: Verification, verified: &Verified) -> Verification {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let (files, faults) = (Some(count(verified.files)), Some(count(verified.fault_count)));
    if verified.fault_count == 0 {
        return Verification { result: VerificationResult::Intact, files, faults, message: None, ..begun };
    }
    // Names of extra files are anybody's.
    let named = verified.faults.iter().take(MOST_NAMED);
    let named: Vec<_> =
        named.map(|fault| format!("{} {:.200}", fault.state.as_str(), fault.file.escape_debug().to_string())).collect();
    let more = verified.fault_count.saturating_sub(named.len() as u64);
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    let message = Some(format!("{}{more}", named.join(", ")));
    Verification { result: VerificationResult::Damaged, files, faults, message, ..begun }
}
