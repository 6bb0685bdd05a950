//! One pass over one Model: observe, decide, act.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use model_core::api::{Model, ModelStatus};
use model_core::decide::{Decision, Look, Write, decide};
use model_core::persisted::Persisted;
use model_core::status::status;
use model_watch::with_causes;

use crate::act::{Unwritten, write_children, write_status};
use crate::context::Context;
use crate::doubt::{Doubt, doubt};
use crate::downloads::Stand;
use crate::error::Error;
use crate::events;
use crate::metrics::PASS_OK;
use crate::observe::{Children, live_model};
use crate::watched_model::WatchedModel;

/// To be crossed by somebody else's writes is usual. A wait that has come to this says that somebody goes on writing against us.
const OFTEN: Duration = Duration::from_secs(8);

pub(crate) async fn reconcile(model: Arc<WatchedModel>, context: Arc<Context>) -> Result<Action, Error> {
    if !context.leadership.leads() {
        // Every Model is due when this replica begins to lead.
        return Ok(Action::await_change());
    }
    let begun = Instant::now();
    // A pass runs on a task of its own. One that the lease did not outlast is the next leader's.
    let Ok(action) = context.leadership.clone().while_held(pass(&model, &context)).await else {
        return Ok(Action::await_change());
    };
    let result = action.as_ref().map_or_else(Error::result, |_| PASS_OK);
    context.metrics.passed(result, begun.elapsed());
    if action.as_ref().is_err_and(Error::is_permanent) {
        context.downloads.is_gone(&model.namespace().unwrap_or_default(), &model.name_any());
    }
    action
}

async fn pass(model: &WatchedModel, context: &Context) -> Result<Action, Error> {
    // Boxed like the children.
    let read = Box::new(model.read().map_err(Error::Invalid)?);
    let model = &*read;
    let persisted = Persisted::try_from(model)?;
    let now = Timestamp::now();
    if model.metadata.deletion_timestamp.is_some() {
        // Owner references take the children away.
        context.downloads.is_gone(persisted.namespace, persisted.name);
        return Ok(Action::await_change());
    }
    let cached = Children::cached(context, &persisted);
    if let Some(lag) = context.own_writes.lag(&persisted, cached.versions(model), Instant::now()) {
        return Ok(Action::requeue(lag));
    }
    let next = Next::of(context, model, &persisted, &cached, now);
    let action = match next.doubt(model, &persisted, &cached, now) {
        Doubt::Nothing => {
            next.leave(context, &persisted);
            next.action(now)
        }
        // Boxed: most passes are over settled Models and should not pay for the size of this future.
        doubt => Box::pin(act(context, model, &persisted, cached, next, doubt, now)).await?,
    };
    context.backoff.succeeded(&key(model));
    Ok(action)
}

/// The caches ask for a change: looks at the API server itself, as far as there is doubt, decides again, and acts.
async fn act(
    context: &Context,
    cached: &Model,
    persisted: &Persisted<'_>,
    mut children: Children,
    next: Next,
    doubt: Doubt,
    now: Timestamp,
) -> Result<Action, Error> {
    if doubt == Doubt::First {
        match carry_out(context, cached, persisted, &children, &next, now).await {
            // There is something that no cache holds.
            Err(Error::Raced { .. }) => {}
            done => return done,
        }
    } else if doubt == Doubt::Download {
        let looked = children.look_at_download(&context.client, persisted).await;
        looked.map_err(|error| unread(context, persisted, error))?;
        let next = Next::of(context, cached, persisted, &children, now);
        if next.doubt(cached, persisted, &children, now) != Doubt::All {
            next.leave(context, persisted);
            return carry_out(context, cached, persisted, &children, &next, now).await;
        }
    }
    let live = live_model(&context.client, persisted).await;
    let live = live.map_err(|error| unread(context, persisted, error))?;
    let is_there = |model: &Model| model.metadata.deletion_timestamp.is_none() && model.uid() == cached.uid();
    let Some(model) = live.filter(is_there) else {
        // Nothing tells of it again, so it must not keep its place in the line.
        context.downloads.is_gone(persisted.namespace, persisted.name);
        return Ok(Action::await_change());
    };
    Box::pin(act_on_all(context, &model, now)).await
}

/// Looks at all children, decides, and acts. `model` was read from the API server before.
async fn act_on_all(context: &Context, model: &Model, now: Timestamp) -> Result<Action, Error> {
    let persisted = Persisted::try_from(model)?;
    let unread = |error: Error| unread(context, &persisted, error);
    let mut children = Box::pin(Children::live(&context.client, &persisted, now)).await.map_err(unread)?;
    let mut next = Next::of(context, model, &persisted, &children, now);
    while let Some(look) = next.decision.wants.first() {
        match look {
            Look::Class => children.look_at_class(&context.client).await.map_err(unread)?,
            Look::Users => children.look_at_users(&context.client, &persisted).await.map_err(unread)?,
        }
        next = Next::of(context, model, &persisted, &children, now);
    }
    // Not by the caches: they may not have seen the Job that the last pass made.
    next.leave(context, &persisted);
    if next.decision.writes.iter().any(Write::needs_the_newest_record) {
        let again = live_model(&context.client, &persisted).await.map_err(unread)?;
        if again.and_then(|again| again.resource_version()) != model.resource_version() {
            return Err(Error::Raced { doing: "decide on what is recorded" });
        }
    }
    carry_out(context, model, &persisted, &children, &next, now).await
}

