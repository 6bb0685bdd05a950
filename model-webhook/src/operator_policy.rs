//! What the controller's own account may write, beyond what RBAC can say.
//!
//! RBAC lets it change every pod, Job and claim. This policy narrows that to what the controller does, so that a bug or a
//! stolen token reaches no workload of others: pods lose our gate and nothing else, Jobs and claims are those of Models,
//! and a Job is no more than a download is.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use model_core::labels::{GATE, GATED, GROUP, MANAGED_BY, MANAGER, MODEL};

use crate::policy::{binding, condition, policy, requests, validation, variable};

/// Name of the policy and of its binding.
pub const NAME: &str = "model-controller.models.main-currents.news";

/// Narrows what the user `controller` may do. A service account's name as a user is
/// `system:serviceaccount:NAMESPACE:NAME`. Nobody else is looked at.
#[must_use]
pub fn operator_policy(controller: &str) -> ValidatingAdmissionPolicy {
    policy(
        NAME,
        vec![
            requests("", "v1", "pods", &["CREATE", "UPDATE", "DELETE"]),
            requests("", "v1", "persistentvolumeclaims", &["CREATE", "UPDATE", "DELETE"]),
            requests("batch", "v1", "jobs", &["CREATE", "UPDATE", "DELETE"]),
        ],
        vec![condition("is-the-model-controller", format!("request.userInfo.username == '{controller}'"))],
        vec![
            variable("resource", "request.resource.resource".to_owned()),
            // What is there after the request; what was there, where it is deleted.
            variable("written", "object == null ? oldObject : object".to_owned()),
            variable("isOurs", both(is_ours)),
            variable("owners", "variables.written.metadata.?ownerReferences.orValue([])".to_owned()),
            variable("ownersAreModels", format!("variables.owners.all(owner, {})", is_model("owner"))),
        ],
        vec![
            validation(
                format!("variables.resource != 'pods' || ({})", lets_a_pod_go()),
                format!("the model controller takes the gate {GATE} and its label off pods, or deletes pods that have it, and does nothing else to pods"),
            ),
            validation(
                "variables.resource == 'pods' || (variables.isOurs && variables.ownersAreModels)".to_owned(),
                format!("the model controller writes claims and Jobs only with the labels {MANAGED_BY}={MANAGER} and {MODEL}, and with no owner but a Model"),
            ),
            validation(
                "variables.resource != 'persistentvolumeclaims' || request.operation != 'DELETE'".to_owned(),
                "the model controller deletes no claim: garbage collection does, with the Model".to_owned(),
            ),
            // A claim that outlives its Model has no owner.
            validation(
                "variables.resource != 'jobs' || variables.owners.size() == 1".to_owned(),
                "the model controller writes only Jobs that a Model owns".to_owned(),
            ),
            validation(
                format!("variables.resource != 'jobs' || request.operation == 'DELETE' || ({})", is_a_download()),
                "the model controller writes only Jobs whose pod has no token, no namespace or port of its node, no volume but claims, ConfigMaps and empty directories, and containers that cannot gain privileges".to_owned(),
            ),
        ],
    )
}

/// Puts [`operator_policy`] in force, in all namespaces.
#[must_use]
pub fn operator_policy_binding() -> ValidatingAdmissionPolicyBinding {
    binding(NAME)
}

/// That something holds before and after the request, as far as there is a before and an after.
fn both(holds: impl Fn(&str) -> String) -> String {
    format!("(object == null || {}) && (oldObject == null || {})", holds("object"), holds("oldObject"))
}

fn is_ours(object: &str) -> String {
    format!(
        "({object}.metadata.?labels[?'{MANAGED_BY}'].orValue('') == '{MANAGER}' && {object}.metadata.?labels[?'{MODEL}'].orValue('') != '')"
    )
}

fn is_model(owner: &str) -> String {
    format!("{owner}.kind == 'Model' && {owner}.apiVersion.startsWith('{GROUP}/')")
}

