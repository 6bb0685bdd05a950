//! The state machine. [`decide`] takes one look at the cluster and the time, and gives the next step.
//!
//! | phase | what happens |
//! |---|---|
//! | `Pending` | create claim and Job -> `Downloading` |
//! | `Downloading` | watch the Job -> `Ready` or `Failed` |
//! | `Ready` | check that the claim exists -> stay, or back to `Pending` |
//! | `Failed` | when the Job is gone -> `Pending` (retry) |
//!
//! Published content keeps the phase at `Ready`; what a newer download does then shows in the condition `UpToDate`.

mod check;
mod claim;
mod download;
mod earlier;
mod plan;
mod prune;
mod retry;
#[cfg(test)]
mod tests;
mod verify;

use jiff::{SignedDuration, Timestamp};

use crate::api::{Content, DeletionPolicy, DownloadStatus, EarlierContent, Phase, SourceCheck, Verification};
use crate::observed::{ClaimState, JobState, Observed, PruneStep, refusal};
use crate::reason::Reason;

pub use check::CHECK_SECONDS;
pub(crate) use check::next_check;
pub use prune::OFFERED_UNTIL;
pub use retry::{JOB_TTL_SECONDS, Retry, retry};
pub use verify::is_open as is_verification_open;

/// How often a conflict with somebody else's object is looked at again.
const CONFLICT_RECHECK: SignedDuration = SignedDuration::from_mins(1);

/// The next step of one Model.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The phase to record.
    pub phase: Phase,
    /// The one word for it.
    pub reason: Reason,
    /// One sentence for people: what is, and what to do.
    pub message: String,
    /// The published content to record. `None`: nothing can be mounted.
    pub content: Option<Content>,
    /// The claim that the published content lies on.
    pub claim_uid: Option<String>,
    /// The newest download to record.
    pub download: Option<DownloadStatus>,
    /// Whether the published content is the wanted one.
    pub up_to_date: bool,
    /// Whether the newest download failed, or could not be started, and nothing is under way.
    pub failed: bool,
    /// What lies on the claim beside the published content, to record.
    pub earlier: Vec<EarlierContent>,
    /// Why what lies beside the published content could not be removed. `None`: nothing failed that is not tried again yet.
    pub prune_failure: Option<String>,
    /// The newest check of published content, to record.
    pub verification: Option<Verification>,
    /// What is known of newer content, to record. `None`: nobody is to ask.
    pub check: Option<SourceCheck>,
    /// What becomes of the claim if the Model is deleted, once the writes are made. `None`: there is no claim.
    pub deletion_policy: Option<DeletionPolicy>,
    /// Whether the claim is seen for the first time, and another Model of this name made it.
    pub adopts: bool,
    /// What is to be said of a claim that has a volume. `None`: nothing.
    pub storage: Option<(Reason, String)>,
    /// What somebody has to look at before this can be decided in full.
    pub wants: Vec<Look>,
    /// The writes that make it true, in order. They come before the status is recorded.
    pub writes: Vec<Write>,
    /// When to look again if nothing happens before. `None`: only when something happens.
    pub look_again: Option<Timestamp>,
}

impl Write {
    /// Whether a download, or what it needs first, is started by it, or a check: all that has a place among the downloads.
    #[must_use]
    pub const fn takes_place(&self) -> bool {
        matches!(self, Self::CreateClaim { .. } | Self::CreatePlanJob | Self::CreateJob | Self::CreateCheckJob)
    }

    /// Whether it is right only if the Model, read before its children, has not changed since. Another controller may have
    /// recorded meanwhile what a Job did whose place is free again: a Job made from the older record would undo it, run beside
    /// content that is out of its place, or answer what is answered.
    #[must_use]
    pub const fn needs_the_newest_record(&self) -> bool {
        matches!(self, Self::CreateJob | Self::CreatePruneJob(_) | Self::CreateVerifyJob { .. })
    }
}

impl Decision {
    /// This decision after the API server refused one of its writes for good: quota, admission, an invalid object. What came
    /// before that write was done.
    #[must_use]
    pub fn refused(self, seen: &Observed, write: &Write, message: String, now: Timestamp) -> Self {
        let reason = refusal(&message).reason;
        let recorded_policy = seen.model.status.and_then(|status| status.deletion_policy);
        match write {
            Write::CreateClaim { .. } | Write::CreatePlanJob | Write::CreateJob => self.not_started(seen, message),
            Write::CreateCheckJob => check::refused(self, message, now),
            Write::SetClaimOwner { .. } => {
                Self { storage: Some((reason, message)), deletion_policy: recorded_policy, ..self }
            }
            Write::GrowClaim { .. } => Self { storage: Some((reason, message)), ..self },
            Write::CreatePruneJob(_) | Write::DeletePruneJob { .. } => Self { prune_failure: Some(message), ..self },
            Write::CreateVerifyJob { .. } | Write::DeleteVerifyJob { .. } => {
                Self { verification: verify::refused(seen, &message, now).or(self.verification), ..self }
            }
            // It is in the way of what is wanted, or of nothing.
            Write::DeleteJob { .. } | Write::DeletePlanJob { .. } if self.up_to_date => self,
            Write::DeleteJob { .. } | Write::DeletePlanJob { .. } => Self { reason, message, ..self },
        }
    }

