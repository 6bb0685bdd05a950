//! The claims that somebody else made: those that Models name in `spec.storage.existingClaim` are among them.

use futures::Stream;
use futures::channel::mpsc::UnboundedSender;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use model_core::labels::{MANAGED_BY, MANAGER};
use model_watch::Namespaces;

use crate::cache::Cache;
use crate::children::news;
use crate::controller::watch;
use crate::watched_model::WatchedModel;

/// Watches all claims of these namespaces that are not the operator's. Gives the Models whose files lie on one that comes,
/// changes or goes.
pub(crate) fn watch_shared_claims(
    client: &Client,
    namespaces: &Namespaces,
    lists: &UnboundedSender<()>,
    cache: Cache<PersistentVolumeClaim>,
    models: Store<WatchedModel>,
) -> impl Stream<Item = ObjectRef<WatchedModel>> + Send + use<> {
    let not_ours = watcher::Config::default().labels(&format!("{MANAGED_BY}!={MANAGER}"));
    let heard = move |event: &watcher::Event<_>| cache.heard(event);
    news(watch(client, namespaces, not_ours), lists.clone(), trim, heard, move |claim| models_on(&models, claim))
}

/// Of most claims nothing is ever asked.
fn trim(claim: &mut ObjectMeta) {
    claim.annotations = None;
    claim.labels = None;
}

/// The Models whose files lie on this claim although it is not theirs.
fn models_on(models: &Store<WatchedModel>, claim: &PersistentVolumeClaim) -> Vec<ObjectRef<WatchedModel>> {
    let name = claim.name_any();
    let names_it = |model: &WatchedModel| {
        model.meta().namespace == claim.metadata.namespace
            && model.spec().is_ok_and(|spec| spec.storage.existing_claim.as_ref() == Some(&name))
    };
    let found = models.state_filter(names_it);
    found.iter().map(|model| ObjectRef::from_obj(model.as_ref())).collect()
}
