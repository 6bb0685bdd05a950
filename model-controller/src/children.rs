//! The watches of what the operator makes for Models: each fills a cache, and gives the Models that have to be looked at.

use std::fmt::Debug;
use std::future::ready;

use futures::{Stream, StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource, ResourceExt};
use model_core::labels::{self, MANAGED_BY, MANAGER};
use model_watch::Namespaces;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::controller::watch;
use crate::downloads::Jobs;
use crate::pods::Pods;
use crate::watched_model::WatchedModel;

type Claim = PersistentVolumeClaim;

/// Watches the claims that the operator made.
pub(crate) fn watch_claims(
    client: &Client,
    namespaces: &Namespaces,
    cache: Cache<Claim>,
) -> impl Stream<Item = ObjectRef<WatchedModel>> + Send + use<> {
    watch_children(client, namespaces, trim_claim, move |event| cache.heard(event))
}

/// Watches the operator's Jobs.
pub(crate) fn watch_jobs(
    client: &Client,
    namespaces: &Namespaces,
    cache: Jobs,
) -> impl Stream<Item = ObjectRef<WatchedModel>> + Send + use<> {
    watch_children(client, namespaces, trim_job, move |event| cache.heard(event))
}

/// Watches the pods of these Jobs.
pub(crate) fn watch_pods(
    client: &Client,
    namespaces: &Namespaces,
    pods: Pods,
) -> impl Stream<Item = ObjectRef<WatchedModel>> + Send + use<> {
    watch_children(client, namespaces, trim_job, move |event| pods.heard(event))
}

fn watch_children<K, H>(
    client: &Client,
    namespaces: &Namespaces,
    trim: fn(&mut ObjectMeta),
    heard: H,
) -> impl Stream<Item = ObjectRef<WatchedModel>> + Send + use<K, H>
where
    H: Fn(&Event<K>) + Send,
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let ours = watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
    news(watch(client, namespaces, ours), trim, heard, model_of)
}

/// The Models that each change of a watch is news for, deletions included, once `heard` has taken it in. `trim` takes out
/// what no pass reads: a cache holds every object for as long as there is one.
///
/// From here on only names travel. An object takes some kilobytes, and each stream on the way copies what it hands on.
pub(crate) fn news<K, M>(
    changes: impl Stream<Item = watcher::Result<Event<K>>> + Send,
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
            let (Event::Apply(object) | Event::InitApply(object) | Event::Delete(object)) = &event else { return None };
            Some(stream::iter(models_of(object)))
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(kind = %K::kind(&()), %error, cause, "a watch broke off; it goes on");
            None
        }
    };
    changes.filter_map(move |change| ready(models(change))).flatten()
}

/// Annotations of claims are for provisioners.
fn trim_claim(claim: &mut ObjectMeta) {
    claim.annotations = None;
}

/// Of a Job and of its pods the Model is asked for, and never a version: what is deleted is named by its UID.
fn trim_job(metadata: &mut ObjectMeta) {
    if let Some(labels) = &mut metadata.labels {
        labels.retain(|key, _| key == labels::MODEL);
    }
    (metadata.resource_version, metadata.generation, metadata.finalizers) = (None, None, None);
}

/// The Model that a child belongs to.
fn model_of(child: &impl ResourceExt) -> Option<ObjectRef<WatchedModel>> {
    let name = child.labels().get(labels::MODEL)?;
    Some(ObjectRef::new(name).within(&child.namespace()?))
}
