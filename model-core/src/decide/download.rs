//! The download of content that is not published yet.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::retry::{Retry, retry};
use super::{Step, Write, plan, prune, stale_job};
use crate::api::{Content, DownloadStatus, LastFailure, Phase};
use crate::names::job_name;
use crate::observed::{ClaimState, JobState, Observed, Placement, PlanState, Podless, Refusal, Unmounted, next_look};
use crate::reason::Reason;
use crate::report::{Failure, Progress, Published};

/// 30 days.
const LONGEST_ETA: i64 = 30 * 24 * 3600;

/// The next step towards the wanted content. The claim is ours or absent.
pub(super) fn next(seen: &Observed, now: Timestamp) -> Step {
    match &seen.job {
        JobState::Foreign { owner } => Step::failed(
            Reason::JobConflict,
            format!("Job {} belongs to {owner} and is left untouched", job_name(seen.model.name)),
        )
        .looking_again(now),
        JobState::Terminating => Step::pending(Reason::JobTerminating, "waiting until the old Job is gone".to_owned()),
        JobState::Stale { .. } => Step::pending(
            Reason::JobStale,
            "removing a Job that was made for other content or another claim".to_owned(),
        )
        .writing(stale_job(seen)),
        JobState::Running { trouble, progress, unmounted, podless } => {
            let step = running(seen, trouble.as_ref(), progress.as_ref(), now);
            match (unmounted, podless) {
                (Some(unmounted), _) if step.reason == Reason::Downloading => {
                    let bound = matches!(seen.claim, ClaimState::Ours { bound: true, .. });
                    let unbound = (!bound).then(|| seen.model.claim_name());
                    starting(step, unmounted, "download pod", unbound.as_deref(), now)
                }
                (_, Some(podless)) if step.reason == Reason::Downloading => without_pod(step, podless, now),
                (Some(_) | None, Some(_) | None) => step,
            }
        }
        JobState::Succeeded { published } => succeeded(seen, published.as_ref(), now),
        JobState::Failed { failure, at } => failed(seen, failure, *at, now),
        JobState::Absent => without_job(seen, now),
    }
}

/// The recorded download of the wanted content. A new content id starts a new record.
pub(super) fn recorded<'a>(seen: &'a Observed) -> Option<&'a DownloadStatus> {
    seen.model.status?.download.as_ref().filter(|download| download.id == seen.model.content_id)
}

/// The record of the attempt that the Job in place stands for. A crash before it was recorded is made up for here.
fn attempt(seen: &Observed, now: Timestamp) -> DownloadStatus {
    let mut download = plan::with_plan(seen);
    if download.started_at.is_none() {
        download.attempt = download.attempt.saturating_add(1);
        download.started_at = Some(Time(now));
    }
    download
}

fn running(seen: &Observed, trouble: Option<&Failure>, progress: Option<&Progress>, now: Timestamp) -> Step {
    let mut download = attempt(seen, now);
    if let Some(progress) = progress {
        record(&mut download, progress);
    }
    let claim_trouble = match &seen.claim {
        ClaimState::Ours { trouble, .. } => trouble.as_ref(),
        ClaimState::Absent
        | ClaimState::Missing
        | ClaimState::Terminating
        | ClaimState::Foreign { .. }
        | ClaimState::Lost => None,
    };
    let (reason, message) = match claim_trouble.or(trouble) {
        Some(trouble) => (trouble.reason, trouble.message.clone()),
        None => (Reason::Downloading, "downloading".to_owned()),
    };
    let step = Step { download: Some(download), ..Step::new(Phase::Downloading, reason, message) };
    // The claim may be free, or elsewhere, by then: no watch of ours tells.
    if matches!(reason, Reason::Unschedulable | Reason::ClaimInUse) { step.looking_again(now) } else { step }
}

