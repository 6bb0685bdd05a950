//! Taking earlier content off the claim, once nobody can be using it.
//!
//! Content is earlier from the moment at which other content is offered in its place. It goes in four steps, each of
//! which can be repeated, and a crash between any two only repeats one:
//!
//! 1. Ten minutes later no webhook that lags behind offers it any more. If no pod names it then, in whatever phase, it is
//!    **recorded** that it is about to be set aside.
//! 2. A Job **sets it aside**: one rename, after which no pod can mount it.
//! 3. The pods are listed **again**. Content that a pod names after all, because it came in between, is put back.
//! 4. What nobody names is deleted.
//!
//! From the first step on content counts as being out of its place, whatever becomes of the Job: it may fail, be killed or
//! be deleted when it has done half its work, and its end may be seen by nobody. What a Job may have done, and what it did,
//! is recorded before it is removed: a look that finds no Job finds the record of the last one, if it reads the Model again
//! once it has looked for the Job.
//!
//! A download goes first and never runs beside a prune Job. It may take hours, so all that may be out of its place is put
//! back before it starts.

use jiff::{SignedDuration, Timestamp};

use super::{Decision, Look, Step, Write, earlier, verify};
use crate::api::EarlierContent;
use crate::observed::{ClaimState, JobState, Observed, Placement, PruneJob, PruneStep, Users};
use crate::reason::Reason;

/// How long content stays mountable after it was last offered. Far more than any webhook's cache lags behind.
pub const OFFERED_UNTIL: SignedDuration = SignedDuration::from_mins(10);
/// How often it is looked whether the pods that name earlier content are gone.
const USERS_RECHECK: SignedDuration = SignedDuration::from_mins(10);
/// How long a prune Job may run before somebody looks where it is and whom it keeps waiting.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);
/// Contents that one Job takes: their names are its arguments.
const MOST_AT_ONCE: usize = 50;

/// What a download waits for: no prune Job is in its way, and all content is in its place.
pub(super) fn in_the_way(seen: &Observed) -> Option<Step> {
    let stopping = || {
        let message = "waiting until the removal of earlier content has stopped".to_owned();
        Step::pending(Reason::JobTerminating, message)
    };
    let restoring = || {
        let message = "earlier content whose removal was interrupted is put back first".to_owned();
        Step::pending(Reason::Starting, message)
    };
    let delete = |uid: &String| vec![Write::DeletePruneJob { uid: uid.clone(), and_wait: true }];
    let away = out_of_place(seen);
    match &seen.prune {
        PruneJob::Running { step, .. } if step.only_restores() => Some(restoring()),
        PruneJob::Running { uid, .. } | PruneJob::Stale { uid } => Some(stopping().writing(delete(uid))),
        PruneJob::Terminating => Some(stopping()),
        // Tried in vain: the download waits no longer.
        PruneJob::Failed { step, .. } if step.only_restores() => None,
        PruneJob::Absent | PruneJob::Done { .. } | PruneJob::Failed { .. } | PruneJob::Foreign if away.is_empty() => {
            None
        }
        PruneJob::Absent => {
            let step = PruneStep::Finish { put_back: away, delete: Vec::new() };
            Some(restoring().writing(vec![Write::CreatePruneJob(step)]))
        }
        PruneJob::Failed { uid, .. } => Some(restoring().writing(delete(uid))),
        // What it did is recorded, and it is removed: see below.
        PruneJob::Done { .. } => Some(restoring()),
        PruneJob::Foreign => None,
    }
}

/// Contents that may not be where pods look for them. Of content that is offered only an older copy can be.
fn out_of_place(seen: &Observed) -> Vec<String> {
    let Some(status) = seen.model.status.filter(|_| can_prune(seen)) else { return Vec::new() };
    let offered = status.content.as_ref().map(|content| content.id.as_str());
    let mut earlier = status.earlier.clone();
    if let Some(PruneStep::SetAside(ids)) = seen.prune.step() {
        earlier::begin(&mut earlier, ids, Timestamp::UNIX_EPOCH);
    }
    ids(earlier.iter().filter(|known| known.is_begun() && Some(known.id.as_str()) != offered))
}

