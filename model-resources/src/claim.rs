//! The claim that holds a model's files.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use model_core::api::DeletionPolicy;
use model_core::names::claim_name;
use model_core::persisted::Persisted;

use crate::metadata::child_metadata;

/// Builds the claim of this size that holds the model's files.
///
/// Without `spec.storage.storageClass` the field is left out, so that the cluster's default class serves it. With
/// `deletionPolicy: Retain` the Model does not own it, not even for a moment. A Model with `spec.storage.existingClaim`
/// has no use for it: that claim is there already.
#[must_use]
pub fn claim(model: &Persisted, size: &str) -> PersistentVolumeClaim {
    let storage = &model.spec.storage;
    let size = [("storage".to_owned(), Quantity(size.to_owned()))].into();
    let spec = PersistentVolumeClaimSpec {
        access_modes: Some(storage.access_modes.iter().map(|mode| mode.as_str().to_owned()).collect()),
        resources: Some(VolumeResourceRequirements { requests: Some(size), limits: None }),
        storage_class_name: storage.storage_class.clone(),
        ..PersistentVolumeClaimSpec::default()
    };
    let mut metadata = child_metadata(model, claim_name(model.name));
    if model.spec.deletion_policy == DeletionPolicy::Retain {
        metadata.owner_references = None;
    }
    PersistentVolumeClaim { metadata, spec: Some(spec), status: None }
}
