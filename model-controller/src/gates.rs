//! Pods that wait for their models are let go once these are published.
//!
//! One watch of the pods that the webhook gated, whole, because gates and mounts are not in the metadata. A pod is looked
//! at when it changes and when a Model that it waits for does: no timers, and nothing to remember over a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::controller::{Action, Error as ControllerError};
use kube::runtime::reflector::{ObjectRef, Store, reflector, store};
use kube::runtime::{Config, Controller, WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use model_core::api::Model;
use model_core::labels::{FIELD_MANAGER, GATED};
use model_core::pod_reason::PodReason;
use model_resources::gate::{Verdict, awaited, judge, lift};
use model_watch::{Namespaces, with_causes};

use crate::backoff::Backoff;
use crate::controller::watch;
use crate::error::Error;
use crate::gate_events::GateEvents;
use crate::leader::Leadership;
use crate::watched_model::WatchedModel;

/// Pods that are looked at at once. Each look writes at most twice.
const CONCURRENCY: u16 = 16;

/// The Models that a pod may wait for, by name. One that is not there, or cannot be read, is left out.
type Models = BTreeMap<String, Model>;

/// What the watch of Models tells the gates.
pub(crate) enum News {
    /// This one changed or went.
    Of(ObjectRef<WatchedModel>),
    /// All were listed: any may have changed, or gone, while nobody watched.
    OfAll,
}

/// Passes an event of the watch on, once the cache of Models has it.
pub(crate) fn pass_on(event: &Result<watcher::Event<WatchedModel>, watcher::Error>, gates: &UnboundedSender<News>) {
    let news = match event {
        Ok(watcher::Event::Apply(model) | watcher::Event::Delete(model)) => News::Of(ObjectRef::from_obj(model)),
        Ok(watcher::Event::InitDone) => News::OfAll,
        Ok(watcher::Event::Init | watcher::Event::InitApply(_)) | Err(_) => return,
    };
    // The receiver goes only when the controller ends.
    let _ = gates.unbounded_send(news);
}

/// What every look shares.
struct Gates {
    client: Client,
    models: Store<WatchedModel>,
    events: GateEvents,
    backoff: Backoff,
    leadership: Leadership,
}

/// Looks after gated pods for ever. `models` is the cache that `news` speaks of. A replica that does not lead watches
/// them only, so that it can let them go at once when it does.
pub(crate) async fn lift_gates(
    client: Client,
    namespaces: Namespaces,
    models: Store<WatchedModel>,
    mut news: UnboundedReceiver<News>,
    leadership: Leadership,
) {
    // Before the first list, a Model that is missing proves nothing.
    while !matches!(news.next().await, Some(News::OfAll) | None) {}
    let (pods, writer) = store();
    let waiting = watcher::Config::default().labels(&format!("{GATED}=true"));
    let (whole, lists) = unbounded();
    // Until a list is whole, the store does not have what it brings.
    let tell_whole = move |event: &watcher::Result<watcher::Event<Pod>>| {
        if matches!(event, Ok(watcher::Event::InitDone)) {
            let _ = whole.unbounded_send(());
        }
    };
    let changes = reflector(writer, watch::<Pod>(&client, &namespaces, waiting)).inspect(tell_whole);
    let known = pods.clone();
    let touched = news.flat_map(move |news| stream::iter(pods_of(&known, &news)));
    let begins = leadership.clone().begins();
    let events = GateEvents::new(client.clone());
    let gates = Arc::new(Gates { client, models, events, backoff: Backoff::default(), leadership });
    Controller::for_stream(changes.touched_objects(), pods)
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_on(touched)
        .reconcile_all_on(begins)
        .reconcile_all_on(lists)
        .run(look, |pod, error, gates| after_error(&pod, error, &gates), gates.clone())
        .for_each(|look| {
            match look {
                // Failed looks were logged with their pod.
                Ok(_) | Err(ControllerError::ReconcilerFailed(..)) => {}
                Err(ControllerError::ObjectNotFound(pod)) => {
                    let key = format!("{}/{}", pod.namespace.unwrap_or_default(), pod.name);
                    gates.events.forget(&key);
                    gates.backoff.succeeded(&key);
                }
                Err(error) => {
                    let error = with_causes(&error);
                    tracing::warn!(error, "the watch of gated pods broke off; it goes on");
                }
            }
            std::future::ready(())
        })
        .await;
}

/// The gated pods that the news is for.
fn pods_of(pods: &Store<Pod>, news: &News) -> Vec<ObjectRef<Pod>> {
    let is_meant = |pod: &&Arc<Pod>| match news {
        News::OfAll => true,
        News::Of(model) => {
            pod.metadata.namespace == model.namespace && awaited(pod).iter().any(|content| content.model == model.name)
        }
    };
    pods.state().iter().filter(is_meant).map(|pod| ObjectRef::from_obj(&**pod)).collect()
}

async fn look(pod: Arc<Pod>, gates: Arc<Gates>) -> Result<Action, Error> {
    if gates.leadership.leads() {
        // A look that the lease did not outlast is the next leader's.
        let looked = gates.leadership.clone().while_held(act(&pod, &gates)).await;
        looked.unwrap_or(Ok(()))?;
    }
    Ok(Action::await_change())
}

async fn act(pod: &Pod, gates: &Gates) -> Result<(), Error> {
    match verdict(pod, &gates.cached(pod)) {
        Verdict::NotGated => {}
        Verdict::Lift => gates.lift(pod).await?,
        Verdict::Wait(news) => gates.events.publish(pod, PodReason::WaitingForModel, &news).await,
        Verdict::Gone(news) => gates.events.publish(pod, PodReason::ModelGone, &news).await,
        Verdict::Superseded(_) => gates.replace(pod).await?,
    }
    gates.backoff.succeeded(&key(pod));
    Ok(())
}

fn verdict(pod: &Pod, models: &Models) -> Verdict {
    judge(pod, |name| models.get(name))
}

impl Gates {
    /// The Models that the pod waits for, as the watch cache holds them.
    fn cached(&self, pod: &Pod) -> Models {
        let namespace = pod.namespace().unwrap_or_default();
        let model = |name: &str| self.models.get(&ObjectRef::new(name).within(&namespace))?.read().ok();
        let named = |name: String| model(&name).map(|model| (name, model));
        awaited(pod).into_iter().filter_map(|content| named(content.model)).collect()
    }

    /// The Models that the pod waits for, as the API server holds them now.
    async fn live(&self, pod: &Pod) -> Result<Models, Error> {
        let api: Api<WatchedModel> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let mut models = Models::new();
        for content in awaited(pod) {
            let found = api.get_opt(&content.model).await.map_err(|error| Error::api("read the Model", error))?;
            models.extend(found.and_then(|model| model.read().ok()).map(|model| (content.model, model)));
        }
        Ok(models)
    }

    async fn lift(&self, pod: &Pod) -> Result<(), Error> {
        let Some(patch) = lift(pod) else { return Ok(()) };
        // Told first: nobody looks again at a pod without a gate.
        self.events.publish_ready(pod).await;
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.pods(pod).patch_metadata(&pod.name_any(), &params, &Patch::<()>::Json(patch)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            Err(error) => return Err(Error::api("take the gate off the pod", error)),
        }
        tracing::info!(pod = %key(pod), "lifted the gate");
        Ok(())
    }

    /// Tells that the pod's content will not come, and deletes the pod where its controller makes a new one.
    ///
    /// The Models are read anew, so that no cache that lags behind costs a pod.
    async fn replace(&self, pod: &Pod) -> Result<(), Error> {
        let Verdict::Superseded(news) = verdict(pod, &self.live(pod).await?) else { return Ok(()) };
        self.events.publish(pod, PodReason::ContentSuperseded, &news).await;
        if !pod.owner_references().iter().any(|owner| owner.controller == Some(true)) {
            return Ok(());
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: pod.uid(), resource_version: pod.resource_version() }),
            ..DeleteParams::default()
        };
        match self.pods(pod).delete(&pod.name_any(), &params).await {
            Ok(_) => tracing::info!(pod = %key(pod), "deleted a gated pod whose content was superseded"),
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(Error::api("delete the pod whose content was superseded", error)),
        }
        Ok(())
    }

    fn pods(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default())
    }
}

/// A pod that changed meanwhile is looked at again for that change already; the wait is for all other failures.
fn after_error(pod: &Pod, error: &Error, gates: &Gates) -> Action {
    let key = key(pod);
    let wait = gates.backoff.failed(&key);
    tracing::warn!(pod = %key, error = with_causes(error), ?wait, "trying again");
    Action::requeue(wait)
}

fn key(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}