/// A pod that has our gate loses it, and its label, or is deleted. Of what a pod's update can change at all, nothing else
/// does.
fn lets_a_pod_go() -> String {
    let gates = |pod: &str| format!("{pod}.spec.?schedulingGates.orValue([])");
    let is_gated = format!("{}.exists(gate, gate.name == '{GATE}')", gates("oldObject"));
    let same =
        |path: &str, nothing: &str| format!("object.{path}.orValue({nothing}) == oldObject.{path}.orValue({nothing})");
    let images = |list: &str, pod: &str| format!("{pod}.spec.?{list}.orValue([]).map(container, container.image)");
    let changes_nothing_else = [
        format!("{} == {}.filter(gate, gate.name != '{GATE}')", gates("object"), gates("oldObject")),
        labels_within("object", "oldObject", false),
        labels_within("oldObject", "object", true),
        same("metadata.?annotations", "{}"),
        same("metadata.?ownerReferences", "[]"),
        same("metadata.?finalizers", "[]"),
        format!("{} == {}", images("containers", "object"), images("containers", "oldObject")),
        format!("{} == {}", images("initContainers", "object"), images("initContainers", "oldObject")),
        same("spec.?tolerations", "[]"),
        same("spec.?nodeSelector", "{}"),
        "object.spec.?affinity == oldObject.spec.?affinity".to_owned(),
        "object.spec.?activeDeadlineSeconds == oldObject.spec.?activeDeadlineSeconds".to_owned(),
        "object.spec.?terminationGracePeriodSeconds == oldObject.spec.?terminationGracePeriodSeconds".to_owned(),
    ];
    format!(
        "oldObject != null && {is_gated} && (request.operation == 'DELETE' || ({}))",
        changes_nothing_else.join(" && ")
    )
}

/// That every label of one pod stands in the other, too; with the exception of ours that goes with the gate.
fn labels_within(part: &str, whole: &str, but_ours: bool) -> String {
    let ours = if but_ours { format!("label == '{GATED}' || ") } else { String::new() };
    format!(
        "{part}.metadata.?labels.orValue({{}}).all(label, {ours}{whole}.metadata.?labels[?label] == optional.of({part}.metadata.labels[label]))"
    )
}

/// What every download has, so that no Job of this account becomes a way to a node or to another account.
fn is_a_download() -> String {
    let pod = "object.spec.template.spec";
    let containers = |list: &str| {
        format!(
            "{pod}.?{list}.orValue([]).all(container, container.?securityContext.?allowPrivilegeEscalation.orValue(true) == false && !container.?securityContext.?privileged.orValue(false) && container.?securityContext.?capabilities.?drop.orValue([]).exists(capability, capability == 'ALL') && container.?securityContext.?capabilities.?add.orValue([]).size() == 0 && container.?securityContext.?runAsNonRoot.orValue(true) && container.?securityContext.?seccompProfile.?type.orValue('RuntimeDefault') == 'RuntimeDefault' && container.?ports.orValue([]).all(port, port.?hostPort.orValue(0) == 0))"
        )
    };
    let volume = "has(volume.persistentVolumeClaim) || has(volume.emptyDir) || has(volume.configMap)";
    [
        format!("{pod}.?automountServiceAccountToken.orValue(true) == false"),
        format!(
            "!{pod}.?hostNetwork.orValue(false) && !{pod}.?hostPID.orValue(false) && !{pod}.?hostIPC.orValue(false)"
        ),
        format!(
            "{pod}.?securityContext.?runAsNonRoot.orValue(false) && {pod}.?securityContext.?seccompProfile.?type.orValue('') == 'RuntimeDefault'"
        ),
        format!("{pod}.?volumes.orValue([]).all(volume, {volume})"),
        containers("containers"),
        containers("initContainers"),
    ]
    .join(" && ")
}
