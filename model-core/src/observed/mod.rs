//! One look at the cluster, reduced to what can change the outcome.
//!
//! Objects go in, values come out: no client and no clock. [`claim_state`], [`job_state`] and [`pod_trouble`] are the
//! only places that read the status of Kubernetes objects.

mod claim;
mod claim_details;
mod job;
mod placement;
mod plan;
mod pod;
mod prune;
mod refusal;
#[cfg(test)]
mod tests;
mod verify;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub use claim::claim_state;
pub use claim_details::{ClaimDetails, claim_details};
pub use job::{job_state, newest_pod};
pub use placement::{NODE_NAME, Placement, is_misplaced, nodes_of, placement};
pub use plan::{PlanState, is_answer_wanted, plan_state};
pub use pod::{Unmounted, pod_outcome, pod_trouble, pod_unmounted};
pub use prune::{PruneJob, PruneStep, Users, is_downloading, is_pruning, prune_job};
pub use refusal::{NOT_STARTED_WARNINGS, Podless, Refusal, next_look, not_started, podless, refusal};
pub use verify::{VerifyJob, VerifyMark, verify_job};

use crate::persisted::Persisted;
use crate::queue::Place;
use crate::report::{Failure, Progress, Published};

/// One look at a Model and its children.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// The wish, and what was recorded last.
    pub model: &'a Persisted<'a>,
    /// Where the wanted content will lie, relative to the claim's root. Empty: the root itself.
    pub wanted_path: String,
    /// The claim of our name.
    pub claim: ClaimState,
    /// Where a new Job can mount the claim.
    pub placement: Placement,
    /// The Job of our name.
    pub job: JobState,
    /// The Job that asks the source: before there is a claim, and later for newer content where the spec wants that.
    pub plan: PlanState,
    /// Whether as many sources are asked for newer content as may be at once.
    pub checks_full: bool,
    /// A pod that mounts the claim writable on request: the first by name, so that it stays the same while it lives.
    /// `None`: there is none.
    pub writer: Option<String>,
    /// Where the Model stands in the line for a download. `None`: it may start one.
    pub queue: Option<Place>,
    /// What of a claim that is ours can be changed.
    pub claim_details: Option<ClaimDetails>,
    /// The prune Job of our name.
    pub prune: PruneJob,
    /// Which contents pods name. `None` where nobody looked.
    pub users: Option<Users>,
    /// The Job that reads the published content again.
    pub verify: VerifyJob,
    /// Whether there is an image that can do that.
    pub can_verify: bool,
}

/// The claim, reduced to what can change the outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimState {
    /// There is none.
    Absent,
    /// There is none, and somebody else has to make it: `spec.storage.existingClaim`.
    Missing,
    /// It is being deleted; it stays until the last pod that mounts it is gone.
    Terminating,
    /// Its controller is not this Model. `owner` says who is, for people.
    Foreign {
        /// `Kind/name` of its controller, or `nobody`.
        owner: String,
    },
    /// It is ours, but its volume is gone for good.
    Lost,
    /// It is ours, or the one that the spec names.
    Ours {
        /// Its UID: another one means another volume.
        uid: String,
        /// Whether it has a volume. A class that waits for the first consumer binds when the download pod is placed.
        bound: bool,
        /// Why it cannot bind, where that is known.
        trouble: Option<Failure>,
    },
}

impl ClaimState {
    /// The UID of a claim that is ours.
    #[must_use]
    pub fn uid(&self) -> Option<&str> {
        match self {
            Self::Ours { uid, .. } => Some(uid),
            Self::Absent | Self::Missing | Self::Terminating | Self::Foreign { .. } | Self::Lost => None,
        }
    }
}

/// The download Job, reduced to what can change the outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// There is none.
    Absent,
    /// It is being deleted, or gone already and its pod may still write where the next one would.
    Terminating,
    /// Its controller is not this Model. `owner` says who is, for people.
    Foreign {
        /// `Kind/name` of its controller, or `nobody`.
        owner: String,
    },
    /// It was made for other content or another claim: its success proves nothing.
    Stale {
        /// Its UID, so that no other Job is deleted in its place.
        uid: String,
    },
    /// It has not ended.
    Running {
        /// What holds it up, or how its last pod failed.
        trouble: Option<Failure>,
        /// The newest progress line. Absent where none was read.
        progress: Option<Progress>,
        /// What its pod still waits for. Absent once that is mounted.
        unmounted: Option<Unmounted>,
        /// It has made no pod. Absent once it has.
        podless: Option<Podless>,
    },
    /// It ended well.
    Succeeded {
        /// What the loader reported. Absent with stock images, or where the pod is gone.
        published: Option<Published>,
    },
    /// It gave up.
    Failed {
        /// Why.
        failure: Failure,
        /// When it ended.
        at: Timestamp,
    },
}

/// Whether the controller of this object is the Model with this UID.
fn is_ours(meta: &ObjectMeta, model: &Persisted) -> bool {
    controller(meta).is_some_and(|(_, uid)| uid == model.uid)
}

/// The controller for people: `Kind/name`; else the first owner, or `nobody`.
fn owner(meta: &ObjectMeta) -> String {
    let first = || meta.owner_references.iter().flatten().next();
    let any = || first().map(|owner| format!("{}/{}", owner.kind, owner.name));
    controller(meta).map(|(owner, _)| owner).or_else(any).unwrap_or_else(|| "nobody".to_owned())
}

fn controller(meta: &ObjectMeta) -> Option<(String, &str)> {
    let owner = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    Some((format!("{}/{}", owner.kind, owner.name), &owner.uid))
}
