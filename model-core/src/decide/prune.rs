//! Taking earlier content off the claim, once nobody can be using it.
//!
//! Content is earlier from the moment at which other content is offered in its place. It goes in three steps, each of
//! which can be repeated, and a crash between any two only repeats one:
//!
//! 1. Ten minutes later no webhook that lags behind offers it any more. If no pod names it then, in whatever phase, a
//!    Job **sets it aside**: one rename, after which no pod can mount it.
//! 2. The pods are listed **again**. Content that a pod names after all, because it came in between, is put back.
//! 3. What nobody names is deleted.
//!
//! A download goes first, and never runs beside a prune Job.

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Decision, Look, Step, Write};
use crate::api::{Content, EarlierContent};
use crate::content::is_content_id;
use crate::names::revision_path;
use crate::observed::{ClaimState, JobState, Observed, Placement, PruneJob, PruneStep};
use crate::reason::Reason;

/// How long content stays mountable after it was last offered. Far more than any webhook's cache lags behind.
pub const OFFERED_UNTIL: SignedDuration = SignedDuration::from_mins(10);
/// How often it is looked whether the pods that name earlier content are gone.
const USERS_RECHECK: SignedDuration = SignedDuration::from_mins(10);
/// Contents that one Job takes: their names are its arguments.
const MOST_AT_ONCE: usize = 50;
/// Contents that are remembered, the newest of them.
const MOST_REMEMBERED: usize = 100;

/// What a download waits for: a prune Job in its way is removed, pods included.
pub(super) fn in_the_way(seen: &Observed) -> Option<Step> {
    let message = || "waiting until the removal of earlier content has stopped".to_owned();
    match &seen.prune {
        PruneJob::Running { uid } | PruneJob::Stale { uid } => {
            let delete = Write::DeletePruneJob { uid: uid.clone(), and_wait: true };
            Some(Step::pending(Reason::JobTerminating, message()).writing(vec![delete]))
        }
        PruneJob::Terminating => Some(Step::pending(Reason::JobTerminating, message())),
        PruneJob::Absent | PruneJob::Done { .. } | PruneJob::Failed | PruneJob::Foreign => None,
    }
}

/// Adds to a decision what is to be done about earlier content.
pub(super) fn prune(mut decision: Decision, seen: &Observed, now: Timestamp) -> Decision {
    decision.earlier = remember(&decision, seen, now);
    let is_ours = matches!(seen.claim, ClaimState::Ours { .. }) && seen.wanted_path.ends_with(&seen.model.content_id);
    if is_downloading(&decision, seen) || !is_ours {
        return decision;
    }
    match &seen.prune {
        PruneJob::Absent => start(&mut decision, seen, now),
        PruneJob::Done { uid, step } => {
            record(&mut decision.earlier, step, now);
            decision.writes.push(Write::DeletePruneJob { uid: uid.clone(), and_wait: false });
        }
        PruneJob::Stale { uid } => {
            decision.writes.push(Write::DeletePruneJob { uid: uid.clone(), and_wait: true });
        }
        PruneJob::Terminating | PruneJob::Running { .. } | PruneJob::Failed | PruneJob::Foreign => {}
    }
    decision
}

fn is_downloading(decision: &Decision, seen: &Observed) -> bool {
    !decision.writes.is_empty()
        || match &seen.job {
            JobState::Running { .. } | JobState::Terminating | JobState::Stale { .. } => true,
            JobState::Absent | JobState::Foreign { .. } | JobState::Succeeded { .. } | JobState::Failed { .. } => false,
        }
}

/// What lies on the claim beside the content that this decision offers, the newest first.
fn remember(decision: &Decision, seen: &Observed, now: Timestamp) -> Vec<EarlierContent> {
    if matches!(seen.claim, ClaimState::Absent | ClaimState::Missing | ClaimState::Lost | ClaimState::Foreign { .. }) {
        return Vec::new();
    }
    let status = seen.model.status;
    let mut earlier = status.map(|status| status.earlier.clone()).unwrap_or_default();
    let mut add = |id: &str, partial: bool| {
        if is_content_id(id) && !earlier.iter().any(|known| known.id == id) {
            earlier.push(EarlierContent { id: id.to_owned(), since: Time(now), partial, set_aside: false });
        }
    };
    let offered = decision.content.as_ref().map(|content| content.id.as_str());
    if let Some(before) = status.and_then(|status| status.content.as_ref()).filter(|_| offered.is_some())
        && is_revision(before)
    {
        add(&before.id, false);
    }
    if let Some(before) = status.and_then(|status| status.download.as_ref())
        && decision.download.as_ref().is_some_and(|download| download.id != before.id)
    {
        add(&before.id, true);
    }
    // Only when it publishes: the Job stays for an hour, and what it found may have been pruned since.
    let recorded = status.and_then(|status| status.content.as_ref()).map(|content| content.id.as_str());
    if let JobState::Succeeded { published: Some(published) } = &seen.job
        && recorded != offered
        && decision.content.as_ref().is_some_and(is_revision)
    {
        published.others.iter().for_each(|id| add(id, false));
    }
    // What is offered again is earlier no more, except for what was set aside of it before.
    earlier.retain(|known| known.set_aside || Some(known.id.as_str()) != offered);
    earlier.sort_by_key(|known| Reverse(known.since.0));
    earlier.truncate(MOST_REMEMBERED);
    earlier
}

