//! The pods of our Jobs, by Model: each pass asks for those of one, and there may be ten thousand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use model_core::labels;

/// Names of pods by namespace and Model. No set in it is empty.
type Names = BTreeMap<(String, String), BTreeSet<String>>;

/// The pods of our Jobs, by Model. Clones share the same memory.
#[derive(Clone)]
pub(crate) struct Pods {
    cache: Store<Pod>,
    names: Arc<Mutex<Names>>,
}

impl Pods {
    /// Those in this cache, as far as [`Pods::heard`] is told of them.
    pub(crate) fn new(cache: Store<Pod>) -> Self {
        Self { cache, names: Arc::default() }
    }

    /// The pods of this Model's Jobs.
    pub(crate) fn of(&self, namespace: &str, model: &str) -> Vec<Arc<Pod>> {
        let names = self.names();
        let of_model = names.get(&(namespace.to_owned(), model.to_owned()));
        let pod = |name: &String| self.cache.get(&ObjectRef::new(name).within(namespace));
        of_model.into_iter().flatten().filter_map(pod).collect()
    }

    /// Takes in an event of the watch, once the cache has it.
    pub(crate) fn heard(&self, event: &Event<Pod>) {
        let mut names = self.names();
        match event {
            Event::Apply(pod) => insert(&mut names, pod),
            Event::Delete(pod) => {
                let Some(key) = model_of(pod) else { return };
                let Some(of_model) = names.get_mut(&key) else { return };
                of_model.remove(&pod.name_any());
                if of_model.is_empty() {
                    names.remove(&key);
                }
            }
            // The cache holds what was listed from here on, and nothing else.
            Event::InitDone => {
                names.clear();
                self.cache.state().iter().for_each(|pod| insert(&mut names, pod));
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert(names: &mut Names, pod: &Pod) {
    if let Some(key) = model_of(pod) {
        names.entry(key).or_default().insert(pod.name_any());
    }
}

fn model_of(pod: &Pod) -> Option<(String, String)> {
    Some((pod.namespace()?, pod.labels().get(labels::MODEL)?.clone()))
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::store;
    use serde_json::json;

    use super::*;

    fn pod(namespace: &str, model: &str, name: &str) -> Pod {
        let labels = json!({ labels::MODEL: model });
        serde_json::from_value(json!({ "metadata": { "name": name, "namespace": namespace, "labels": labels } }))
            .unwrap()
    }

    #[test]
    fn the_pods_of_a_model_are_those_that_the_watch_told_of() {
        let (cache, mut writer) = store();
        let pods = Pods::new(cache);
        let mut tell = |event: Event<Pod>| {
            writer.apply_watcher_event(&event);
            pods.heard(&event);
        };
        let found = |namespace: &str, model: &str| -> Vec<String> {
            pods.of(namespace, model).iter().map(|pod| pod.name_any()).collect()
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
        assert_eq!(pods.names().len(), 1);
    }
}
