//! What each component may do: nothing that it does not do.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use model_core::labels::GROUP;

use crate::names::{CONTROLLER, NAMESPACE, WEBHOOK, cluster_wide, namespaced};

/// An identity and its rights.
pub struct Access {
    pub account: ServiceAccount,
    pub role: ClusterRole,
    pub binding: ClusterRoleBinding,
}

pub fn controller() -> Access {
    access(
        CONTROLLER,
        vec![
            rule(GROUP, "models", &["get", "list", "watch"]),
            rule(GROUP, "models/status", &["patch"]),
            // The children's owner references block the Model's deletion: clusters that enforce permissions for that
            // (OwnerReferencesPermissionEnforcement, as OpenShift does) ask for this verb.
            rule(GROUP, "models/finalizers", &["update"]),
            rule("", "persistentvolumeclaims", &["get", "list", "watch", "create"]),
            rule("batch", "jobs", &["get", "list", "watch", "create", "delete"]),
            // Patch and delete are for pods with our scheduling gate: RBAC cannot say so.
            rule("", "pods", &["list", "watch", "patch", "delete"]),
            rule("", "pods/log", &["get"]),
            rule("storage.k8s.io", "storageclasses", &["get", "list"]),
            rule("events.k8s.io", "events", &["create", "patch"]),
        ],
    )
}

/// The controller's lease, in the operator's namespace only. A right to create cannot be bound to a name.
pub fn lease() -> (Role, RoleBinding) {
    let leases = |verbs: &[&str]| rule("coordination.k8s.io", "leases", verbs);
    let own = PolicyRule { resource_names: Some(vec![CONTROLLER.to_owned()]), ..leases(&["get", "update"]) };
    let role = Role { metadata: namespaced(CONTROLLER), rules: Some(vec![own, leases(&["create"])]) };
    let binding = RoleBinding {
        metadata: namespaced(CONTROLLER),
        role_ref: role_ref("Role", CONTROLLER),
        subjects: Some(vec![subject(CONTROLLER)]),
    };
    (role, binding)
}

pub fn webhook() -> Access {
    access(
        WEBHOOK,
        vec![
            rule(GROUP, "models", &["list", "watch"]),
            // Metadata of the pods that mount models: RBAC has no narrower right.
            rule("", "pods", &["list", "watch"]),
        ],
    )
}

fn rule(group: &str, resource: &str, verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: verbs.iter().map(|&verb| verb.to_owned()).collect(),
        ..PolicyRule::default()
    }
}

fn access(component: &str, rules: Vec<PolicyRule>) -> Access {
    Access {
        account: ServiceAccount { metadata: namespaced(component), ..ServiceAccount::default() },
        role: ClusterRole { metadata: cluster_wide(component), rules: Some(rules), ..ClusterRole::default() },
        binding: ClusterRoleBinding {
            metadata: cluster_wide(component),
            role_ref: role_ref("ClusterRole", component),
            subjects: Some(vec![subject(component)]),
        },
    }
}

fn role_ref(kind: &str, name: &str) -> RoleRef {
    RoleRef { api_group: Some("rbac.authorization.k8s.io".to_owned()), kind: kind.to_owned(), name: name.to_owned() }
}

fn subject(account: &str) -> Subject {
    Subject {
        kind: "ServiceAccount".to_owned(),
        name: account.to_owned(),
        namespace: Some(NAMESPACE.to_owned()),
        ..Subject::default()
    }
}