    /// Has it looked again by then, if not sooner.
    fn look_again_by(&mut self, at: Timestamp) {
        self.look_again = Some(self.look_again.map_or(at, |sooner| sooner.min(at)));
    }

    fn not_started(self, seen: &Observed, message: String) -> Self {
        let phase = if self.content.is_some() { Phase::Ready } else { Phase::Pending };
        // No attempt was started, and the claim is as it was.
        let download = seen.model.status.and_then(|status| status.download.clone());
        let reason = refusal(&message).reason;
        let deletion_policy = seen.model.status.and_then(|status| status.deletion_policy);
        Self { phase, reason, message, download, deletion_policy, failed: true, writes: Vec::new(), ..self }
    }
}

/// What no watch tells, and is looked at only when a decision hangs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Whether the claim's storage class lets it grow.
    Class,
    /// Which contents pods name: [`Observed::users`].
    Users,
}

/// A write to the cluster. Each can be repeated without harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Create the claim. Its UID goes into a Job created after it.
    CreateClaim {
        /// How large.
        size: String,
    },
    /// Create the Job that asks the source.
    CreatePlanJob,
    /// Create the Job that asks the source for newer content: a plan Job that does not wait for ever.
    CreateCheckJob,
    /// Delete the plan Job of this UID, and no other.
    DeletePlanJob {
        /// UID of the Job.
        uid: String,
    },
    /// Create the download Job.
    CreateJob,
    /// Delete the Job of this UID, and no other.
    DeleteJob {
        /// UID of the Job.
        uid: String,
    },
    /// Make the Model the owner of the claim, or take it from its owners.
    SetClaimOwner {
        /// Whether the claim goes with the Model.
        owned: bool,
    },
    /// Ask for a larger volume.
    GrowClaim {
        /// Its size, as Kubernetes writes amounts.
        size: String,
    },
    /// Create the prune Job for this step.
    CreatePruneJob(PruneStep),
    /// Delete the prune Job of this UID, and no other.
    DeletePruneJob {
        /// UID of the Job.
        uid: String,
        /// Whether the Job stays until its pod is gone.
        and_wait: bool,
    },
    /// Create the Job that reads published content again.
    CreateVerifyJob {
        /// The request that it answers.
        request: String,
        /// What it reads.
        content: Box<Content>,
    },
    /// Delete the verify Job of this UID, and no other.
    DeleteVerifyJob {
        /// UID of the Job.
        uid: String,
    },
}

/// Decides the next step of one Model. Total and pure: equal input gives equal output.
#[must_use]
pub fn decide(seen: &Observed, now: Timestamp) -> Decision {
    let published = published(seen);
    let next = match &seen.claim {
        ClaimState::Foreign { owner } => Step::failed(
            Reason::ClaimConflict,
            format!("claim {} belongs to {owner} and is left untouched", seen.model.claim_name()),
        )
        .looking_again(now),
        ClaimState::Lost => Step::failed(
            Reason::ClaimLost,
            format!("claim {0} lost its volume: delete it to start over", seen.model.claim_name()),
        ),
        ClaimState::Terminating => claim_terminating(seen),
        ClaimState::Missing => claim_missing(seen),
        ClaimState::Absent | ClaimState::Ours { .. } => match published {
            None if recorded_content(seen).is_some() => {
                content_lost(seen, "the claim that held the content is gone: starting over")
            }
            Some(content) if content.id == seen.model.content_id => settled(seen, content),
            Some(content) if content.path == seen.wanted_path => Step::overwrite(),
            Some(_) | None => download::next(seen, now),
        },
    };
    let decision = prune::prune(claim::claim(next.into_decision(seen, published), seen), seen, now);
    check::check(verify::verify(decision, seen, now), seen, now)
}

/// The recorded content, whether or not it still exists.
fn recorded_content<'a>(seen: &'a Observed) -> Option<&'a Content> {
    seen.model.status?.content.as_ref()
}

/// The recorded content, if the claim is still the one that it was written to.
fn published<'a>(seen: &'a Observed) -> Option<&'a Content> {
    let ClaimState::Ours { uid, .. } = &seen.claim else { return None };
    let same_claim = seen.model.status?.claim_uid.as_deref() == Some(uid);
    recorded_content(seen).filter(|_| same_claim)
}

/// The claim goes away when the last pod that mounts it does. Our own download pod must not be that pod.
fn claim_terminating(seen: &Observed) -> Step {
    content_lost(seen, "the claim is being deleted: waiting until no pod mounts it").writing(stale_job(seen))
}

