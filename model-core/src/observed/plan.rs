//! The Job that asks the source, as a value.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::Pod;

use super::job::{condition, failure};
use super::pod::{pod_outcome, pod_trouble};
use super::refusal::{Podless, Refusal, podless, suspended};
use super::{is_ours, owner};
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
    /// It asked for other content.
    Stale {
        /// Its UID, so that no other Job is deleted in its place.
        uid: String,
    },
    /// It has not ended.
    Running {
        /// What holds it up, or how its last pod failed.
        trouble: Option<Failure>,
        /// It has made no pod. Absent once it has.
        podless: Option<Podless>,
    },
    /// It ended well.
    Succeeded {
        /// What the source has. Absent where the pod is gone before anybody read it.
        planned: Option<Planned>,
        /// When it ended.
        at: Timestamp,
    },
    /// It gave up.
    Failed {
        /// Why.
        failure: Failure,
        /// When it ended.
        at: Timestamp,
    },
}

/// Reduces the plan Job of our name, with its newest pod. `refusal` is for a Job without a pod; `now` stands in for the
/// end of a Job that does not tell it.
#[must_use]
pub fn plan_state(
    model: &Persisted,
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
    let content = meta.annotations.as_ref().and_then(|all| all.get(labels::CONTENT_ID));
    if content != Some(&model.content_id) {
        return PlanState::Stale { uid: meta.uid.clone().unwrap_or_default() };
    }
    let at = |ended: &JobCondition| ended.last_transition_time.as_ref().map_or(now, |time| time.0);
    if let Some(complete) = condition(job, "Complete") {
        let planned = match pod.and_then(pod_outcome) {
            Some(Outcome::Planned(planned)) => Some(planned),
            _ => None,
        };
        return PlanState::Succeeded { planned, at: at(complete) };
    }
    if let Some(failed) = condition(job, "Failed") {
        return PlanState::Failed { failure: failure(failed, pod), at: at(failed) };
    }
    let trouble = suspended(job).or_else(|| pod.and_then(pod_trouble));
    let podless = if pod.is_none() && trouble.is_none() { podless(job, refusal) } else { None };
    PlanState::Running { trouble, podless }
}
