//! What of a claim that is ours can be changed: whom it goes with, and its size.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::is_ours;
use crate::labels::{MANAGED_BY, MANAGER, MODEL};
use crate::persisted::Persisted;

/// What of a claim that is ours can be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimDetails {
    /// Whether it is deleted with the Model: the Model owns it.
    pub owned: bool,
    /// Who owns it beside the Model, for people: `Kind/name`, the first of them.
    pub other_owner: Option<String>,
    /// Whether it is older than the Model, so that another one made it. False within one second.
    pub is_older: bool,
    /// The size that it asks for, as written.
    pub requested: Option<String>,
    /// The size of its volume, as written. Absent while it has none.
    pub capacity: Option<String>,
    /// Name of its storage class.
    pub class: Option<String>,
    /// What those who grow the volume say: waiting for a pod, or an error.
    pub resizing: Option<String>,
    /// Whether its storage class lets it grow. `None` where nobody looked.
    pub expandable: Option<bool>,
}

/// Reads the claim. `expandable` is what its storage class says; `None` where nobody looked.
#[must_use]
pub fn claim_details(model: &Persisted, claim: &PersistentVolumeClaim, expandable: Option<bool>) -> ClaimDetails {
    let (spec, status) = (claim.spec.as_ref(), claim.status.as_ref());
    let resources = spec.and_then(|spec| spec.resources.as_ref());
    let requested = resources.and_then(|all| all.requests.as_ref()?.get("storage"));
    let capacity = status.and_then(|status| status.capacity.as_ref()?.get("storage"));
    let conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
    let mut resizing = conditions.filter(|condition| condition.status == "True").filter_map(|condition| {
        let said = condition.message.as_deref().filter(|text| !text.is_empty());
        match condition.type_.as_str() {
            "FileSystemResizePending" => Some("its file system grows when a pod mounts it next".to_owned()),
            "ControllerResizeError" | "NodeResizeError" => Some(said.unwrap_or(&condition.type_).to_owned()),
            _ => None,
        }
    });
    let made = claim.metadata.creation_timestamp.as_ref().map(|time| time.0);
    ClaimDetails {
        owned: is_ours(&claim.metadata, model),
        other_owner: other_owner(&claim.metadata, model),
        is_older: made.zip(model.created).is_some_and(|(claim, model)| claim < model),
        requested: requested.map(|amount| amount.0.clone()),
        capacity: capacity.map(|amount| amount.0.clone()),
        class: spec.and_then(|spec| spec.storage_class_name.clone()),
        resizing: resizing.next(),
        expandable,
    }
}

fn other_owner(meta: &ObjectMeta, model: &Persisted) -> Option<String> {
    let other = meta.owner_references.iter().flatten().find(|owner| owner.uid != model.uid)?;
    Some(format!("{}/{}", other.kind, other.name))
}

/// Whether this claim was left by a Model of this name, and belongs to nobody now: it has our labels, and no owner at all.
///
/// Somebody who may create claims in the namespace can make one that looks like it. Nothing on it is believed: its content
/// is read in full and compared with what the loader verified before it is offered.
pub(super) fn is_retained(meta: &ObjectMeta, model: &Persisted) -> bool {
    let label = |key| meta.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    meta.owner_references.as_ref().is_none_or(Vec::is_empty)
        && label(MODEL) == Some(model.name)
        && label(MANAGED_BY) == Some(MANAGER)
}