/// Nobody but its owner may make the claim. The watch tells when it is there.
fn claim_missing(seen: &Observed) -> Step {
    let message = format!("claim {} does not exist", seen.model.claim_name());
    let step = content_lost(seen, &message);
    Step { reason: Reason::ClaimNotFound, ..step }.writing(stale_job(seen))
}

/// Back to `Pending`, with nothing left of the newest download: the next attempt starts from nothing.
fn content_lost(seen: &Observed, message: &str) -> Step {
    let recorded = seen.model.status.and_then(|status| status.download.as_ref());
    let download = recorded.map(|download| DownloadStatus {
        downloaded_bytes: None,
        total_bytes: None,
        total_files: None,
        resolved_revision: None,
        bytes_per_second: None,
        eta_seconds: None,
        started_at: None,
        ..download.clone()
    });
    Step { download, ..Step::pending(Reason::ClaimLost, message.to_owned()) }
}

/// The wanted content is published. A Job of other content has no purpose any more.
fn settled(seen: &Observed, content: &Content) -> Step {
    Step::ready(content).writing(stale_job(seen))
}

fn stale_job(seen: &Observed) -> Vec<Write> {
    match &seen.job {
        JobState::Stale { uid } => vec![Write::DeleteJob { uid: uid.clone() }],
        JobState::Absent
        | JobState::Terminating
        | JobState::Foreign { .. }
        | JobState::Running { .. }
        | JobState::Succeeded { .. }
        | JobState::Failed { .. } => Vec::new(),
    }
}

/// A step as the rules give it, before published content has its say.
#[derive(Debug)]
struct Step {
    phase: Phase,
    reason: Reason,
    message: String,
    /// Content that this step publishes.
    publishes: Option<Content>,
    /// Content that was published must not be offered any longer: it is about to be overwritten.
    withdraws: bool,
    /// The download to record. `None` keeps what was recorded.
    download: Option<DownloadStatus>,
    writes: Vec<Write>,
    look_again: Option<Timestamp>,
}

impl Step {
    fn new(phase: Phase, reason: Reason, message: String) -> Self {
        Self {
            phase,
            reason,
            message,
            publishes: None,
            withdraws: false,
            download: None,
            writes: Vec::new(),
            look_again: None,
        }
    }

    fn pending(reason: Reason, message: String) -> Self {
        Self::new(Phase::Pending, reason, message)
    }

    fn failed(reason: Reason, message: String) -> Self {
        Self::new(Phase::Failed, reason, message)
    }

    fn ready(content: &Content) -> Self {
        let reason = if content.verified { Reason::Downloaded } else { Reason::NotVerified };
        let ready = if content.verified { "ready to mount" } else { "ready to mount, not verified" };
        let message = match &content.resolved_revision {
            Some(revision) => format!("{ready}, revision {revision}"),
            None => ready.to_owned(),
        };
        Self::new(Phase::Ready, reason, message)
    }

    /// Stock images write to the claim's root. So the old content is withdrawn first, and only then overwritten.
    fn overwrite() -> Self {
        let message = "the spec changed: the old content is withdrawn before it is overwritten".to_owned();
        Self { withdraws: true, ..Self::pending(Reason::Starting, message) }
    }

    fn writing(mut self, writes: Vec<Write>) -> Self {
        self.writes = writes;
        self
    }

    /// For what no watch of ours tells: somebody else's object of our name.
    fn looking_again(mut self, now: Timestamp) -> Self {
        self.look_again = now.checked_add(CONFLICT_RECHECK).ok();
        self
    }

    /// Published content stays offered, and the phase `Ready`, whatever a newer download does.
    fn into_decision(self, seen: &Observed, published: Option<&Content>) -> Decision {
        let live_claim = match &seen.claim {
            ClaimState::Ours { uid, .. } => Some(uid.clone()),
            ClaimState::Absent
            | ClaimState::Missing
            | ClaimState::Terminating
            | ClaimState::Foreign { .. }
            | ClaimState::Lost => None,
        };
        let content = if self.withdraws { None } else { self.publishes.or_else(|| published.cloned()) };
        let up_to_date = content.as_ref().is_some_and(|content| content.id == seen.model.content_id);
        let recorded = seen.model.status.and_then(|status| status.download.clone());
        Decision {
            phase: if content.is_some() { Phase::Ready } else { self.phase },
            reason: self.reason,
            message: self.message,
            claim_uid: content.as_ref().and(live_claim),
            content,
            download: self.download.or(recorded),
            up_to_date,
            failed: self.phase == Phase::Failed,
            earlier: Vec::new(),
            prune_failure: None,
            verification: None,
            check: None,
            deletion_policy: None,
            adopts: false,
            storage: None,
            wants: Vec::new(),
            writes: self.writes,
            look_again: self.look_again,
        }
    }
}
