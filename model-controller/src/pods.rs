//! The pods of our Jobs, by Model: each pass asks for those of one, and there may be ten thousand.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::watcher::Event;
use model_core::queue::Key;

use crate::cache::Cache;
use crate::children::model_of;
use crate::progress::is_download;
use crate::watched::WatchedPod;

/// Names of pods by namespace and Model. No set in it is empty.
type Names = BTreeMap<Key, BTreeSet<String>>;

/// The pods of our Jobs, by Model. Clones share the same memory.
#[derive(Clone)]
pub(crate) struct Pods {
    cache: Cache<WatchedPod, Pod>,
    told: Arc<Mutex<Told>>,
}

impl Default for Pods {
    /// None yet.
    fn default() -> Self {
        Self { cache: Cache::new(|pod| is_download(&pod.metadata, pod.status.as_ref())), told: Arc::default() }
    }
}

#[derive(Default)]
struct Told {
    names: Names,
    /// Those in a list that is not whole yet.
    listed: Names,
}

impl Pods {
    /// The pods of this Model's Jobs.
    pub(crate) fn of(&self, namespace: &str, model: &str) -> Vec<Pod> {
        let told = self.told();
        let of_model = told.names.get(&(namespace.to_owned(), model.to_owned()));
        let pod = |name: &String| self.cache.get(namespace, name);
        of_model.into_iter().flatten().filter_map(pod).collect()
    }

    /// The pods in which a download runs.
    pub(crate) fn downloading(&self) -> Vec<Pod> {
        self.cache.at_work()
    }

    /// Takes in an event of the watch.
    pub(crate) fn heard(&self, event: &Event<WatchedPod>) {
        self.cache.heard(event);
        let mut told = self.told();
        match event {
            Event::Apply(pod) => insert(&mut told.names, pod),
            Event::Delete(pod) => {
                let Some(key) = model_of(pod) else { return };
                let Some(of_model) = told.names.get_mut(&key) else { return };
                of_model.remove(&pod.name_any());
                if of_model.is_empty() {
                    told.names.remove(&key);
                }
            }
            Event::Init => told.listed = Names::new(),
            Event::InitApply(pod) => insert(&mut told.listed, pod),
            Event::InitDone => told.names = mem::take(&mut told.listed),
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert(names: &mut Names, pod: &WatchedPod) {
    if let Some(key) = model_of(pod) {
        names.entry(key).or_default().insert(pod.name_any());
    }
}

#[cfg(test)]
mod tests {
    use model_core::labels;
    use serde_json::json;

    use super::*;

    fn pod(namespace: &str, model: &str, name: &str) -> WatchedPod {
        let labels = json!({ labels::MODEL: model });
        serde_json::from_value(json!({ "metadata": { "name": name, "namespace": namespace, "labels": labels } }))
            .unwrap()
    }

    #[test]
    fn the_pods_of_a_model_are_those_that_the_watch_told_of() {
        let pods = Pods::default();
        let tell = |event: Event<WatchedPod>| pods.heard(&event);
        let found = |namespace: &str, model: &str| -> Vec<String> {
            pods.of(namespace, model).iter().map(ResourceExt::name_any).collect()
        };
        tell(Event::Init);
        tell(Event::InitApply(pod("a", "tiny", "tiny-1")));
        tell(Event::InitApply(pod("b", "tiny", "tiny-2")));
        tell(Event::InitDone);
        tell(Event::Apply(pod("a", "tiny", "tiny-3")));
        tell(Event::Apply(pod("a", "tiny-3", "other")));
        assert_eq!(found("a", "tiny"), ["tiny-1", "tiny-3"]);
        assert_eq!(found("b", "tiny"), ["tiny-2"]);
        assert_eq!(found("b", "large"), [""; 0]);
        tell(Event::Delete(pod("b", "tiny", "tiny-2")));
        assert_eq!(found("b", "tiny"), [""; 0]);
        // What went while nobody watched is not in the next list.
        tell(Event::Init);
        tell(Event::InitApply(pod("a", "tiny", "tiny-3")));
        tell(Event::InitDone);
        assert_eq!(found("a", "tiny"), ["tiny-3"]);
        assert_eq!(pods.told().names.len(), 1);
    }
}
