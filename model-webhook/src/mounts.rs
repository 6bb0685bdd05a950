//! Which pods mount which Models: two watches of the metadata of the pods that the webhook marked.

use std::collections::BTreeMap;
use std::future::Future;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use model_core::labels::inject::INJECTED;
use model_core::labels::{GROUP, SPECIFICATION_PREFIX};
use model_resources::inject::asks_for;
use model_watch::{Namespaces, with_causes};

use crate::cache::WATCH_SECONDS;

type PodMetadata = PartialObjectMeta<Pod>;
/// Names of Models by namespace and pod. No pod in it has an empty list.
type Pods = BTreeMap<(String, String), Vec<String>>;

/// The prefixes that the label of an injected pod can have. A label selector knows no "or", so each is a watch.
const PREFIXES: [&str; 2] = [GROUP, SPECIFICATION_PREFIX];

/// Which pods of the watched namespaces mount which Models, in memory. Clones share the same memory.
///
/// A pod counts from its creation until it has ended: also one that waits. Of each, its name and those of its Models are
/// kept, and nothing else. Pods that mount a Model's claim without having asked for the Model are not known.
#[derive(Clone, Debug, Default)]
pub struct Mounts {
    known: Arc<[Mutex<Known>; PREFIXES.len()]>,
    /// How many of the watches have read their first list.
    filled: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Known {
    pods: Pods,
    /// What a list that has not ended has told so far.
    listed: Pods,
    was_listed: bool,
}

impl Mounts {
    /// An empty cache, and the task that fills it and keeps it current for as long as it is polled.
    ///
    /// Errors of the watches are logged and tried again, with a growing delay.
    pub fn watch(client: &Client, namespaces: &Namespaces) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let mounts = Self::default();
        let filled = mounts.clone();
        let [ours, theirs] = PREFIXES.map(|prefix| events(client, namespaces, prefix));
        let follow = async move {
            tokio::join!(filled.follow(0, ours), filled.follow(1, theirs));
        };
        (mounts, follow)
    }

    /// Whether the first complete lists have been read.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Acquire) == PREFIXES.len()
    }

    /// Names of the pods that mount this Model, in their order.
    #[must_use]
    pub fn of(&self, namespace: &str, model: &str) -> Vec<String> {
        let mut pods = Vec::new();
        for prefix in 0..PREFIXES.len() {
            let known = self.known(prefix);
            let of_namespace = known.pods.range((namespace.to_owned(), String::new())..);
            let of_namespace = of_namespace.take_while(|((of, _), _)| of == namespace);
            let mounting = of_namespace.filter(|(_, models)| models.iter().any(|name| name == model));
            pods.extend(mounting.map(|((_, pod), _)| pod.clone()));
        }
        pods.sort_unstable();
        pods.dedup();
        pods
    }

    async fn follow(
        &self,
        prefix: usize,
        events: impl Stream<Item = Result<watcher::Event<PodMetadata>, watcher::Error>> + Send,
    ) {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.heard(prefix, event),
                Err(error) => {
                    let error = with_causes(&error);
                    tracing::warn!(error, "could not watch pods with models; trying again");
                }
            }
        }
    }

    /// Takes in what a watch tells.
    fn heard(&self, prefix: usize, event: watcher::Event<PodMetadata>) {
        let known = &mut *self.known(prefix);
        match event {
            watcher::Event::Apply(pod) => insert(&mut known.pods, &pod),
            watcher::Event::Delete(pod) => {
                known.pods.remove(&key(&pod));
            }
            watcher::Event::Init => known.listed.clear(),
            watcher::Event::InitApply(pod) => insert(&mut known.listed, &pod),
            watcher::Event::InitDone => {
                known.pods = mem::take(&mut known.listed);
                if !mem::replace(&mut known.was_listed, true) {
                    self.filled.fetch_add(1, Ordering::Release);
                }
            }
        }
    }

    fn known(&self, prefix: usize) -> MutexGuard<'_, Known> {
        self.known[prefix].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(pod: &PodMetadata) -> (String, String) {
    (pod.namespace().unwrap_or_default(), pod.name_any())
}

/// Annotations of a living pod can change, so that it mounts nothing that we know of any more.
fn insert(pods: &mut Pods, pod: &PodMetadata) {
    let models = asks_for(pod.annotations());
    if models.is_empty() {
        pods.remove(&key(pod));
    } else {
        pods.insert(key(pod), models);
    }
}

/// A pod that has ended mounts nothing any more, so it leaves the watch like one that was deleted.
fn events(
    client: &Client,
    namespaces: &Namespaces,
    prefix: &str,
) -> impl Stream<Item = Result<watcher::Event<PodMetadata>, watcher::Error>> + Send + use<> {
    let injected = watcher::Config::default()
        .labels(&format!("{prefix}/{INJECTED}=true"))
        .fields("status.phase!=Succeeded,status.phase!=Failed")
        .timeout(WATCH_SECONDS);
    namespaces.watch(client, injected)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, models: &str) -> PodMetadata {
        let annotations = json!({ "models.main-currents.news/inject": models });
        let metadata = json!({ "name": name, "namespace": "team-a", "annotations": annotations });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    #[test]
    fn pods_of_both_prefixes_are_one_answer() {
        let mounts = Mounts::default();
        assert!(!mounts.is_filled());
        mounts.heard(0, Event::Init);
        mounts.heard(0, Event::InitApply(pod("b", "llama, other")));
        assert_eq!(mounts.of("team-a", "llama"), [""; 0], "a list counts when it is whole");
        mounts.heard(0, Event::InitDone);
        assert!(!mounts.is_filled(), "the other one is not read yet");
        for event in
            [Event::Init, Event::InitApply(pod("a", "llama")), Event::InitApply(pod("b", "llama")), Event::InitDone]
        {
            mounts.heard(1, event);
        }
        assert!(mounts.is_filled());
        assert_eq!(mounts.of("team-a", "llama"), ["a", "b"]);
        assert_eq!(mounts.of("team-a", "other"), ["b"]);
        for (namespace, model) in [("team-a", "none"), ("team", "llama"), ("team-b", "llama")] {
            assert_eq!(mounts.of(namespace, model), [""; 0], "{namespace}/{model}");
        }
    }

    #[test]
    fn a_pod_that_goes_or_asks_for_nothing_any_more_is_forgotten() {
        let mounts = Mounts::default();
        for name in ["a", "b", "c"] {
            mounts.heard(0, Event::Apply(pod(name, "llama")));
        }
        mounts.heard(0, Event::Delete(pod("a", "llama")));
        mounts.heard(0, Event::Apply(pod("b", "../llama")));
        assert_eq!(mounts.of("team-a", "llama"), ["c"]);
        // What went while nobody watched is missing in the next list.
        mounts.heard(0, Event::Init);
        mounts.heard(0, Event::InitDone);
        assert_eq!(mounts.of("team-a", "llama"), [""; 0]);
    }
}
