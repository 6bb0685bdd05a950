//! The claims that somebody else made: those that Models name in `spec.storage.existingClaim` are among them.

use futures::Stream;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use model_core::labels::{MANAGED_BY, MANAGER};
use model_watch::Namespaces;

use crate::controller::{WatchedModel, watch};

/// A cache of all claims of these namespaces that are not the operator's, and its changes, deletions included. A claim's labels and
/// annotations are left out: of most claims nothing is ever asked.
pub(crate) fn watch_shared_claims(
    client: &Client,
    namespaces: &Namespaces,
) -> (Store<PersistentVolumeClaim>, impl Stream<Item = Result<PersistentVolumeClaim, watcher::Error>> + Send + use<>) {
    let (cache, writer) = store();
    let not_ours = watcher::Config::default().labels(&format!("{MANAGED_BY}!={MANAGER}"));
    let trim = |claim: &mut PersistentVolumeClaim| {
        claim.metadata.annotations = None;
        claim.metadata.labels = None;
    };
    (cache, watch(client, namespaces, writer, not_ours, trim).touched_objects())
}

/// The Models whose files lie on this claim although it is not theirs.
pub(crate) fn models_on(models: &Store<WatchedModel>, claim: &PersistentVolumeClaim) -> Vec<ObjectRef<WatchedModel>> {
    let (namespace, name) = (claim.namespace(), claim.name_any());
    let names_it = |model: &WatchedModel| {
        let model = model.0.as_ref().ok()?;
        let claim = model.spec.storage.existing_claim.as_ref()?;
        (*claim == name && model.namespace() == namespace).then_some(())
    };
    let found = models.state_filter(|model| names_it(model).is_some());
    found.iter().map(|model| ObjectRef::from_obj(model.as_ref())).collect()
}
