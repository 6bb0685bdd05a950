//! What every child of a Model has in its metadata.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model_core::labels;
use model_core::persisted::Persisted;

/// Labels of every child.
pub(crate) fn child_labels(model: &Persisted) -> BTreeMap<String, String> {
    BTreeMap::from([
        (labels::MODEL.to_owned(), model.name.to_owned()),
        (labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned()),
    ])
}

/// Metadata of a child: owned by the Model, so that it goes when the Model goes.
pub(crate) fn child_metadata(model: &Persisted, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(model.namespace.to_owned()),
        labels: Some(child_labels(model)),
        owner_references: Some(vec![model.owner_reference()]),
        ..ObjectMeta::default()
    }
}