/// The cluster places the pod, and its node makes what it needs. Worth a word only where it takes long, and then no watch
/// tells why: the pod's Events are read, and ever more rarely.
/// `unbound` is a claim that the pod needs and that has no volume yet.
pub(super) fn starting(step: Step, unmounted: &Unmounted, pod: &str, unbound: Option<&str>, now: Timestamp) -> Step {
    if now < unmounted.late() {
        return Step { look_again: Some(unmounted.late()), ..step };
    }
    if unmounted.placed {
        let (reason, message) = not_started(unmounted, pod);
        return Step { reason, message, look_again: Some(next_look(unmounted.since, now)), ..step };
    }
    let (reason, message) = match unbound {
        Some(claim) => (
            Reason::ClaimPending,
            format!("PVC stuck Pending: claim {claim} has no volume yet, and the download waits for it"),
        ),
        None => (Reason::Unschedulable, format!("no scheduler has placed the {pod} yet")),
    };
    Step { reason, message, ..step }
}

/// What the node says, or what it may be where it says nothing.
pub(super) fn not_started(unmounted: &Unmounted, pod: &str) -> (Reason, String) {
    let needs = format!("the node has not mounted all that the {pod} needs: {}", unmounted.volumes);
    match &unmounted.refusal {
        Refusal::Known(Failure { reason: Reason::VolumeNotMounted, message }) => {
            (Reason::VolumeNotMounted, format!("{needs}: {message}"))
        }
        Refusal::Known(Failure { reason, message }) => (*reason, format!("the node cannot start the {pod}: {message}")),
        Refusal::Unknown => (Reason::VolumeNotMounted, needs),
        // Never recorded: it differs from what a look at the Events finds, so that one follows.
        Refusal::NotRead => (Reason::VolumeNotMounted, format!("{needs}; its Events were not read")),
    }
}

/// The Job controller makes the pod at once, unless the cluster refuses it. The Job itself does not say so, and no watch
/// tells: its Events are read then, and ever more rarely.
pub(super) fn without_pod(step: Step, podless: &Podless, now: Timestamp) -> Step {
    if now < podless.late() {
        return Step { look_again: Some(podless.late()), ..step };
    }
    let (reason, message) = match &podless.refusal {
        Refusal::Known(failure) => {
            (failure.reason, format!("the cluster refuses the download pod: {}", failure.message))
        }
        Refusal::Unknown => (Reason::PodMissing, "the Job has made no pod yet".to_owned()),
        // Never recorded: it differs from what a look at the Events finds, so that one follows.
        Refusal::NotRead => (Reason::PodMissing, "the Job has made no pod yet; its Events were not read".to_owned()),
    };
    Step { reason, message, look_again: Some(next_look(podless.since, now)), ..step }
}

/// Neither bytes nor percent ever go back within one content id: a restarted loader, or a forged line, cannot make them.
/// So the first total counts until the download has ended.
fn record(download: &mut DownloadStatus, progress: &Progress) {
    let bytes = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    download.total_bytes = download.total_bytes.or(progress.total_bytes.map(bytes));
    let seen = bytes(progress.downloaded_bytes);
    let capped = download.total_bytes.map_or(seen, |total| seen.min(total));
    download.downloaded_bytes = Some(capped.max(download.downloaded_bytes.unwrap_or(0)));
    download.bytes_per_second = Some(bytes(progress.bytes_per_second));
    download.eta_seconds = eta(download);
}

/// Seconds until the last byte is there. A time that nobody would wait for is none.
fn eta(download: &DownloadStatus) -> Option<i64> {
    let left = download.total_bytes?.saturating_sub(download.downloaded_bytes?).max(0);
    let speed = download.bytes_per_second.filter(|speed| *speed > 0)?;
    let seconds = left.checked_add(speed - 1)? / speed;
    (seconds <= LONGEST_ETA).then_some(seconds)
}

fn succeeded(seen: &Observed, published: Option<&Published>, now: Timestamp) -> Step {
    if matches!(seen.claim, ClaimState::Absent) {
        // With the new claim in place this Job counts as stale.
        return match plan::claim_size(seen, now) {
            Ok(size) => {
                Step::pending(Reason::ClaimLost, "the claim that held the content is gone: starting over".to_owned())
                    .writing(vec![Write::CreateClaim { size }])
            }
            Err(step) => *step,
        };
    }
    let bytes = published.map(|published| i64::try_from(published.bytes).unwrap_or(i64::MAX));
    let content = Content {
        id: seen.model.content_id.clone(),
        path: seen.wanted_path.clone(),
        version: seen.model.spec.version.clone(),
        source: seen.model.spec.source.clone(),
        resolved_revision: published.and_then(|published| published.resolved_revision.clone()),
        listing: published.and_then(|published| published.listing.clone()),
        asked_at: published.and_then(|published| published.asked_at).map(Time),
        bytes,
        verified: published.is_some_and(|published| published.unverified_files == 0),
    };
    let mut download = attempt(seen, now);
    download.total_bytes = bytes.or(download.total_bytes);
    download.downloaded_bytes = download.total_bytes;
    (download.bytes_per_second, download.eta_seconds) = (None, None);
    download.resolved_revision.clone_from(&content.resolved_revision);
    Step { download: Some(download), publishes: Some(content.clone()), ..Step::ready(&content) }
}

