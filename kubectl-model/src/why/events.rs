//! Events, which are all that tells of some failures.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;

use super::EventLine;
use crate::text::line;
use model_core::figures::age;
use model_core::observed::NOT_STARTED_WARNINGS;
use model_core::report::Failure;

/// So many fit on a screen beside the rest.
const SHOWN: usize = 6;

/// The newest Events, newest first.
pub(super) fn newest(events: &[Event], now: Timestamp) -> Vec<EventLine> {
    let mut events: Vec<&Event> = events.iter().collect();
    events.sort_by_key(|event| std::cmp::Reverse(seen(event)));
    events.truncate(SHOWN);
    events.into_iter().map(|event| shown(event, now)).collect()
}

/// The newest message of a warning with one of these reasons on one of these objects.
pub(super) fn warning<'a>(events: &'a [Event], reasons: &[&str], objects: &[&str]) -> Option<&'a str> {
    newest_of(events, reasons, objects)?.message.as_deref()
}

/// Why the node of this pod does not start it, where it says so.
pub(super) fn not_started(events: &[Event], pod: &str) -> Option<Failure> {
    let event = newest_of(events, &NOT_STARTED_WARNINGS, &[pod])?;
    Some(model_core::observed::not_started(event.reason.as_deref()?, event.message.as_deref()?))
}

fn newest_of<'a>(events: &'a [Event], reasons: &[&str], objects: &[&str]) -> Option<&'a Event> {
    let matches = |event: &&Event| {
        let name = event.involved_object.name.as_deref().unwrap_or_default();
        event.reason.as_deref().is_some_and(|reason| reasons.contains(&reason)) && objects.contains(&name)
    };
    events.iter().filter(matches).max_by_key(|event| seen(event))
}

fn seen(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let first = event.event_time.as_ref().map(|time| time.0);
    series.or(last).or(first).or(event.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

fn shown(event: &Event, now: Timestamp) -> EventLine {
    let object = &event.involved_object;
    let word = |text: Option<&String>| line(text.map(String::as_str).unwrap_or_default());
    EventLine {
        age: age(seen(event), now),
        kind: word(event.type_.as_ref()),
        reason: word(event.reason.as_ref()),
        object: format!("{}/{}", word(object.kind.as_ref()), word(object.name.as_ref())),
        message: word(event.message.as_ref()),
    }
}
