//! Who may take the gate off a waiting pod: the controller alone.
//!
//! A pod let go by hand would be given an empty directory: the kubelet makes one of a `subPath` that does not exist. The
//! API server itself refuses that, by a `ValidatingAdmissionPolicy` (Kubernetes 1.30 and later).

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec, ValidatingAdmissionPolicySpec, Validation,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model_core::labels::GATE;

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
    let validation = Validation {
        expression: format!("request.userInfo.username == '{controller}' || ({})", gated("object")),
        message: Some(format!(
            "only the model controller takes the gate {GATE} off, once the model's files are there: before, the container would find an empty directory; kubectl describe pod tells what it waits for, and to wait no longer, delete the pod"
        )),
        reason: Some("Forbidden".to_owned()),
        message_expression: None,
    };
    let rule = NamedRuleWithOperations {
        api_groups: Some(vec![String::new()]),
        api_versions: Some(vec!["v1".to_owned()]),
        operations: Some(vec!["UPDATE".to_owned()]),
        resources: Some(vec!["pods".to_owned()]),
        scope: Some("Namespaced".to_owned()),
        resource_names: None,
    };
    ValidatingAdmissionPolicy {
        metadata: metadata(),
        spec: Some(ValidatingAdmissionPolicySpec {
            failure_policy: Some("Fail".to_owned()),
            match_constraints: Some(MatchResources { resource_rules: Some(vec![rule]), ..MatchResources::default() }),
            match_conditions: Some(vec![MatchCondition {
                name: "waits-for-models".to_owned(),
                expression: gated("oldObject"),
            }]),
            validations: Some(vec![validation]),
            ..ValidatingAdmissionPolicySpec::default()
        }),
        status: None,
    }
}

/// Puts [`gate_policy`] in force, in all namespaces.
#[must_use]
pub fn gate_policy_binding() -> ValidatingAdmissionPolicyBinding {
    ValidatingAdmissionPolicyBinding {
        metadata: metadata(),
        spec: ValidatingAdmissionPolicyBindingSpec {
            policy_name: NAME.to_owned(),
            validation_actions: vec!["Deny".to_owned()],
            ..ValidatingAdmissionPolicyBindingSpec::default()
        },
    }
}

fn metadata() -> ObjectMeta {
    ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() }
}
