//! What a look sees of a quiet cluster.

use crate::observed::{ClaimState, JobState, Observed, Placement, PlanState, PruneJob, VerifyJob};
use crate::persisted::Persisted;

/// Claim and Job of a Model, and nothing else that would count.
pub fn alone<'a>(model: &'a Persisted<'a>, claim: ClaimState, job: JobState) -> Observed<'a> {
    Observed {
        model,
        wanted_path: String::new(),
        placement: Placement::Anywhere,
        claim,
        job,
        plan: PlanState::Absent,
        checks_full: false,
        writer: None,
        queue: None,
        claim_details: None,
        prune: PruneJob::Absent,
        users: None,
        verify: VerifyJob::Absent,
        can_verify: false,
    }
}