fn ids<'a>(contents: impl IntoIterator<Item = &'a EarlierContent>) -> Vec<String> {
    contents.into_iter().take(MOST_AT_ONCE).map(|known| known.id.clone()).collect()
}

/// Adds to a decision what is to be done about earlier content.
pub(super) fn prune(mut decision: Decision, seen: &Observed, now: Timestamp) -> Decision {
    decision.earlier = earlier::remember(&decision, seen, now);
    let is_downloading = is_downloading(&decision, seen);
    if let PruneJob::Failed { why, .. } = &seen.prune {
        decision.prune_failure = Some(format!("earlier content could not be removed: {why}"));
    }
    // Also beside a download: what it did must not be forgotten.
    if take_down(&mut decision.earlier, &seen.prune, now) {
        decision.writes.retain(|write| !matches!(write, Write::DeletePruneJob { .. }));
        return decision;
    }
    if let PruneJob::Done { uid, .. } = &seen.prune {
        decision.writes.push(Write::DeletePruneJob { uid: uid.clone(), and_wait: false });
        return decision;
    }
    if is_downloading || !can_prune(seen) {
        return decision;
    }
    match &seen.prune {
        PruneJob::Absent => start(&mut decision, seen, now),
        PruneJob::Running { uid, step, since, misplaced } => {
            let late = since.checked_add(PATIENCE).unwrap_or(Timestamp::MAX);
            if now < late {
                decision.look_again_by(late);
            } else {
                replace(&mut decision, seen, uid, step, *misplaced, now);
            }
        }
        // It stays to be looked at, unless a pod waits for what it may have taken away.
        PruneJob::Failed { uid, step, .. } => replace(&mut decision, seen, uid, step, false, now),
        PruneJob::Stale { uid } => {
            decision.writes.push(Write::DeletePruneJob { uid: uid.clone(), and_wait: true });
        }
        PruneJob::Terminating | PruneJob::Done { .. } | PruneJob::Foreign => {}
    }
    decision
}

/// Takes down what the Job in place did or may have done. Whether any of it is news: then the Job stays until it is
/// recorded, and the change of status brings on the next look.
fn take_down(earlier: &mut Vec<EarlierContent>, job: &PruneJob, now: Timestamp) -> bool {
    let before = earlier.clone();
    match (job, job.step()) {
        (PruneJob::Done { step, .. }, _) => earlier::record(earlier, step, now),
        (_, Some(PruneStep::SetAside(ids))) => earlier::begin(earlier, ids, now),
        (_, Some(PruneStep::Finish { .. }) | None) => {}
    }
    *earlier != before
}

/// Whether the claim is ours, and content has a directory of its own there. Stock images write to its root.
fn can_prune(seen: &Observed) -> bool {
    matches!(seen.claim, ClaimState::Ours { .. }) && seen.wanted_path.ends_with(&seen.model.content_id)
}

fn is_downloading(decision: &Decision, seen: &Observed) -> bool {
    !decision.writes.is_empty()
        || match &seen.job {
            JobState::Running { .. } | JobState::Terminating | JobState::Stale { .. } => true,
            JobState::Absent | JobState::Foreign { .. } | JobState::Succeeded { .. } | JobState::Failed { .. } => false,
        }
}

/// The users of the claim's contents, if somebody has looked. If not, somebody has to.
fn users<'a>(decision: &mut Decision, seen: &'a Observed) -> Option<&'a Users> {
    if seen.users.is_none() {
        decision.wants.push(Look::Users);
    }
    seen.users.as_ref()
}

