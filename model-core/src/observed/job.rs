//! The download Job as a value.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::Pod;

use super::pod::{pod_outcome, pod_trouble, pod_unmounted};
use super::refusal::{Refusal, podless, suspended};
use super::{ClaimState, JobState, is_ours, owner};
use crate::labels;
use crate::persisted::Persisted;
use crate::reason::Reason;
use crate::report::{Failure, Outcome, Progress};

/// Reduces the Job of our name, with its newest pod and the newest progress line that was read from it.
///
/// `refusal` is for a Job without a pod, or with one that does not start. `now` stands in for the end of a failed Job that does not tell it.
#[must_use]
pub fn job_state(
    model: &Persisted,
    claim: &ClaimState,
    job: Option<&Job>,
    pod: Option<&Pod>,
    progress: Option<Progress>,
    refusal: Refusal,
    now: Timestamp,
) -> JobState {
    let Some(job) = job else { return JobState::Absent };
    let meta = &job.metadata;
    if !is_ours(meta, model) {
        return JobState::Foreign { owner: owner(meta) };
    }
    if meta.deletion_timestamp.is_some() {
        return JobState::Terminating;
    }
    if is_stale(job, model, claim) {
        return JobState::Stale { uid: meta.uid.clone().unwrap_or_default() };
    }
    if condition(job, "Complete").is_some() {
        let published = match pod.and_then(pod_outcome) {
            Some(Outcome::Succeeded(published)) => Some(published),
            _ => None,
        };
        return JobState::Succeeded { published };
    }
    if let Some(failed) = condition(job, "Failed") {
        let at = failed.last_transition_time.as_ref().map_or(now, |time| time.0);
        return JobState::Failed { failure: failure(failed, pod), at };
    }
    let trouble = suspended(job).or_else(|| pod.and_then(pod_trouble));
    let (unmounted, podless) = match pod {
        Some(pod) => (pod_unmounted(pod, refusal), None),
        None if trouble.is_none() => (None, podless(job, refusal)),
        None => (None, None),
    };
    JobState::Running { trouble, progress, unmounted, podless }
}

/// The youngest of the Job's pods: its retry tells more than the pods before it.
#[must_use]
pub fn newest_pod<'a>(job: &Job, pods: impl IntoIterator<Item = &'a Pod>) -> Option<&'a Pod> {
    let job_uid = job.metadata.uid.as_deref()?;
    let belongs = |pod: &&Pod| pod.metadata.owner_references.iter().flatten().any(|owner| owner.uid == job_uid);
    pods.into_iter()
        .filter(belongs)
        .max_by_key(|pod| (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.metadata.name.clone()))
}

/// Made for other content, or for a claim that is no longer the one of our name.
fn is_stale(job: &Job, model: &Persisted, claim: &ClaimState) -> bool {
    let annotation = |key| job.metadata.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str);
    let same_claim = match claim {
        ClaimState::Ours { uid, .. } => annotation(labels::CLAIM_UID) == Some(uid),
        ClaimState::Absent
        | ClaimState::Missing
        | ClaimState::Terminating
        | ClaimState::Foreign { .. }
        | ClaimState::Lost => false,
    };
    annotation(labels::CONTENT_ID) != Some(&model.content_id) || !same_claim
}

pub(super) fn condition<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")
}

/// Why the Job gave up: what its pod says, else what the Job itself says.
pub(super) fn failure(failed: &JobCondition, pod: Option<&Pod>) -> Failure {
    let own_message = || failed.message.clone().unwrap_or_else(|| "the Job gave no reason".to_owned());
    if failed.reason.as_deref() == Some("DeadlineExceeded") {
        return Failure { reason: Reason::DeadlineExceeded, message: own_message() };
    }
    pod.and_then(pod_trouble).unwrap_or_else(|| Failure { reason: Reason::DownloadFailed, message: own_message() })
}