/// Whether it has a directory of its own. Stock images overwrite one and the same.
fn is_revision(content: &Content) -> bool {
    content.path.ends_with(&revision_path(&content.id))
}

/// Notes what a Job did.
fn record(earlier: &mut Vec<EarlierContent>, step: &PruneStep, now: Timestamp) {
    match step {
        PruneStep::SetAside(ids) => {
            earlier.iter_mut().filter(|known| ids.contains(&known.id)).for_each(|known| known.set_aside = true);
        }
        PruneStep::Finish { put_back, delete } => {
            earlier.retain(|known| !delete.contains(&known.id));
            for known in earlier.iter_mut().filter(|known| put_back.contains(&known.id)) {
                known.set_aside = false;
                known.since = Time(now);
            }
        }
    }
}

fn start(decision: &mut Decision, seen: &Observed, now: Timestamp) {
    let offered = decision.content.as_ref().map(|content| content.id.clone());
    let protected = |id: &str| Some(id) == offered.as_deref() || id == seen.model.content_id;
    let kept = usize::try_from(seen.model.spec.keep_revisions).unwrap_or(1).saturating_sub(1);
    let whole = decision.earlier.iter().filter(|known| !known.partial && !known.set_aside && !protected(&known.id));
    let kept: Vec<_> = whole.take(kept).map(|known| known.id.clone()).collect();
    // What was set aside of content that is wanted again is linked by its download.
    let awaited = |known: &EarlierContent| known.id == seen.model.content_id && !decision.up_to_date;
    let candidates = decision.earlier.iter().filter(|known| !kept.contains(&known.id) && !awaited(known));
    let (aside, placed): (Vec<_>, Vec<_>) = candidates.partition(|known| known.set_aside);
    let due_at = |known: &EarlierContent| known.since.0.checked_add(OFFERED_UNTIL).unwrap_or(Timestamp::MAX);
    let (due, later): (Vec<_>, Vec<_>) =
        placed.into_iter().filter(|known| !protected(&known.id)).partition(|known| due_at(known) <= now);
    let mut look_again = later.into_iter().map(due_at).min();

    if !due.is_empty() || !aside.is_empty() {
        let Some(users) = &seen.users else {
            decision.wants.push(Look::Users);
            return;
        };
        let ids = |contents: Vec<&EarlierContent>| -> Vec<String> {
            contents.into_iter().take(MOST_AT_ONCE).map(|known| known.id.clone()).collect()
        };
        let (named, free): (Vec<_>, Vec<_>) = aside.into_iter().partition(|known| users.name(&known.id));
        // Under a name that is offered lies the new copy; pods that hold the old one keep it.
        let named: Vec<_> = named.into_iter().filter(|known| Some(&known.id) != offered.as_ref()).collect();
        let free_due: Vec<_> = due.into_iter().filter(|known| !users.name(&known.id)).collect();
        let recheck = now.checked_add(USERS_RECHECK).unwrap_or(Timestamp::MAX);
        if let Placement::InUse { .. } = seen.placement {
            // No Job could mount the claim.
            decision.look_again = [decision.look_again, Some(recheck)].into_iter().flatten().min();
            return;
        }
        if !named.is_empty() || !free.is_empty() {
            let step = PruneStep::Finish { put_back: ids(named), delete: ids(free) };
            decision.writes.push(Write::CreatePruneJob(step));
            return;
        }
        if !free_due.is_empty() {
            decision.writes.push(Write::CreatePruneJob(PruneStep::SetAside(ids(free_due))));
            return;
        }
        look_again = Some(look_again.map_or(recheck, |at| at.min(recheck)));
    }
    decision.look_again = [decision.look_again, look_again].into_iter().flatten().min();
}
