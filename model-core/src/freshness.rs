//! The condition `UpToDate`: whether what is mounted is what the spec asks for, and the newest that the source has.

use crate::decide::Decision;
use crate::observed::Observed;
use crate::reason::Reason;

/// The condition `UpToDate` in parts.
pub(crate) struct Freshness {
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    pub reason: Reason,
    pub message: String,
}

/// What can be said of the mounted content. `message` is what the newest download has come to.
pub(crate) fn freshness(seen: &Observed, decision: &Decision, message: &str) -> Freshness {
    let stale = |reason, message| Freshness { status: "False", reason, message };
    match &decision.content {
        None => stale(decision.reason, message.to_owned()),
        Some(_) if decision.up_to_date => {
            let message = Reason::NotChecked.advice().replace("NAME", seen.model.name);
            Freshness { status: "Unknown", reason: Reason::NotChecked, message }
        }
        Some(_) if decision.failed => stale(Reason::RefreshFailed, format!("{}: {message}", decision.reason)),
        Some(_) => stale(Reason::Refreshing, message.to_owned()),
    }
}
