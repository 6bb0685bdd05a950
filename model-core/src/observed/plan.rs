//! The Job that asks the source, as a value: before there is a claim, and later whether there is newer content.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::Pod;

use super::job::{condition, failure};
use super::pod::{Unmounted, pod_outcome, pod_trouble, pod_unmounted};
use super::refusal::{Podless, Refusal, podless, suspended};
use super::{ClaimState, is_ours, owner};
use crate::labels;
use crate::persisted::Persisted;
use crate::report::{Failure, Outcome, Planned};

/// The plan Job, reduced to what can change the outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanState {
    /// The images that download cannot ask a source first.
    Unsupported,
    /// There is none.
    Absent,
    /// It is being deleted.
    Terminating,
    /// Its controller is not this Model. `owner` says who is, for people.
    Foreign {
        /// `Kind/name` of its controller, or `nobody`.
        owner: String,
    },
    /// It asked for other content, or before there was this claim.
    Stale {
        /// Its UID, so that no other Job is deleted in its place.
        uid: String,
    },
    /// It has not ended.
    Running {
        /// Its UID.
        uid: String,
        /// What holds it up, or how its last pod failed.
        trouble: Option<Failure>,
        /// What its pod still waits for. Absent once that is mounted.
        unmounted: Option<Unmounted>,
        /// It has made no pod. Absent once it has.
        podless: Option<Podless>,
    },
    /// It ended well.
    Succeeded {
        /// Its UID.
        uid: String,
        /// What the source has. Absent where the pod is gone before anybody read it.
        planned: Option<Planned>,
        /// When it ended.
        at: Timestamp,
    },
    /// It gave up.
    Failed {
        /// Its UID.
        uid: String,
        /// Why.
        failure: Failure,
        /// When it ended.
        at: Timestamp,
    },
}

/// Reduces the plan Job of our name, with its newest pod. `refusal` is for a Job without a pod, or a pod that
/// does not start; `now` stands in for the
/// end of a Job that does not tell it.
#[must_use]
pub fn plan_state(
    model: &Persisted,
    claim: &ClaimState,
    job: Option<&Job>,
    pod: Option<&Pod>,
    refusal: Refusal,
    now: Timestamp,
) -> PlanState {
    let Some(job) = job else { return PlanState::Absent };
    let meta = &job.metadata;
    if !is_ours(meta, model) {
        return PlanState::Foreign { owner: owner(meta) };
    }
    if meta.deletion_timestamp.is_some() {
        return PlanState::Terminating;
    }
    let uid = meta.uid.clone().unwrap_or_default();
    let annotation = |key| meta.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str);
    // Only a check is made beside a claim, and what the source said before the download is no news after it.
    let is_of_now = match annotation(labels::CLAIM_UID) {
        Some(checked) => Some(checked) == claim.uid(),
        None => claim.uid().is_none() || is_answer_wanted(model),
    };
    if annotation(labels::CONTENT_ID) != Some(&model.content_id) || !is_of_now {
        return PlanState::Stale { uid };
    }
    let at = |ended: &JobCondition| ended.last_transition_time.as_ref().map_or(now, |time| time.0);
    if let Some(complete) = condition(job, "Complete") {
        let planned = match pod.and_then(pod_outcome) {
            Some(Outcome::Planned(planned)) => Some(planned),
            _ => None,
        };
        return PlanState::Succeeded { uid, planned, at: at(complete) };
    }
    if let Some(failed) = condition(job, "Failed") {
        return PlanState::Failed { uid, failure: failure(failed, pod), at: at(failed) };
    }
    let trouble = suspended(job).or_else(|| pod.and_then(pod_trouble));
    let (unmounted, podless) = match pod {
        _ if trouble.is_some() => (None, None),
        Some(pod) => (pod_unmounted(pod, refusal), None),
        None => (None, podless(job, refusal)),
    };
    PlanState::Running { uid, trouble, unmounted, podless }
}

/// Whether what the source said before the download is not recorded: a controller may die when it has made the claim.
#[must_use]
pub fn is_answer_wanted(model: &Persisted) -> bool {
    let Some(status) = model.status else { return true };
    let is_recorded = status
        .download
        .as_ref()
        .is_some_and(|download| download.id == model.content_id && download.started_at.is_some());
    let is_published = status.content.as_ref().is_some_and(|content| content.id == model.content_id);
    !is_recorded && !is_published
}
