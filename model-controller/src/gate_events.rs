//! Events on gated pods: what they wait for, and how far that is.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::{Client, Resource, ResourceExt};
use model_core::pod_reason::PodReason;
use model_resources::gate::News;

use crate::events::{Told, tell};

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
        self.publish(pod, PodReason::ModelsReady, &News { message, key: String::new(), is_trouble: false }).await;
    }

    /// Publishes what was not told yet. An Event that cannot be published is logged, never a reason to look again.
    pub(crate) async fn publish(&self, pod: &Pod, reason: PodReason, news: &News) {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), event_name(pod, reason, news));
        let before = self.newest().insert(format!("{namespace}/{}", pod.name_any()), name.clone());
        if before.as_ref() == Some(&name) {
            return;
        }
        let told = Told {
            regarding: pod.object_ref(&()),
            name: &name,
            action: "Schedule",
            reason: reason.as_str(),
            note: Some(&news.message),
            is_trouble: news.is_trouble,
        };
        tell(&self.client, &told).await;
    }

    fn newest(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn event_name(pod: &Pod, reason: PodReason, news: &News) -> String {
    let mut hasher = DefaultHasher::new();
    (reason, &news.key).hash(&mut hasher);
    format!("{}.{:016x}", pod.uid().unwrap_or_default(), hasher.finish())
}
