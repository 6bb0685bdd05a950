//! Before there is a claim: the source is asked what it has, where the spec wants that.

use jiff::Timestamp;

use super::download::{failed, recorded, starting, without_pod};
use super::{Step, Write};
use crate::api::DownloadStatus;
use crate::names::plan_job_name;
use crate::observed::{Observed, PlanState};
use crate::reason::Reason;
use crate::report::{Failure, Planned};
use crate::size::Wanted;

/// What the pod that asks is called, for people.
pub(super) const POD: &str = "pod that asks the source";

/// The size of the claim that may be made now, or the step that leads there.
pub(super) fn claim_size(seen: &Observed, now: Timestamp) -> Result<String, Box<Step>> {
    let asked = seen.model.spec.storage.size.as_deref();
    if let (PlanState::Unsupported, None) = (&seen.plan, asked) {
        let message = "without spec.storage.size the source is asked first, which stock images cannot do".to_owned();
        return Err(Box::new(Step::failed(Reason::SizeRequired, message)));
    }
    if let Some(size) = asked.filter(|_| !is_wanted(seen)) {
        return Ok(size.to_owned());
    }
    let step = match (planned(seen), &seen.plan) {
        (Some(wanted), _) => match wanted.claim_size(asked) {
            Ok(size) => return Ok(size),
            Err(failure) => Step { download: Some(with_plan(seen)), ..Step::failed(failure.reason, failure.message) },
        },
        (None, PlanState::Foreign { owner }) => {
            let message = format!("Job {} belongs to {owner} and is left untouched", plan_job_name(seen.model.name));
            Step::failed(Reason::JobConflict, message).looking_again(now)
        }
        (None, PlanState::Terminating) => {
            Step::pending(Reason::JobTerminating, "waiting until the old plan Job is gone".to_owned())
        }
        (None, PlanState::Stale { uid }) => {
            Step::pending(Reason::JobStale, "removing a plan Job that asked for other content".to_owned())
                .writing(vec![Write::DeletePlanJob { uid: uid.clone() }])
        }
        (None, PlanState::Running { trouble: Some(trouble), .. }) => {
            Step::pending(trouble.reason, trouble.message.clone())
        }
        (None, PlanState::Running { trouble: None, podless: Some(podless), .. }) => {
            without_pod(planning(), podless, now)
        }
        (None, PlanState::Running { trouble: None, unmounted: Some(unmounted), .. }) => {
            starting(planning(), unmounted, POD, None, now)
        }
        (None, PlanState::Running { trouble: None, unmounted: None, podless: None, .. }) => planning(),
        (None, PlanState::Succeeded { at, .. }) => {
            let message = "the plan Job has ended, and its result is gone with its pod".to_owned();
            failed(seen, &Failure { reason: Reason::DownloadFailed, message }, *at, now)
        }
        (None, PlanState::Failed { failure, at, .. }) => failed(seen, failure, *at, now),
        (None, PlanState::Absent | PlanState::Unsupported) => planning().writing(vec![Write::CreatePlanJob]),
    };
    Err(Box::new(step))
}

/// Whether the plan Job, and no recorded failure, says how it goes on.
pub(super) fn is_under_way(seen: &Observed) -> bool {
    is_wanted(seen) && !matches!(seen.plan, PlanState::Absent)
}

/// Whether the source is to be asked first.
fn is_wanted(seen: &Observed) -> bool {
    seen.model.wants_plan() && !matches!(seen.plan, PlanState::Unsupported)
}

fn planning() -> Step {
    Step::pending(Reason::Planning, "asking the source for size and files".to_owned())
}

/// What the source said, now or when it was recorded.
fn planned(seen: &Observed) -> Option<Wanted> {
    let download = with_plan(seen);
    let files = u64::try_from(download.total_files?).ok()?;
    Some(Wanted { bytes: download.total_bytes.and_then(|bytes| u64::try_from(bytes).ok()), files })
}

/// The record of the download with what the plan Job found.
pub(super) fn with_plan(seen: &Observed) -> DownloadStatus {
    let id = seen.model.content_id.clone();
    let download = recorded(seen).cloned().unwrap_or_else(|| DownloadStatus { id, ..DownloadStatus::default() });
    match &seen.plan {
        PlanState::Succeeded { planned: Some(planned), .. } if download.total_files.is_none() => {
            let Planned { resolved_revision, bytes, files, .. } = planned;
            let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            DownloadStatus {
                total_bytes: bytes.map(count),
                total_files: Some(count(*files)),
                resolved_revision: resolved_revision.clone(),
                ..download
            }
        }
        _ => download,
    }
}
