//! The claim as a value.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::{ClaimState, is_ours, owner};
use crate::persisted::Persisted;
use crate::reason::Reason;
use crate::report::Failure;

/// Reduces the claim of our name. `class_exists` says whether the claim's storage class does; `None` where nobody looked.
#[must_use]
pub fn claim_state(model: &Persisted, claim: Option<&PersistentVolumeClaim>, class_exists: Option<bool>) -> ClaimState {
    let Some(claim) = claim else { return ClaimState::Absent };
    let meta = &claim.metadata;
    if !is_ours(meta, model) {
        return ClaimState::Foreign { owner: owner(meta) };
    }
    if meta.deletion_timestamp.is_some() {
        return ClaimState::Terminating;
    }
    match claim.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Lost") => ClaimState::Lost,
        phase => {
            let bound = phase == Some("Bound");
            let trouble = if bound { None } else { class_trouble(claim, class_exists) };
            ClaimState::Ours { uid: meta.uid.clone().unwrap_or_default(), bound, trouble }
        }
    }
}

/// Why an unbound claim never binds, where its storage class tells.
fn class_trouble(claim: &PersistentVolumeClaim, class_exists: Option<bool>) -> Option<Failure> {
    let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()).filter(|name| !name.is_empty());
    let message = match (class, class_exists) {
        (Some(class), Some(false)) => {
            format!("PVC stuck Pending: storage class {class:?} not found: verify storage class exists")
        }
        (None, Some(false)) => {
            "PVC stuck Pending: spec.storage.storageClass is not set and the cluster has no default storage class"
                .to_owned()
        }
        _ => return None,
    };
    Some(Failure { reason: Reason::StorageClassNotFound, message })
}
