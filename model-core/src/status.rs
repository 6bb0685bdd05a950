//! A decision as `status`.

mod progress;
mod source;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::{ModelStatus, Phase};
use crate::decide::Decision;
use crate::freshness::freshness;
use crate::observed::{ClaimState, Observed};
use crate::reason::Reason;

/// Condition: content is published and can be mounted.
pub const READY: &str = "Ready";
/// Condition: the claim has a volume.
pub const STORAGE_BOUND: &str = "StorageBound";
/// Condition: the source lets us have the wanted content. Unknown until it was asked.
pub const SOURCE_REACHABLE: &str = "SourceReachable";
/// Condition: the wanted content is on the claim. Its reason says whether every file was verified.
pub const DOWNLOADED: &str = "Downloaded";
/// Condition: the published content is the newest that the source has. False while what the spec asks for is not there,
/// Unknown where nobody asked the source.
pub const UP_TO_DATE: &str = "UpToDate";

/// Condition: a pod may change the published content, so it may no longer be what was verified.
///
/// True or absent, never False: as kstatus has it for conditions that tell of something abnormal. `Ready` is not touched
/// by it, because the pod's author asked for that mount.
pub const CONTENT_WRITABLE: &str = "ContentWritable";

/// Condition: what lies beside the published content could not be removed, and takes room on the claim.
///
/// True or absent, as [`CONTENT_WRITABLE`] is.
pub const PRUNE_FAILED: &str = "PruneFailed";

const TRUE: &str = "True";
const FALSE: &str = "False";

/// The whole status after this decision. Equal to the recorded one, times included, where nothing changed.
#[must_use]
pub fn status(seen: &Observed, decision: &Decision, now: Timestamp) -> ModelStatus {
    let message = message(decision, seen.model.name);
    let content = decision.content.as_ref();
    let refreshing = content.is_some() && !decision.up_to_date;
    let wanted = (decision.reason, message.as_str());
    let published = if refreshing { (Reason::Downloaded, "earlier content is ready to mount") } else { wanted };
    let recorded = seen.model.status.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let condition = |kind: &str, status: &str, (reason, message): (Reason, &str)| {
        let unchanged = recorded.iter().find(|old| old.type_ == kind && old.status == status);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message: message.to_owned(),
            last_transition_time: unchanged.map_or(Time(now), |old| old.last_transition_time.clone()),
            observed_generation: Some(seen.model.generation),
        }
    };
    let freshness = freshness(seen, decision, &message);
    let source = source::reachable(seen, decision, &message);
    let (bound, storage_reason, storage_message) = storage(&seen.claim);
    let said = decision.storage.as_ref().filter(|_| bound);
    let said = said.map(|(reason, message)| (*reason, with_advice(*reason, message, seen.model.name)));
    let storage = said.as_ref().map_or((storage_reason, storage_message), |(reason, message)| (*reason, message));
    let writable = seen.writer.as_ref().map(|pod| {
        let reason = Reason::WritableMount;
        let message = format!("pod {pod} may change the content; {}", reason.advice());
        condition(CONTENT_WRITABLE, TRUE, (reason, &message))
    });
    let unpruned = decision.prune_failure.as_ref().map(|why| {
        let reason = Reason::PruneFailed;
        condition(PRUNE_FAILED, TRUE, (reason, &with_advice(reason, why, seen.model.name)))
    });
    ModelStatus {
        phase: Some(decision.phase),
        pvc_name: Some(seen.model.claim_name()),
        progress: Some(progress::percent(decision.phase, decision.download.as_ref(), &seen.model.content_id)),
        conditions: [
            condition(READY, truth(decision.phase == Phase::Ready), published),
            condition(STORAGE_BOUND, truth(bound), storage),
            condition(SOURCE_REACHABLE, source.status, (source.reason, &source.message)),
            condition(DOWNLOADED, truth(decision.up_to_date), wanted),
            condition(UP_TO_DATE, freshness.status, (freshness.reason, &freshness.message)),
        ]
        .into_iter()
        .chain(writable)
        .chain(unpruned)
        .collect(),
        observed_generation: Some(seen.model.generation),
        content: decision.content.clone(),
        claim_uid: decision.claim_uid.clone(),
        deletion_policy: decision.deletion_policy,
        earlier: decision.earlier.clone(),
        verification: decision.verification.clone(),
        check: decision.check.clone(),
        download: decision.download.clone(),
        message: Some({
            // Figures stand here alone, so that conditions change only when something does.
            let message = match (decision.reason, &decision.download) {
                (Reason::Downloading, Some(download)) => progress::text(download),
                _ => message,
            };
            if refreshing { format!("ready with earlier content; newer content: {message}") } else { message }
        }),
    }
}

fn truth(holds: bool) -> &'static str {
    if holds { TRUE } else { FALSE }
}

/// What is, and what to do about it. `NAME` in the advice stands for the Model.
fn message(decision: &Decision, name: &str) -> String {
    with_advice(decision.reason, &decision.message, name)
}

fn with_advice(reason: Reason, message: &str, name: &str) -> String {
    let advice = reason.advice().replace("NAME", name);
    if advice.is_empty() { message.to_owned() } else { format!("{message}; {advice}") }
}

fn storage(claim: &ClaimState) -> (bool, Reason, &str) {
    match claim {
        ClaimState::Ours { bound: true, .. } => (true, Reason::ClaimBound, ""),
        ClaimState::Ours { trouble: Some(trouble), .. } => (false, trouble.reason, &trouble.message),
        ClaimState::Ours { .. } => (false, Reason::ClaimPending, "waiting for a volume"),
        ClaimState::Absent => (false, Reason::ClaimPending, "the claim is not there yet"),
        ClaimState::Missing => {
            (false, Reason::ClaimNotFound, "the claim that spec.storage.existingClaim names is not there")
        }
        ClaimState::Terminating => (false, Reason::ClaimLost, "the claim is being deleted"),
        ClaimState::Lost => (false, Reason::ClaimLost, "the claim lost its volume"),
        ClaimState::Foreign { .. } => (false, Reason::ClaimConflict, "a claim of this name belongs to somebody else"),
    }
}
