//! The Job that reads published content again, as a value.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;

use super::job::{condition, failure};
use super::pod::{pod_outcome, pod_trouble};
use super::refusal::suspended;
use super::{ClaimState, is_ours, owner};
use crate::labels::{CLAIM_UID, CONTENT_ID, VERIFY};
use crate::persisted::Persisted;
use crate::report::{Failure, Outcome, Verified};

/// The verify Job, reduced to what can change the outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VerifyJob {
    /// There is none.
    #[default]
    Absent,
    /// It is being deleted.
    Terminating,
    /// Its controller is not this Model. `owner` says who is, for people.
    Foreign {
        /// `Kind/name` of its controller, or `nobody`.
        owner: String,
    },
    /// It has not ended, and never will: the claim that it was made for is gone, or goes.
    Stale {
        /// Its UID.
        uid: String,
        /// What it was to do.
        mark: VerifyMark,
    },
    /// It has not ended.
    Running {
        /// What it does.
        mark: VerifyMark,
        /// What holds it up.
        trouble: Option<Failure>,
    },
    /// It has ended.
    Ended {
        /// Its UID.
        uid: String,
        /// What it did.
        mark: VerifyMark,
        /// What it found, or why it found nothing.
        outcome: Result<Verified, Failure>,
        /// When.
        at: Timestamp,
    },
}

/// What a verify Job was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyMark {
    /// The request that it answers.
    pub request: String,
    /// Content id of what it reads.
    pub content: String,
}

/// Reduces the verify Job of our name, with its newest pod. `now` stands in for the end of a Job that does not tell it.
#[must_use]
pub fn verify_job(
    model: &Persisted,
    claim: &ClaimState,
    job: Option<&Job>,
    pod: Option<&Pod>,
    now: Timestamp,
) -> VerifyJob {
    let Some(job) = job else { return VerifyJob::Absent };
    let meta = &job.metadata;
    if !is_ours(meta, model) {
        return VerifyJob::Foreign { owner: owner(meta) };
    }
    if meta.deletion_timestamp.is_some() {
        return VerifyJob::Terminating;
    }
    let annotation = |key| meta.annotations.as_ref().and_then(|all| all.get(key)).cloned().unwrap_or_default();
    let mark = VerifyMark { request: annotation(VERIFY), content: annotation(CONTENT_ID) };
    let ended = condition(job, "Complete").or_else(|| condition(job, "Failed"));
    let Some(ended) = ended else {
        if claim.uid() != Some(annotation(CLAIM_UID).as_str()) {
            return VerifyJob::Stale { uid: meta.uid.clone().unwrap_or_default(), mark };
        }
        let trouble = suspended(job).or_else(|| pod.and_then(pod_trouble));
        return VerifyJob::Running { mark, trouble };
    };
    let outcome = match pod.and_then(pod_outcome) {
        Some(Outcome::Verified(verified)) => Ok(verified),
        _ => Err(failure(ended, pod)),
    };
    let at = ended.last_transition_time.as_ref().map_or(now, |time| time.0);
    VerifyJob::Ended { uid: meta.uid.clone().unwrap_or_default(), mark, outcome, at }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::Model;
    use crate::reason::Reason;

    fn model() -> Model {
        serde_json::from_value(json!({
            "apiVersion": "models.main-currents.news/v1alpha1", "kind": "Model",
            "metadata": { "name": "tiny", "namespace": "team", "uid": "model-uid", "generation": 1 },
            "spec": { "source": { "url": { "url": "https://host/a" } }, "storage": { "size": "1Gi" } },
        }))
        .unwrap()
    }

    fn seen(change: impl Fn(&mut Value), ended: Option<&str>, message: Option<&str>) -> VerifyJob {
        let owner =
            json!([{ "apiVersion": "x/v1", "kind": "Model", "name": "tiny", "uid": "model-uid", "controller": true }]);
        let annotations = json!({ VERIFY: "now", CONTENT_ID: "a", CLAIM_UID: "claim-uid" });
        let mut job = json!({
            "metadata": { "name": "model-verify-tiny", "uid": "job-uid", "ownerReferences": owner, "annotations": annotations },
        });
        if let Some(kind) = ended {
            let condition = json!({ "type": kind, "status": "True", "lastTransitionTime": "1970-01-01T00:00:07Z", "message": "gave up" });
            job["status"] = json!({ "conditions": [condition] });
        }
        change(&mut job);
        let pod = message.map(|message| {
            let state = json!({ "terminated": { "exitCode": 2, "message": message } });
            let status = json!({ "name": "download", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state });
            serde_json::from_value(json!({ "status": { "containerStatuses": [status] } })).unwrap()
        });
        let model = model();
        let job = serde_json::from_value(job).unwrap();
        let claim = ClaimState::Ours { uid: "claim-uid".into(), bound: true, trouble: None };
        verify_job(&Persisted::try_from(&model).unwrap(), &claim, Some(&job), pod.as_ref(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_job_tells_what_it_was_made_for_and_what_it_found() {
        let mark = VerifyMark { request: "now".into(), content: "a".into() };
        let leave = |_: &mut Value| ();
        assert_eq!(seen(leave, None, None), VerifyJob::Running { mark: mark.clone(), trouble: None });
        let verified = Verified { bytes: 3, files: 1, fault_count: 1, faults: Vec::new() };
        let message = Outcome::Verified(verified.clone()).to_termination_message();
        let at = Timestamp::from_second(7).unwrap();
        // A damaged file fails the Job, so that nothing reads it again.
        for kind in ["Complete", "Failed"] {
            let want =
                VerifyJob::Ended { uid: "job-uid".into(), mark: mark.clone(), outcome: Ok(verified.clone()), at };
            assert_eq!(seen(leave, Some(kind), Some(&message)), want, "{kind}");
        }
        let failed = Failure { reason: Reason::DiskFull, message: "no".into() };
        let message = Outcome::Failed(failed.clone()).to_termination_message();
        let VerifyJob::Ended { outcome, .. } = seen(leave, Some("Failed"), Some(&message)) else { panic!() };
        assert_eq!(outcome, Err(failed));
        let VerifyJob::Ended { outcome, .. } = seen(leave, Some("Failed"), None) else { panic!() };
        assert_eq!(outcome.unwrap_err().message, "gave up");
    }

    #[test]
    fn a_job_whose_claim_is_another_by_now_is_stale_unless_it_has_ended() {
        let of_before = |job: &mut Value| job["metadata"]["annotations"][CLAIM_UID] = json!("before");
        let mark = VerifyMark { request: "now".into(), content: "a".into() };
        assert_eq!(seen(of_before, None, None), VerifyJob::Stale { uid: "job-uid".into(), mark });
        assert!(matches!(seen(of_before, Some("Failed"), None), VerifyJob::Ended { .. }));
    }

    #[test]
    fn a_job_that_goes_or_belongs_to_somebody_else_is_none_of_ours() {
        let terminating = |job: &mut Value| job["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:00Z");
        assert_eq!(seen(terminating, None, None), VerifyJob::Terminating);
        let foreign = |job: &mut Value| job["metadata"]["ownerReferences"] = json!([]);
        assert_eq!(seen(foreign, None, None), VerifyJob::Foreign { owner: "nobody".into() });
    }
}
