//! Who may take the gate off a waiting pod: the controller alone.
//!
//! A pod let go by hand would be given an empty directory: the kubelet makes one of a `subPath` that does not exist. The
//! API server itself refuses that, by a `ValidatingAdmissionPolicy` (Kubernetes 1.30 and later).

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use model_core::labels::GATE;

use crate::policy::{binding, condition, policy, requests, validation};

/// Name of the policy and of its binding.
pub const NAME: &str = "model-gates.models.main-currents.news";

/// Lets the user `controller` take our gate off pods, and nobody else, administrators included. A service account's name
/// as a user is `system:serviceaccount:NAMESPACE:NAME`.
///
/// Pods without our gate are not looked at, and changes that leave it alone pass: gates of others come and go freely.
#[must_use]
pub fn gate_policy(controller: &str) -> ValidatingAdmissionPolicy {
    let gated = |pod: &str| {
        format!("has({pod}.spec.schedulingGates) && {pod}.spec.schedulingGates.exists(gate, gate.name == '{GATE}')")
    };
    policy(
        NAME,
        vec![requests("", "v1", "pods", &["UPDATE"])],
        vec![condition("waits-for-models", gated("oldObject"))],
        Vec::new(),
        vec![validation(
            format!("request.userInfo.username == '{controller}' || ({})", gated("object")),
            format!(
                "only the model controller takes the gate {GATE} off, once the model's files are there: before, the container would find an empty directory; kubectl describe pod tells what it waits for, and to wait no longer, delete the pod"
            ),
        )],
    )
}

/// Puts [`gate_policy`] in force, in all namespaces.
#[must_use]
pub fn gate_policy_binding() -> ValidatingAdmissionPolicyBinding {
    binding(NAME)
}
