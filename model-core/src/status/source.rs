//! The condition `SourceReachable`: what the newest look at the source said.

use super::SOURCE_REACHABLE;
use crate::decide::Decision;
use crate::observed::Observed;
use crate::reason::Reason;

/// The condition without its times.
pub(super) struct Reachable {
    pub status: &'static str,
    pub reason: Reason,
    pub message: String,
}

impl Reachable {
    fn new(status: &'static str, reason: Reason, message: &str) -> Self {
        Self { status, reason, message: message.to_owned() }
    }
}

/// A failure of the source makes it False and bytes make it True; what tells nothing of the source leaves it as it was,
/// as long as the same content is wanted.
pub(super) fn reachable(seen: &Observed, decision: &Decision, message: &str) -> Reachable {
    let wanted = &seen.model.content_id;
    let recorded = seen.model.status;
    let before = recorded.and_then(|status| status.download.as_ref()).filter(|download| download.id == *wanted);
    let now = decision.download.as_ref().filter(|download| download.id == *wanted);
    let told = now.is_some_and(|now| {
        let before = before.map(|before| (before.downloaded_bytes, before.total_bytes));
        (now.downloaded_bytes, now.total_bytes) > before.unwrap_or_default()
    });
    if decision.reason.is_of_source() {
        return Reachable::new("False", decision.reason, message);
    }
    if decision.up_to_date
        && let Some(failure) = decision.check.as_ref().and_then(|check| check.last_failure.as_ref())
    {
        // What keeps the pod from asking says nothing of the source.
        let status = if failure.reason.is_of_source() { "False" } else { "Unknown" };
        let message = format!(
            "the source could not be asked for newer content: {}; it is tried again after spec.checkInterval",
            failure.message
        );
        return Reachable::new(status, failure.reason, &message);
    }
    if decision.up_to_date || told {
        return Reachable::new("True", Reason::SourceAnswered, "");
    }
    let conditions = recorded.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let kept = conditions.iter().find(|condition| condition.type_ == SOURCE_REACHABLE).filter(|_| before.is_some());
    let word = |reason: &str| Reason::ALL.iter().copied().find(|known| known.as_str() == reason);
    match kept.and_then(|kept| Some((kept, word(&kept.reason)?))) {
        Some((kept, reason)) if kept.status == "True" => Reachable::new("True", reason, &kept.message),
        Some((kept, reason)) if kept.status == "False" => Reachable::new("False", reason, &kept.message),
        Some(_) | None => Reachable::new("Unknown", Reason::NotChecked, "the source is asked when the download starts"),
    }
}
