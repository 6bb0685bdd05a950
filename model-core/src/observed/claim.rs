//! The claim as a value.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;

use super::claim_details::is_retained;
use super::pod::quoted;
use super::{ClaimState, is_ours, owner};
use crate::api::Model;
use crate::labels::{MANAGED_BY, MANAGER, MODEL};
use crate::persisted::Persisted;
use crate::reason::Reason;
use crate::report::Failure;

/// Reduces the claim of our name. `class_exists` says whether the claim's storage class does; `None` where nobody looked.
/// `warning` is the newest that somebody left on the claim, as provisioners do; `None` where there is none or nobody looked.
#[must_use]
pub fn claim_state(
    model: &Persisted,
    claim: Option<&PersistentVolumeClaim>,
    class_exists: Option<bool>,
    warning: Option<&str>,
) -> ClaimState {
    let Some(claim) = claim else {
        return if model.shares_claim() { ClaimState::Missing } else { ClaimState::Absent };
    };
    let meta = &claim.metadata;
    if model.shares_claim() {
        if let Some(owner) = model_that_owns(meta) {
            return ClaimState::Foreign { owner };
        }
    } else if !is_ours(meta, model) && !is_retained(meta, model) {
        return ClaimState::Foreign { owner: owner(meta) };
    }
    if meta.deletion_timestamp.is_some() {
        return ClaimState::Terminating;
    }
    match claim.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Lost") => ClaimState::Lost,
        phase => {
            let bound = phase == Some("Bound");
            let provisioner = || {
                let message = format!("PVC stuck Pending: {}", quoted(warning?));
                Some(Failure { reason: Reason::ClaimPending, message })
            };
            let trouble = if bound { None } else { class_trouble(claim, class_exists).or_else(provisioner) };
            ClaimState::Ours { uid: meta.uid.clone().unwrap_or_default(), bound, trouble }
        }
    }
}

/// The Model with which the claim goes, for people: it is no place for the files of another.
fn model_that_owns(meta: &ObjectMeta) -> Option<String> {
    let is_model = |owner: &&OwnerReference| {
        owner.kind == Model::kind(&()) && owner.api_version.split('/').next() == Some(Model::group(&()).as_ref())
    };
    if let Some(owner) = meta.owner_references.iter().flatten().find(is_model) {
        return Some(format!("{}/{}", owner.kind, owner.name));
    }
    // A claim that outlives its Model has no owner, and is the next Model's of that name.
    let label = |key| meta.labels.as_ref().and_then(|labels| labels.get(key));
    let name = label(MODEL).filter(|_| label(MANAGED_BY).is_some_and(|by| by == MANAGER))?;
    Some(format!("{}/{name}", Model::kind(&())))
}

/// Why an unbound claim never binds, where its storage class tells.
fn class_trouble(claim: &PersistentVolumeClaim, class_exists: Option<bool>) -> Option<Failure> {
    let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()).filter(|name| !name.is_empty());
    let message = match (class, class_exists) {
        (Some(class), Some(false)) => {
            format!("PVC stuck Pending: storage class {class:?} not found: verify storage class exists")
        }
        (None, Some(false)) => {
            "PVC stuck Pending: the claim names no storage class and the cluster has no default storage class"
                .to_owned()
        }
        _ => return None,
    };
    Some(Failure { reason: Reason::StorageClassNotFound, message })
}
