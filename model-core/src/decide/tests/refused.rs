//! What becomes of a decision of which the API server refuses a write.

use jiff::Timestamp;

use super::seen::alone;
use super::world::model;
use crate::api::{DeletionPolicy, ModelStatus, Phase};
use crate::decide::{Write, decide};
use crate::observed::{ClaimState, JobState, PruneStep};
use crate::persisted::Persisted;
use crate::reason::Reason;

#[test]
fn only_what_starts_a_download_makes_it_fail_when_it_is_refused() {
    let mut model = model("https://example.com/0");
    model.status = Some(ModelStatus { deletion_policy: Some(DeletionPolicy::Retain), ..ModelStatus::default() });
    let persisted = Persisted::try_from(&model).unwrap();
    let claim = ClaimState::Ours { uid: "claim".into(), bound: true, trouble: None };
    let job = JobState::Running { trouble: None, progress: None, unmounted: None, podless: None };
    let seen = alone(&persisted, claim, job);
    let uid = || "uid".to_owned();
    for (write, phase, reason, fails, storage, prune) in [
        (Write::CreateClaim { size: "1Gi".into() }, Phase::Pending, Reason::QuotaExceeded, true, false, false),
        (Write::CreatePlanJob, Phase::Pending, Reason::QuotaExceeded, true, false, false),
        (Write::CreateJob, Phase::Pending, Reason::QuotaExceeded, true, false, false),
        (Write::GrowClaim { size: "2Gi".into() }, Phase::Downloading, Reason::Downloading, false, true, false),
        (Write::SetClaimOwner { owned: true }, Phase::Downloading, Reason::Downloading, false, true, false),
        (
            Write::CreatePruneJob(PruneStep::SetAside(vec![])),
            Phase::Downloading,
            Reason::Downloading,
            false,
            false,
            true,
        ),
        (
            Write::DeletePruneJob { uid: uid(), and_wait: true },
            Phase::Downloading,
            Reason::Downloading,
            false,
            false,
            true,
        ),
        (Write::DeleteJob { uid: uid() }, Phase::Downloading, Reason::QuotaExceeded, false, false, false),
        (Write::CreateCheckJob, Phase::Downloading, Reason::Downloading, false, false, false),
        (Write::DeletePlanJob { uid: uid() }, Phase::Downloading, Reason::QuotaExceeded, false, false, false),
    ] {
        let mut decision = decide(&seen, Timestamp::UNIX_EPOCH);
        decision.deletion_policy = Some(DeletionPolicy::Delete);
        let message = "exceeded quota: none".to_owned();
        let refused = decision.refused(&seen, &write, message.clone(), Timestamp::UNIX_EPOCH);
        assert_eq!((refused.phase, refused.reason, refused.failed), (phase, reason, fails), "{write:?}");
        assert_eq!(refused.storage, storage.then(|| (Reason::QuotaExceeded, message.clone())), "{write:?}");
        assert_eq!(refused.prune_failure, prune.then_some(message), "{write:?}");
        let owner_is_as_before = fails || matches!(write, Write::SetClaimOwner { .. });
        let policy = if owner_is_as_before { DeletionPolicy::Retain } else { DeletionPolicy::Delete };
        assert_eq!(refused.deletion_policy, Some(policy), "{write:?}");
        let is_check = write == Write::CreateCheckJob;
        let check = refused.check.and_then(|check| check.last_failure).map(|failure| failure.reason);
        assert_eq!(check, is_check.then_some(Reason::QuotaExceeded), "{write:?}");
        assert_eq!(write.takes_place(), fails || is_check);
    }
}
