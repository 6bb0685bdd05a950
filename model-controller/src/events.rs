//! Events, none twice: the name of each follows from what it tells, so the API server knows one that was told before,
//! also after a restart and from a second controller.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Client, Resource, ResourceExt};
use model_core::api::{Model, ModelStatus, Phase, Verification, VerificationResult};
use model_core::decide::Decision;
use model_core::reason::Reason;
use model_core::status::{DOWNLOADED, PRUNE_FAILED, UP_TO_DATE};

use crate::context::Context;
use crate::controller::REPORTER;
use crate::send;

/// Longest note in bytes: the API server takes 1024.
const MAX_NOTE: usize = 1000;
/// How often an Event is asked for that meets a conflict each time.
const TRIES: usize = 3;

/// What is told of one object.
pub(crate) struct Told<'a> {
    pub regarding: ObjectReference,
    /// Name of the Event. Two of the same name tell the same.
    pub name: &'a str,
    pub action: &'a str,
    pub reason: &'a str,
    pub note: Option<&'a str>,
    pub is_trouble: bool,
}

/// Publishes what was not told yet. An Event that cannot be published is logged, never a reason to look again.
pub(crate) async fn tell(client: &Client, told: &Told<'_>) {
    let namespace = told.regarding.namespace.as_deref().unwrap_or_default();
    let event = Event {
        metadata: ObjectMeta {
            name: Some(told.name.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        action: Some(told.action.to_owned()),
        event_time: Some(MicroTime(Timestamp::now())),
        note: told.note.map(bounded),
        reason: Some(told.reason.to_owned()),
        regarding: Some(told.regarding.clone()),
        reporting_controller: Some(REPORTER.to_owned()),
        reporting_instance: Some(REPORTER.to_owned()),
        type_: Some(if told.is_trouble { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    };
    let mut answer = create(client, &event).await;
    for _ in 1..TRIES {
        // A quota that counts Events was changed at the same moment: nothing was made.
        let Err(kube::Error::Api(status)) = &answer else { break };
        if !status.is_conflict() {
            break;
        }
        answer = create(client, &event).await;
    }
    match answer {
        Ok(()) => {}
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => {
            let (kind, name) = (told.regarding.kind.as_deref(), told.regarding.name.as_deref());
            if is_of_a_namespace_that_goes(&error) {
                tracing::debug!(kind, name, %error, "nobody is left to be told");
            } else {
                tracing::warn!(kind, name, %error, "could not publish an Event");
            }
        }
    }
}

async fn create(client: &Client, event: &Event) -> Result<(), kube::Error> {
    send::create(client, &PostParams::default(), event).await.map(drop)
}

/// Whether the namespace is being deleted, or is gone: then no Event can be made there, and none is missed.
fn is_of_a_namespace_that_goes(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.is_not_found() || causes.any(|cause| cause.reason == "NamespaceTerminating")
}

/// Tells what this decision changes of a Model: one Event for each change of phase, reason or attempt, one when earlier
/// content could not be removed, one when a claim is taken over, one for each damage that a check found and one for what the source was found to have newer,
/// none for a mere pass.
///
/// It comes before the status that it tells of: a controller that dies in between tells it again, under the same name. The
/// other way round the change would be recorded, and nobody would ever tell it.
pub(crate) async fn publish(context: &Context, model: &Model, status: &ModelStatus, decision: &Decision) {
    let (before, after) = (model.status.as_ref().map(word), word(status));
    let action = decision.phase.as_str();
    if decision.adopts {
        let note = "an earlier Model of this name left the claim: it is taken over, and what lies on it is read in full \
                    before it is offered";
        let name = event_name(model, &Reason::ClaimAdopted.as_str());
        send(context, model, &name, Reason::ClaimAdopted, Some(note), action).await;
    }
    if before.as_ref() != Some(&after) {
        let name = event_name(model, &(&before, &after));
        send(context, model, &name, decision.reason, status.message.as_deref(), action).await;
    }
    let failed = |status: &ModelStatus| status.conditions.iter().find(|known| known.type_ == PRUNE_FAILED).cloned();
    if let (None, Some(failure)) = (model.status.as_ref().and_then(failed), failed(status)) {
        let name = event_name(model, &(PRUNE_FAILED, &failure.message));
        send(context, model, &name, Reason::PruneFailed, Some(&failure.message), action).await;
    }
    if let Some(found) = damage(model.status.as_ref(), status) {
        let name = event_name(model, &(Reason::ContentDamaged.as_str(), &found.request));
        send(context, model, &name, Reason::ContentDamaged, found.message.as_deref(), action).await;
    }
    if let Some((news, reason, message)) = of_source(model.status.as_ref(), status) {
        send(context, model, &event_name(model, &news), reason, Some(&message), "Check").await;
    }
}

async fn send(context: &Context, model: &Model, name: &str, reason: Reason, note: Option<&str>, action: &str) {
    let (regarding, is_trouble) = (model.object_ref(&()), reason.is_trouble());
    tell(&context.client, &Told { regarding, name, action, reason: reason.as_str(), note, is_trouble }).await;
}

/// What is worth an Event when it changes: the phase, what became of the wanted content, and which download that was.
#[derive(PartialEq, Hash)]
struct Word<'a> {
    phase: Option<&'static str>,
    reason: Option<&'a str>,
    download: Option<(&'a str, i32)>,
}

fn word(status: &ModelStatus) -> Word<'_> {
    let downloaded = status.conditions.iter().find(|condition| condition.type_ == DOWNLOADED);
    Word {
        phase: status.phase.map(Phase::as_str),
        reason: downloaded.map(|condition| condition.reason.as_str()),
        download: status.download.as_ref().map(|download| (download.id.as_str(), download.attempt)),
    }
}

/// What a check found that is not as it was published, where that is news.
fn damage(before: Option<&ModelStatus>, after: &ModelStatus) -> Option<Verification> {
    let damaged = |status: &ModelStatus| {
        let check = status.verification.clone();
        check.filter(|check| check.result == VerificationResult::Damaged)
    };
    let known = before.and_then(damaged).map(|known| known.request);
    damaged(after).filter(|found| known.as_ref() != Some(&found.request))
}

/// What came of asking the source for newer content, where that is news: newer content once, and why it could not be asked
/// wherever that is another reason than before. First what makes it the same news.
fn of_source(before: Option<&ModelStatus>, after: &ModelStatus) -> Option<([Option<String>; 3], Reason, String)> {
    let newer = |status: &ModelStatus| {
        let condition = status.conditions.iter().find(|condition| condition.type_ == UP_TO_DATE)?;
        let found =
            status.check.as_ref()?.found.as_ref().filter(|_| condition.reason == Reason::NewRevision.as_str())?;
        let news = [Some(found.id.clone()), found.resolved_revision.clone(), found.listing.clone()];
        Some((news, condition.message.clone()))
    };
    if let Some((news, message)) = newer(after)
        && before.and_then(newer).is_none_or(|(known, _)| known != news)
    {
        return Some((news, Reason::NewRevision, message));
    }
    let (check, known) = (after.check.as_ref()?, before.and_then(|status| status.check.as_ref()));
    let failure = check.last_failure.as_ref()?;
    if known.and_then(|known| known.last_failure.as_ref()).is_some_and(|known| known.reason == failure.reason) {
        return None;
    }
    let asked_before = known.and_then(|known| known.checked_at.as_ref()).map(|time| time.0.to_string());
    let news = [Some(failure.reason.as_str().to_owned()), asked_before, check.job.clone()];
    Some((news, failure.reason, format!("the source could not be asked for newer content: {}", failure.message)))
}

/// The same change in the same attempt at the same content has the same name: what goes back and forth is told once.
fn event_name(model: &Model, change: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    (model.uid(), model.metadata.generation, change).hash(&mut hasher);
    format!("{}.{:016x}", model.name_any(), hasher.finish())
}

fn bounded(message: &str) -> String {
    let mut end = message.len().min(MAX_NOTE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nobody_misses_an_event_in_a_namespace_that_goes() {
        let answer = |code: u16, reason: &str, details: serde_json::Value| {
            let status = json!({
                "status": "Failure", "code": code, "reason": reason, "message": "no", "details": details,
            });
            kube::Error::Api(serde_json::from_value(status).unwrap())
        };
        let going = json!({ "kind": "events", "causes": [{
            "reason": "NamespaceTerminating", "message": "namespace a is being terminated", "field": "metadata.namespace",
        }] });
        for (case, error, goes) in [
            ("it is being deleted", answer(403, "Forbidden", going), true),
            ("it is gone", answer(404, "NotFound", json!({ "kind": "namespaces" })), true),
            ("we may not", answer(403, "Forbidden", json!({ "kind": "events" })), false),
            ("the API server is ill", answer(500, "InternalError", json!({})), false),
        ] {
            assert_eq!(is_of_a_namespace_that_goes(&error), goes, "{case}");
        }
    }
}
