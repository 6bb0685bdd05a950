//! What people may do with Models: part of the cluster's own roles `view`, `edit` and `admin`, whoever is bound to them.

use k8s_openapi::api::rbac::v1::ClusterRole;
use model_core::labels::GROUP;

use crate::names::cluster_wide;
use crate::rbac::rule;

const VIEW: &str = "model-operator-view";
const EDIT: &str = "model-operator-edit";

/// Who may look at a namespace's workloads may look at its Models.
pub fn view() -> ClusterRole {
    let rules = vec![rule(GROUP, "models", &["get", "list", "watch"]), rule(GROUP, "models/status", &["get"])];
    ClusterRole { rules: Some(rules), ..aggregated(VIEW, &["view", "edit", "admin"]) }
}

/// Who may change them may change its Models. What the operator records in their status is nobody's to write.
pub fn edit() -> ClusterRole {
    let rules = vec![rule(GROUP, "models", &["create", "update", "patch", "delete", "deletecollection"])];
    ClusterRole { rules: Some(rules), ..aggregated(EDIT, &["edit", "admin"]) }
}

/// A role that Kubernetes adds to these of its own.
fn aggregated(name: &str, into: &[&str]) -> ClusterRole {
    let mut metadata = cluster_wide(name);
    let labels = into.iter().map(|role| (format!("rbac.authorization.k8s.io/aggregate-to-{role}"), "true".to_owned()));
    metadata.labels.get_or_insert_default().extend(labels);
    ClusterRole { metadata, ..ClusterRole::default() }
}