/// Removes a Job that can never run, and one in whose place another has to give a pod back what it names.
fn replace(decision: &mut Decision, seen: &Observed, uid: &str, step: &PruneStep, misplaced: bool, now: Timestamp) {
    let Some(users) = users(decision, seen) else { return };
    let missed = !step.only_restores() && out_of_place(seen).iter().any(|id| is_named(users, seen, id));
    if misplaced || missed {
        decision.writes.push(Write::DeletePruneJob { uid: uid.to_owned(), and_wait: true });
    } else {
        decision.look_again_by(now.checked_add(USERS_RECHECK).unwrap_or(Timestamp::MAX));
    }
}

/// Whether a pod names this content, or one will: that of a check that has begun may still have to be made.
fn is_named(users: &Users, seen: &Observed, id: &str) -> bool {
    users.name(id) || verify::reads(seen, id)
}

fn start(decision: &mut Decision, seen: &Observed, now: Timestamp) {
    let offered = decision.content.as_ref().map(|content| content.id.clone());
    let is_offered = |known: &EarlierContent| Some(&known.id) == offered.as_ref();
    let is_wanted = |known: &EarlierContent| known.id == seen.model.content_id && !decision.up_to_date;
    let kept = usize::try_from(seen.model.spec.keep_revisions).unwrap_or(1).saturating_sub(1);
    let whole =
        |known: &&EarlierContent| !known.partial && !known.is_begun() && !is_offered(known) && !is_wanted(known);
    let kept: Vec<_> = decision.earlier.iter().filter(whole).take(kept).map(|known| known.id.clone()).collect();
    let candidates = decision.earlier.iter().filter(|known| !kept.contains(&known.id));
    let (begun, placed): (Vec<_>, Vec<_>) = candidates.partition(|known| known.is_begun());
    let due_at = |known: &EarlierContent| known.since.0.checked_add(OFFERED_UNTIL).unwrap_or(Timestamp::MAX);
    let (due, later): (Vec<_>, Vec<_>) =
        placed.into_iter().filter(|known| !is_wanted(known)).partition(|known| due_at(known) <= now);
    let mut next_look = later.into_iter().map(due_at).min();

    if !due.is_empty() || !begun.is_empty() {
        let Some(users) = &seen.users else {
            decision.wants.push(Look::Users);
            return;
        };
        let recheck = now.checked_add(USERS_RECHECK).unwrap_or(Timestamp::MAX);
        if let Placement::InUse { .. } = seen.placement {
            // No Job could mount the claim.
            decision.look_again_by(recheck);
            return;
        }
        let is_named = |known: &&EarlierContent| is_named(users, seen, &known.id);
        let (named, free): (Vec<_>, Vec<_>) = begun.into_iter().partition(is_named);
        // Under a name that is offered lies the new copy; pods that hold the old one keep it.
        let put_back = ids(named.into_iter().filter(|known| !is_offered(known)));
        // What is wanted again is linked by its download.
        let free = free.into_iter().filter(|known| !is_wanted(known));
        let (aside, half): (Vec<_>, Vec<_>) = free.partition(|known| known.set_aside || is_offered(known));
        let free_due = ids(due.into_iter().filter(|known| !is_named(known)));
        let step = if !put_back.is_empty() {
            Some(PruneStep::Finish { put_back, delete: Vec::new() })
        } else if !aside.is_empty() {
            Some(PruneStep::Finish { put_back, delete: ids(aside) })
        } else if !half.is_empty() {
            Some(PruneStep::SetAside(ids(half)))
        } else {
            None
        };
        if let Some(step) = step {
            decision.writes.push(Write::CreatePruneJob(step));
            return;
        }
        if !free_due.is_empty() {
            // The change of status brings on the next look.
            earlier::begin(&mut decision.earlier, &free_due, now);
            return;
        }
        next_look = Some(next_look.map_or(recheck, |at| at.min(recheck)));
    }
    if let Some(at) = next_look {
        decision.look_again_by(at);
    }
}
