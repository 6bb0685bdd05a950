//! The condition `UpToDate`: whether what is mounted is what the spec asks for, and the newest that the source has.

use jiff::{SignedDuration, Timestamp};

use crate::api::{Content, FoundContent, SourceCheck};
use crate::decide::{Decision, next_check};
use crate::observed::Observed;
use crate::reason::Reason;

/// The clocks of a node and of the controller differ by less than this.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// The condition `UpToDate` in parts.
pub(crate) struct Freshness {
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    pub reason: Reason,
    pub message: String,
}

impl Freshness {
    fn up_to_date(message: String) -> Self {
        Self { status: "True", reason: Reason::UpToDate, message }
    }

    fn not_checked(message: String) -> Self {
        Self { status: "Unknown", reason: Reason::NotChecked, message }
    }
}

/// What can be said of the mounted content. `message` is what the newest download has come to.
pub(crate) fn freshness(seen: &Observed, decision: &Decision, message: &str) -> Freshness {
    let stale = |reason, message| Freshness { status: "False", reason, message };
    match &decision.content {
        None => stale(decision.reason, message.to_owned()),
        Some(content) if decision.up_to_date => current(seen, content, decision.check.as_ref()),
        Some(_) if decision.failed => stale(Reason::RefreshFailed, format!("{}: {message}", decision.reason)),
        Some(_) => stale(Reason::Refreshing, message.to_owned()),
    }
}

/// What the spec asks for is mounted. Whether the source has newer is known only from asking it.
fn current(seen: &Observed, content: &Content, check: Option<&SourceCheck>) -> Freshness {
    let advice = |reason: Reason| reason.advice().replace("NAME", seen.model.name);
    let Some(interval) = seen.model.check_interval() else {
        return Freshness::not_checked(advice(Reason::NotChecked));
    };
    if seen.model.is_pinned() {
        return Freshness::up_to_date("the spec names a commit or a digest, so there can be nothing newer".to_owned());
    }
    let Some(check) = check else {
        let message = "stock images cannot ask whether there is newer content: run the controller with --loader-image";
        return Freshness::not_checked(message.to_owned());
    };
    if let Some(found) = check.found.as_ref().filter(|found| found.id == content.id) {
        let at = shown(found.at.0);
        return match compare(content, found) {
            Compared::Same => Freshness::up_to_date(format!("the source had nothing newer at {at}")),
            Compared::Newer => {
                let message = format!("{}; {}", newer(content, found), advice(Reason::NewRevision));
                Freshness { status: "False", reason: Reason::NewRevision, message }
            }
            Compared::CannotTell => Freshness::not_checked(format!(
                "the source answered at {at} and tells nothing by which newer content could be known: no revision, digest, ETag or date; {}",
                advice(Reason::NotChecked)
            )),
        };
    }
    // A download asks, too. One of before the first wish for checks may be of any age.
    match &content.asked_at {
        Some(asked) if asked.0.checked_add(CLOCK_SKEW).unwrap_or(Timestamp::MAX) >= check.since.0 => {
            Freshness::up_to_date(format!("this is what the source had at {}", shown(asked.0)))
        }
        Some(_) | None => {
            let due = shown(next_check(check, interval, seen.model.uid));
            Freshness::not_checked(format!("the source is asked at about {due}"))
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    Same,
    Newer,
    CannotTell,
}

/// A commit or tag that is the same is proof of the same files. One that is not need not change any wanted file, so then
/// the files count where they are known.
fn compare(content: &Content, found: &FoundContent) -> Compared {
    let both = |mounted: &Option<String>, found: &Option<String>| Some(mounted.as_ref()? == found.as_ref()?);
    let revision = both(&content.resolved_revision, &found.resolved_revision);
    let listing = both(&content.listing, &found.listing);
    match (revision, listing) {
        (Some(true), _) | (_, Some(true)) => Compared::Same,
        (_, Some(false)) | (Some(false), None) => Compared::Newer,
        (None, None) => match (content.bytes, found.bytes) {
            (Some(mounted), Some(found)) if mounted != found => Compared::Newer,
            _ => Compared::CannotTell,
        },
    }
}

fn newer(content: &Content, found: &FoundContent) -> String {
    let at = shown(found.at.0);
    match (&content.resolved_revision, &found.resolved_revision) {
        (Some(mounted), Some(new)) => format!("at {at} the source had revision {new}; mounted is {mounted}"),
        _ => format!("at {at} the source had other files than those that are mounted"),
    }
}

/// Whole seconds, as everywhere in status.
fn shown(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
