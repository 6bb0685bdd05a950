//! Which pods may write to which Models: one watch of the metadata of the pods that the webhook marked.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::mpsc::UnboundedSender;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use model_core::labels::WRITABLE;
use model_resources::inject::writes_to;
use model_watch::Namespaces;
use tokio::sync::Notify;

use crate::controller::WATCH_SECONDS;
use crate::watched_model::WatchedModel;

pub(crate) type PodMetadata = PartialObjectMeta<Pod>;
/// Models by namespace and pod. No pod in it has an empty list.
type Pods = BTreeMap<(String, String), Vec<String>>;

/// Which pods may write to which Models. Clones share the same memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writers(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    pods: Pods,
    /// What a list that has not ended has told so far.
    listed: Pods,
}

impl Writers {
    /// The first pod by name that may write to this Model.
    pub(crate) fn of(&self, namespace: &str, model: &str) -> Option<String> {
        let known = self.known();
        let of_namespace = known.pods.range((namespace.to_owned(), String::new())..);
        of_namespace
            .take_while(|((of, _), _)| of == namespace)
            .find(|(_, models)| models.iter().any(|name| name == model))
            .map(|((_, pod), _)| pod.clone())
    }

    /// Takes in what the watch tells, and gives each Model that it may be news for.
    ///
    /// A pod that names other Models than before is news for both, and so is one that went while nobody watched.
    fn heard(&self, event: watcher::Event<PodMetadata>) -> Vec<ObjectRef<WatchedModel>> {
        let known = &mut *self.known();
        let mut news = Pods::new();
        match event {
            watcher::Event::Apply(pod) => {
                let (key, models) = entry(&pod);
                let before = known.pods.remove(&key).unwrap_or_default();
                news.insert(key.clone(), [before, models.clone()].concat());
                insert(&mut known.pods, key, models);
            }
            watcher::Event::Delete(pod) => {
                let (key, _) = entry(&pod);
                news.extend(known.pods.remove_entry(&key));
            }
            watcher::Event::Init => known.listed.clear(),
            watcher::Event::InitApply(pod) => {
                let (key, models) = entry(&pod);
                insert(&mut known.listed, key, models);
            }
            watcher::Event::InitDone => {
                let before = mem::replace(&mut known.pods, mem::take(&mut known.listed));
                news.clone_from(&known.pods);
                for (key, models) in before {
                    news.entry(key).or_default().extend(models);
                }
            }
        }
        let of_pod = |((namespace, _), models): ((String, String), Vec<String>)| {
            models.into_iter().map(move |model| ObjectRef::new(&model).within(&namespace))
        };
        news.into_iter().flat_map(of_pod).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(pod: &PodMetadata) -> ((String, String), Vec<String>) {
    ((pod.namespace().unwrap_or_default(), pod.name_any()), writes_to(pod.annotations()))
}

fn insert(pods: &mut Pods, key: (String, String), models: Vec<String>) {
    if !models.is_empty() {
        pods.insert(key, models);
    }
}

/// Watches for ever, and asks for a pass over each Model that has news. `listed` is told of each whole list.
pub(crate) async fn watch_writers(
    events: impl Stream<Item = Result<watcher::Event<PodMetadata>, watcher::Error>> + Send,
    writers: Writers,
    news: UnboundedSender<ObjectRef<WatchedModel>>,
    listed: Arc<Notify>,
) {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(%error, "the watch of pods that may write broke off; it goes on");
                continue;
            }
        };
        let whole = matches!(event, watcher::Event::InitDone);
        for model in writers.heard(event) {
            // The receiver goes only when the controller ends.
            let _ = news.unbounded_send(model);
        }
        if whole {
            listed.notify_one();
        }
    }
}

/// The marked pods. One that has ended writes no more, so it leaves the watch like one that was deleted.
pub(crate) fn writer_events(
    client: &Client,
    namespaces: &Namespaces,
) -> impl Stream<Item = Result<watcher::Event<PodMetadata>, watcher::Error>> + Send + use<> {
    let marked = watcher::Config::default()
        .labels(&format!("{WRITABLE}=true"))
        .fields("status.phase!=Succeeded,status.phase!=Failed")
        .timeout(WATCH_SECONDS);
    namespaces.watch(client, marked)
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, models: &str, read_only: &str) -> PodMetadata {
        serde_json::from_value(json!({ "metadata": {
            "name": name, "namespace": "team-a",
            "annotations": { "models.main-currents.news/inject": models, "models.example.com/read-only": read_only },
        } }))
        .unwrap()
    }

    fn names(news: Vec<ObjectRef<WatchedModel>>) -> Vec<String> {
        let mut names: Vec<_> = news.into_iter().map(|model| model.to_string()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    #[test]
    fn the_first_pod_by_name_stands_for_all_of_its_namespace() {
        let writers = Writers::default();
        assert_eq!(writers.of("team-a", "llama"), None);
        for name in ["writer-b", "writer-a", "writer-c"] {
            writers.heard(Event::Apply(pod(name, "llama", "false")));
        }
        assert_eq!(writers.of("team-a", "llama").as_deref(), Some("writer-a"));
        assert_eq!(writers.of("team-a", "other"), None);
        assert_eq!(writers.of("team", "llama"), None);
        assert_eq!(writers.of("team-b", "llama"), None);
        writers.heard(Event::Delete(pod("writer-a", "llama", "false")));
        assert_eq!(writers.of("team-a", "llama").as_deref(), Some("writer-b"));
    }

    #[test]
    fn a_mark_alone_says_nothing() {
        let writers = Writers::default();
        for forged in [pod("forged", "llama", "true"), pod("forged", "", "false"), pod("forged", "../llama", "false")] {
            assert!(writers.heard(Event::Apply(forged)).is_empty());
            assert_eq!(writers.of("team-a", "llama"), None);
        }
        let bare: PodMetadata = serde_json::from_value(json!({ "metadata": {} })).unwrap();
        assert!(writers.heard(Event::Apply(bare.clone())).is_empty());
        assert!(writers.heard(Event::Delete(bare)).is_empty());
    }

    #[test]
    fn every_model_that_gains_or_loses_a_writer_hears_of_it() {
        let writers = Writers::default();
        let heard = |event| names(writers.heard(event));
        let model = |name: &str| ObjectRef::<WatchedModel>::new(name).within("team-a").to_string();
        assert_eq!(heard(Event::Apply(pod("writer", "a,b", "false"))), [model("a"), model("b")]);
        // Annotations of a living pod can change.
        assert_eq!(heard(Event::Apply(pod("writer", "b,c", "false"))), [model("a"), model("b"), model("c")]);
        assert_eq!(writers.of("team-a", "a"), None);
        assert_eq!(heard(Event::Apply(pod("writer", "c", "true"))), [model("b"), model("c")]);
        assert_eq!(writers.of("team-a", "c"), None);

        // A watch that lost its place lists anew. What it had known holds until that list is whole.
        heard(Event::Apply(pod("gone", "d", "false")));
        assert!(heard(Event::Init).is_empty());
        assert!(heard(Event::InitApply(pod("new", "e", "false"))).is_empty());
        assert_eq!((writers.of("team-a", "d").as_deref(), writers.of("team-a", "e")), (Some("gone"), None));
        assert_eq!(heard(Event::InitDone), [model("d"), model("e")]);
        assert_eq!((writers.of("team-a", "d"), writers.of("team-a", "e").as_deref()), (None, Some("new")));
    }
}
