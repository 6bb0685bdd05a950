//! What each component may do: nothing that it does not do.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use model_core::labels::GROUP;
use model_webhook::registration;

use crate::names::{CERTIFICATE, CONTROLLER, NAMESPACE, WEBHOOK, cluster_wide, namespaced};

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
            // Patch changes its owner (deletionPolicy) and its size. The API server lets only those set an owner who may
            // delete; the policy of the controller's account refuses every deletion.
            rule("", "persistentvolumeclaims", &["get", "list", "watch", "create", "patch", "delete"]),
            rule("batch", "jobs", &["get", "list", "watch", "create", "delete"]),
            // Patch and delete are for pods with our scheduling gate: RBAC cannot say so.
            rule("", "pods", &["list", "watch", "patch", "delete"]),
            rule("", "pods/log", &["get"]),
            rule("storage.k8s.io", "storageclasses", &["get", "list"]),
            // Listed for a Job that gets no pod and a claim that gets no volume: nothing else says why.
            rule("events.k8s.io", "events", &["create", "list"]),
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

/// What the controller needs beside that where it makes the webhook's certificate: that one Secret, what serves it, and
/// the registrations of that name.
pub fn certificates() -> (ClusterRole, ClusterRoleBinding, Role, RoleBinding) {
    const NAME: &str = "model-controller-certificates";
    let registrations = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];
    let registrations = registrations
        .map(|resource| named(rule("admissionregistration.k8s.io", resource, &["get", "patch"]), registration::NAME));
    let rules = vec![
        named(rule("", "secrets", &["get", "update"]), CERTIFICATE),
        // A right to create cannot be bound to a name.
        rule("", "secrets", &["create"]),
        rule("discovery.k8s.io", "endpointslices", &["list"]),
    ];
    (
        ClusterRole { metadata: cluster_wide(NAME), rules: Some(registrations.into()), ..ClusterRole::default() },
        ClusterRoleBinding {
            metadata: cluster_wide(NAME),
            role_ref: role_ref("ClusterRole", NAME),
            subjects: Some(vec![subject(CONTROLLER)]),
        },
        Role { metadata: namespaced(NAME), rules: Some(rules) },
        RoleBinding {
            metadata: namespaced(NAME),
            role_ref: role_ref("Role", NAME),
            subjects: Some(vec![subject(CONTROLLER)]),
        },
    )
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

pub fn rule(group: &str, resource: &str, verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: verbs.iter().map(|&verb| verb.to_owned()).collect(),
        ..PolicyRule::default()
    }
}

fn named(rule: PolicyRule, name: &str) -> PolicyRule {
    PolicyRule { resource_names: Some(vec![name.to_owned()]), ..rule }
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
