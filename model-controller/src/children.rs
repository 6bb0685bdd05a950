//! The watches of what the operator makes for Models: each fills a cache, and gives the Models that have to be looked at.

use std::fmt::Debug;
use std::future::ready;

use futures::channel::mpsc::UnboundedSender;
use futures::{Stream, StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource, ResourceExt};
use model_core::labels::{self, MANAGED_BY, MANAGER};
use model_core::queue::Key;
use model_watch::{Namespaces, with_causes};
use serde::de::DeserializeOwned;

use crate::controller::watch;
use crate::watched_model::WatchedModel;

/// Watches one kind of what the operator makes. `lists` is told of each whole list.
pub(crate) fn watch_children<K, H>(
    client: &Client,
    namespaces: &Namespaces,
    lists: &UnboundedSender<()>,
    trim: fn(&mut ObjectMeta),
    heard: H,
) -> impl Stream<Item = ObjectRef<WatchedModel>> + Send + use<K, H>
where
    H: Fn(&Event<K>) + Send,
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let ours = watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
    let of = |child: &K| model_of(child).map(|(namespace, name)| ObjectRef::new(&name).within(&namespace));
    news(watch(client, namespaces, ours), lists.clone(), trim, heard, of)
}

/// The Models that each change of a watch is news for, deletions included, once `heard` has taken it in. `trim` takes out
/// what no pass reads: a cache holds every object for as long as there is one.
///
/// A list that begins anew says nothing of what went while nobody watched, and until it is whole no cache has what it brings.
/// So `lists` is told when it is, and then every Model is looked at.
///
/// From here on only names travel. An object takes some kilobytes, and each stream on the way copies what it hands on.
pub(crate) fn news<K, M>(
    changes: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    lists: UnboundedSender<()>,
    trim: fn(&mut ObjectMeta),
    heard: impl Fn(&Event<K>) + Send,
    models_of: impl Fn(&K) -> M + Send,
) -> impl Stream<Item = ObjectRef<WatchedModel>> + Send
where
    K: Resource<DynamicType = ()>,
    M: IntoIterator<Item = ObjectRef<WatchedModel>, IntoIter: Send>,
{
    let models = move |change: watcher::Result<Event<K>>| match change {
        Ok(event) => {
            let event = event.modify(|object| trim(object.meta_mut()));
            heard(&event);
            match &event {
                Event::Apply(object) | Event::Delete(object) => return Some(stream::iter(models_of(object))),
                // The receiver goes only when the controller ends.
                Event::InitDone => drop(lists.unbounded_send(())),
                Event::Init | Event::InitApply(_) => {}
            }
            None
        }
        Err(error) => {
            let error = with_causes(&error);
            tracing::warn!(kind = %K::kind(&()), error, "a watch broke off; it goes on");
            None
        }
    };
    changes.filter_map(move |change| ready(models(change))).flatten()
}

/// Annotations of claims are for provisioners.
pub(crate) fn trim_claim(claim: &mut ObjectMeta) {
    claim.annotations = None;
}

/// Of a Job and of its pods the Model is asked for, and never a version: what is deleted is named by its UID.
pub(crate) fn trim_job(metadata: &mut ObjectMeta) {
    if let Some(labels) = &mut metadata.labels {
        labels.retain(|key, _| key == labels::MODEL);
    }
    (metadata.resource_version, metadata.generation, metadata.finalizers) = (None, None, None);
}

/// Namespace and name of the Model that a child belongs to.
pub(crate) fn model_of(child: &impl ResourceExt) -> Option<Key> {
    Some((child.namespace()?, child.labels().get(labels::MODEL)?.clone()))
}
