//! What a watch has told of the children of one kind, kept as text.
//!
//! A cache holds every object for as long as there is one, and a pass reads a few of them. As values of the Kubernetes
//! types a claim and its Job take 10 kB, most of it room for fields that they do not have. As JSON they take 2 kB, and some
//! microseconds to read.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Resource;
use kube::runtime::watcher::Event;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// Objects by namespace and name.
type Objects = BTreeMap<Box<str>, BTreeMap<Box<str>, Kept>>;

#[derive(Debug)]
struct Kept {
    text: Box<[u8]>,
    is_at_work: bool,
}

/// The objects of one kind that a watch has told of, as `W`. They are read as `K`. Clones share the same.
#[derive(Debug)]
pub(crate) struct Cache<W, K = W>(Arc<Shared<W, K>>);

#[derive(Debug)]
struct Shared<W, K> {
    told: Mutex<Told>,
    is_at_work: fn(&W) -> bool,
    filled: watch::Sender<bool>,
    read_as: PhantomData<fn() -> K>,
}

#[derive(Debug, Default)]
struct Told {
    objects: Objects,
    /// What a list that is not whole yet has brought so far.
    listed: Objects,
}

impl<W: Resource + Serialize, K: DeserializeOwned> Cache<W, K> {
    /// An empty one. `is_at_work` marks the objects that [`Cache::at_work`] gives, which are few among many.
    pub(crate) fn new(is_at_work: fn(&W) -> bool) -> Self {
        let (told, filled) = (Mutex::default(), watch::Sender::new(false));
        Self(Arc::new(Shared { told, is_at_work, filled, read_as: PhantomData }))
    }

    /// The object of this name.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<K> {
        self.told().objects.get(namespace)?.get(name).and_then(Kept::read)
    }

    /// All that are at work.
    pub(crate) fn at_work(&self) -> Vec<K> {
        let told = self.told();
        let objects = told.objects.values().flat_map(BTreeMap::values);
        objects.filter(|kept| kept.is_at_work).filter_map(Kept::read).collect()
    }

    /// Waits until the first list was heard.
    pub(crate) async fn filled(&self) {
        // Nobody closes what this cache holds itself.
        let _ = self.0.filled.subscribe().wait_for(|filled| *filled).await;
    }

    /// Takes in an event of the watch.
    pub(crate) fn heard(&self, event: &Event<W>) {
        let mut told = self.told();
        match event {
            Event::Apply(object) => self.keep(&mut told.objects, object),
            Event::Delete(object) => {
                let (namespace, name) = key(object);
                if let Some(of_namespace) = told.objects.get_mut(namespace) {
                    of_namespace.remove(name);
                    if of_namespace.is_empty() {
                        told.objects.remove(namespace);
                    }
                }
            }
            Event::Init => told.listed = Objects::new(),
            Event::InitApply(object) => self.keep(&mut told.listed, object),
            Event::InitDone => {
                told.objects = mem::take(&mut told.listed);
                self.0.filled.send_replace(true);
            }
        }
    }

    fn keep(&self, objects: &mut Objects, object: &W) {
        let (namespace, name) = key(object);
        // Each of these types has a form in JSON.
        let text = serde_json::to_vec(object).unwrap_or_default().into_boxed_slice();
        let kept = Kept { text, is_at_work: (self.0.is_at_work)(object) };
        match objects.get_mut(namespace) {
            Some(of_namespace) => of_namespace.insert(name.into(), kept),
            None => objects.entry(namespace.into()).or_default().insert(name.into(), kept),
        };
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn read<K: DeserializeOwned>(&self) -> Option<K> {
        // What was written from such an object reads as one.
        serde_json::from_slice(&self.text).ok()
    }
}

impl<W, K> Clone for Cache<W, K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

fn key(object: &impl Resource) -> (&str, &str) {
    let meta = object.meta();
    (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use k8s_openapi::api::batch::v1::Job;
    use serde_json::json;

    use super::*;

    fn job(namespace: &str, name: &str, active: i32) -> Job {
        let metadata = json!({
            "namespace": namespace, "name": name, "uid": "u", "labels": { "a": "\u{e9}\"" }, "annotations": { "b": "{}" },
            "creationTimestamp": "2026-01-01T00:00:00Z",
        });
        serde_json::from_value(json!({ "metadata": metadata, "status": { "active": active } })).unwrap()
    }

    #[test]
    fn a_cache_holds_what_the_watch_told_last() {
        let cache = Cache::<Job>::new(|job| job.status.as_ref().and_then(|status| status.active) == Some(1));
        let names = |jobs: Vec<Job>| -> Vec<String> { jobs.into_iter().filter_map(|job| job.metadata.name).collect() };
        assert_eq!(cache.filled().now_or_never(), None);
        cache.heard(&Event::Init);
        cache.heard(&Event::InitApply(job("a", "one", 1)));
        cache.heard(&Event::InitApply(job("b", "one", 0)));
        assert_eq!(cache.get("a", "one"), None, "the list is not whole");
        cache.heard(&Event::InitDone);
        assert_eq!(cache.filled().now_or_never(), Some(()));
        assert_eq!(cache.get("a", "one"), Some(job("a", "one", 1)), "as it was told");
        assert_eq!(cache.get("a", "two"), None);
        cache.heard(&Event::Apply(job("a", "two", 1)));
        cache.heard(&Event::Apply(job("a", "one", 0)));
        assert_eq!(names(cache.at_work()), ["two"]);
        cache.heard(&Event::Delete(job("a", "two", 1)));
        cache.heard(&Event::Delete(job("c", "two", 1)));
        assert_eq!(cache.get("a", "two"), None);
        // What went while nobody watched is not in the next list.
        cache.heard(&Event::Init);
        cache.heard(&Event::InitApply(job("a", "three", 1)));
        assert_eq!(cache.get("b", "one"), Some(job("b", "one", 0)));
        cache.heard(&Event::InitDone);
        assert_eq!(cache.get("b", "one"), None);
        assert_eq!(names(cache.clone().at_work()), ["three"]);
    }
}