pub(super) fn failed(seen: &Observed, failure: &Failure, at: Timestamp, now: Timestamp) -> Step {
    let mut download = attempt(seen, now);
    (download.bytes_per_second, download.eta_seconds) = (None, None);
    // A Job's times are whole seconds: a quick failure must not seem older than its own start.
    let at = download.started_at.as_ref().map_or(at, |started| at.max(started.0));
    download.last_failure =
        Some(LastFailure { reason: failure.reason, message: failure.message.clone(), at: Time(at) });
    Step { download: Some(download), ..Step::failed(failure.reason, failure.message.clone()) }
}

fn without_job(seen: &Observed, now: Timestamp) -> Step {
    if matches!(seen.claim, ClaimState::Absent) && plan::is_under_way(seen) {
        return start(seen, now);
    }
    let Some(download) = recorded(seen) else { return start(seen, now) };
    if download.started_at.is_none() {
        return start(seen, now);
    }
    match current_failure(download) {
        None => again(download, Reason::JobLost, "the Job went away before it ended: starting over"),
        Some(failure) => match retry(failure, download.attempt, now) {
            Retry::Now => again(download, Reason::Retrying, "the failed Job is gone: starting over"),
            Retry::At(when) => Step { look_again: Some(when), ..Step::failed(failure.reason, failure.message.clone()) },
            Retry::Never => Step::failed(failure.reason, failure.message.clone()),
        },
    }
}

/// How the newest attempt failed. A failure of an attempt before it does not count.
fn current_failure(download: &DownloadStatus) -> Option<&LastFailure> {
    let failure = download.last_failure.as_ref()?;
    let newest = download.started_at.as_ref().is_none_or(|started| failure.at.0 >= started.0);
    newest.then_some(failure)
}

/// Back to `Pending`: the next look starts a new attempt.
fn again(download: &DownloadStatus, reason: Reason, message: &str) -> Step {
    let download = DownloadStatus { started_at: None, bytes_per_second: None, eta_seconds: None, ..download.clone() };
    Step { download: Some(download), ..Step::pending(reason, message.to_owned()) }
}

fn start(seen: &Observed, now: Timestamp) -> Step {
    if let Placement::InUse { pod } = &seen.placement {
        let message = format!("claim {} is ReadWriteOncePod and pod {pod} uses it", seen.model.claim_name());
        return Step::pending(Reason::ClaimInUse, message).looking_again(now);
    }
    let claim = match seen.claim {
        ClaimState::Absent => match plan::claim_size(seen, now) {
            Ok(size) => Some(Write::CreateClaim { size }),
            Err(step) => return *step,
        },
        ClaimState::Ours { .. }
        | ClaimState::Missing
        | ClaimState::Terminating
        | ClaimState::Foreign { .. }
        | ClaimState::Lost => None,
    };
    if let Some(place) = &seen.queue {
        let from = place.host.as_ref().map_or(String::new(), |host| format!(" from {host}"));
        let waiting = Step::pending(Reason::Queued, format!("waiting for a free download{from}: {place}"));
        let download = recorded(seen).is_some() || !matches!(seen.plan, PlanState::Absent | PlanState::Unsupported);
        return Step { download: download.then(|| plan::with_plan(seen)), ..waiting };
    }
    if let Some(wait) = prune::in_the_way(seen) {
        return wait;
    }
    let writes = claim.into_iter().chain([Write::CreateJob]).collect();
    let step = Step::new(Phase::Downloading, Reason::Downloading, "downloading".to_owned());
    Step { download: Some(attempt(seen, now)), writes, ..step }
}
