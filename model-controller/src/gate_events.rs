//! Events on gated pods: what they wait for, and how far that is.
//!
//! The name of an Event follows from the pod and what is told, so nothing is told twice, also not after a restart or by
//! a second controller.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use kube::{Client, Resource, ResourceExt};
use model_resources::gate::News;

use crate::controller::REPORTER;
use crate::events::bounded;

/// The reason of an Event on a pod.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Word {
    /// A Model is not Ready.
    WaitingForModel,
    /// A Model is not there any more.
    ModelGone,
    /// The content that the pod mounts will not be published.
    ContentSuperseded,
    /// Everything is published, and the pod may be scheduled.
    ModelsReady,
}

/// Publishes Events, none twice.
pub(crate) struct GateEvents {
    client: Client,
    /// Name of the newest Event, by `namespace/name` of the pod: spares the API server most questions.
    newest: Mutex<HashMap<String, String>>,
}

impl GateEvents {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, newest: Mutex::default() }
    }

    /// Forgets a pod that is gone.
    pub(crate) fn forget(&self, pod: &str) {
        self.newest().remove(pod);
    }

    /// Tells that the pod may be scheduled.
    pub(crate) async fn publish_ready(&self, pod: &Pod) {
        let message = "all models of the pod are published: it may be scheduled".to_owned();
        self.publish(pod, Word::ModelsReady, &News { message, key: String::new(), is_trouble: false }).await;
    }

    /// Publishes what was not told yet. An Event that cannot be published is logged, never a reason to look again.
    pub(crate) async fn publish(&self, pod: &Pod, word: Word, news: &News) {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), event_name(pod, word, news));
        let before = self.newest().insert(format!("{namespace}/{}", pod.name_any()), name.clone());
        if before.as_ref() == Some(&name) {
            return;
        }
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        match events.create(&PostParams::default(), &event(pod, name, word, news)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => tracing::warn!(pod = %pod.name_any(), %error, "could not publish an Event"),
        }
    }

    fn newest(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn event_name(pod: &Pod, word: Word, news: &News) -> String {
    let mut hasher = DefaultHasher::new();
    (word, &news.key).hash(&mut hasher);
    format!("{}.{:016x}", pod.uid().unwrap_or_default(), hasher.finish())
}

fn event(pod: &Pod, name: String, word: Word, news: &News) -> Event {
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: pod.namespace(), ..ObjectMeta::default() },
        action: Some("Schedule".to_owned()),
        event_time: Some(MicroTime(Timestamp::now())),
        note: Some(bounded(&news.message)),
        reason: Some(format!("{word:?}")),
        regarding: Some(pod.object_ref(&())),
        reporting_controller: Some(REPORTER.to_owned()),
        reporting_instance: Some(REPORTER.to_owned()),
        type_: Some(if news.is_trouble { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    }
}