/// What cannot be read cannot start: others go first. Where nobody answers, nobody else can start either.
fn unread(context: &Context, model: &Persisted, error: Error) -> Error {
    if error.is_answer() {
        context.downloads.is_gone(model.namespace, model.name);
    }
    error
}

/// Makes the writes of a decision, and records it.
async fn carry_out(
    context: &Context,
    model: &Model,
    persisted: &Persisted<'_>,
    children: &Children,
    next: &Next,
    now: Timestamp,
) -> Result<Action, Error> {
    let placement = children.placement.clone().unwrap_or_default();
    let written = write_children(context, persisted, &next.decision, children.claim.as_deref(), &placement).await;
    let Err(unwritten) = written else {
        record(context, model, next).await?;
        return Ok(next.action(now));
    };
    let Unwritten { write, error } = *unwritten;
    // Without an answer the Job may be there: the next look tells. One that somebody else made is seen in a moment.
    if write.takes_place() && error.is_answer() {
        context.downloads.leaves(persisted);
    }
    if let Error::Refused { doing, message } = &error {
        let seen = children.observed(context, persisted, now);
        let decision = next.decision.clone().refused(&seen, &write, format!("could not {doing}: {message}"), now);
        let status = status(&seen, &decision, now);
        record(context, model, &Next { decision, status, stand: next.stand }).await?;
    }
    Err(error)
}

async fn record(context: &Context, model: &Model, next: &Next) -> Result<(), Error> {
    if model.status.as_ref() == Some(&next.status) {
        return Ok(());
    }
    events::publish(context, model, &next.status, &next.decision).await;
    write_status(&context.client, model, &next.status).await?;
    context.own_writes.recorded(model);
    context.metrics.recorded(model.status.as_ref(), &next.status);
    let (phase, reason) = (next.decision.phase.as_str(), next.decision.reason.as_str());
    tracing::info!(model = %key(model), phase, reason, progress = next.status.progress, "recorded");
    Ok(())
}

/// A decision and the status that it leads to.
struct Next {
    decision: Decision,
    status: ModelStatus,
    stand: Stand,
}

impl Next {
    fn of(context: &Context, model: &Model, persisted: &Persisted, children: &Children, now: Timestamp) -> Self {
        let mut seen = children.observed(context, persisted, now);
        let mut decision = decide(&seen, now);
        let stand = Stand::of(&seen, &decision);
        seen.queue = context.downloads.place(model, stand);
        seen.checks_full = stand == Stand::AsksToCheck && !context.downloads.may_check(model);
        if seen.queue.is_some() || seen.checks_full {
            decision = decide(&seen, now);
        }
        let status = status(&seen, &decision, now);
        Self { decision, status, stand }
    }

    /// What has to be read before this is acted on, if `children` are from caches.
    fn doubt(&self, model: &Model, persisted: &Persisted, children: &Children, now: Timestamp) -> Doubt {
        let Decision { writes, wants, .. } = &self.decision;
        let is_settled = writes.is_empty() && wants.is_empty() && model.status.as_ref() == Some(&self.status);
        doubt(persisted, children, (writes, wants), is_settled, now)
    }

    /// Gives the place in the line up, where it is of no use.
    fn leave(&self, context: &Context, model: &Persisted) {
        if self.stand == Stand::Leaves {
            context.downloads.leaves(model);
        }
    }

    fn action(&self, now: Timestamp) -> Action {
        match self.decision.look_again {
            Some(when) => {
                let wait = Duration::try_from(when.duration_since(now)).unwrap_or_default();
                Action::requeue(wait)
            }
            None => Action::await_change(),
        }
    }
}

/// What to do after a pass that stopped.
pub(crate) fn after_error(model: &WatchedModel, error: &Error, context: &Context) -> Action {
    let key = key(model);
    let told = with_causes(error);
    if error.is_permanent() {
        tracing::error!(model = %key, error = told, "waiting for a change of the Model");
        return Action::await_change();
    }
    let wait = context.backoff.failed(&key);
    if let Error::Raced { .. } = error
        && wait < OFTEN
    {
        tracing::debug!(model = %key, error = told, "looking again");
        // What crossed it is mostly over.
        return Action::requeue(wait / 2);
    }
    tracing::warn!(model = %key, error = told, ?wait, "trying again");
    Action::requeue(wait)
}

fn key(model: &impl ResourceExt) -> String {
    format!("{}/{}", model.namespace().unwrap_or_default(), model.name_any())
}
