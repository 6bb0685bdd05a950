//! Events on a Model: one for each change of phase or reason and each damage that a check found, none for a mere
//! pass.

use kube::Resource;
use kube::runtime::events::{Event, EventType};
use model_core::api::{Model, ModelStatus, Verification, VerificationResult};
use model_core::decide::Decision;
use model_core::reason::Reason;
use model_core::status::{DOWNLOADED, PRUNE_FAILED};

use crate::context::Context;

/// Longest note in bytes: the API server takes 1024.
const MAX_NOTE: usize = 1000;

/// Publishes what changed. An Event that cannot be published is logged, never a reason to repeat the pass.
pub(crate) async fn publish(context: &Context, model: &Model, status: &ModelStatus, decision: &Decision) {
    let action = decision.phase.as_str();
    if is_news(model.status.as_ref(), status) {
        send(context, model, decision.reason, status.message.as_deref(), action).await;
    }
    let failed = |status: &ModelStatus| status.conditions.iter().find(|known| known.type_ == PRUNE_FAILED).cloned();
    if let (None, Some(failure)) = (model.status.as_ref().and_then(failed), failed(status)) {
        send(context, model, Reason::PruneFailed, Some(&failure.message), action).await;
    }
    if let Some(found) = damage(model.status.as_ref(), status) {
        send(context, model, Reason::ContentDamaged, found.message.as_deref(), action).await;
    }
}

async fn send(context: &Context, model: &Model, reason: Reason, note: Option<&str>, action: &str) {
    let event = Event {
        type_: if reason.is_trouble() { EventType::Warning } else { EventType::Normal },
        reason: reason.as_str().to_owned(),
        note: note.map(bounded),
        action: action.to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, &model.object_ref(&())).await {
        tracing::warn!(%error, "could not publish an Event");
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

fn is_news(before: Option<&ModelStatus>, after: &ModelStatus) -> bool {
    let word = |status: &ModelStatus| {
        let downloaded = status.conditions.iter().find(|condition| condition.type_ == DOWNLOADED);
        (status.phase, downloaded.map(|condition| condition.reason.clone()))
    };
    before.map(word) != Some(word(after))
}

pub(crate) fn bounded(message: &str) -> String {
    let mut end = message.len().min(MAX_NOTE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].to_owned()
}
