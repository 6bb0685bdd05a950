//! Warnings about storage that will hurt: the request passes, and whoever made it reads what will happen.
//!
//! The API server itself looks up what is compared, so neither the operator nor the author needs a right for it. A warning
//! says what can be known from the objects: nobody but the scheduler knows where pods will run.

use k8s_openapi::api::admissionregistration::v1::{
    ParamKind, ParamRef, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, Validation,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use model_core::labels::inject::INJECT;
use model_core::labels::{GROUP, SPECIFICATION_PREFIX};

use crate::policy::{binding, condition, policy, requests, variable};

/// Name of the policy about replicas, and of its binding.
pub const REPLICAS: &str = "model-replicas.models.main-currents.news";

/// Name of the policy about Models beside GPU nodes, and of its binding.
pub const GPU_NODES: &str = "model-gpu-nodes.models.main-currents.news";

/// Label of nodes with GPUs, as NVIDIA's feature discovery sets it.
const GPU_LABEL: &str = "nvidia.com/gpu.present";

/// Access modes with which several nodes can have a volume at once, as a list in CEL.
const MANY_NODES: &str = "['ReadWriteMany', 'ReadOnlyMany']";

const WRITES: &[&str] = &["CREATE", "UPDATE"];

/// Warns of a Deployment or `StatefulSet` of several replicas that ask for a Model whose claim one node can have at a
/// time, unless its pods are kept together. Access modes of a `spec.storage.existingClaim` are not known here.
#[must_use]
pub fn replicas_policy() -> ValidatingAdmissionPolicy {
    let annotations = "object.spec.template.metadata.annotations";
    let asks = |prefix: &str| format!("'{prefix}/{INJECT}' in {annotations}");
    let asked = |prefix: &str| format!("{annotations}['{prefix}/{INJECT}']");
    let (own, specified) = (asks(GROUP), asks(SPECIFICATION_PREFIX));
    let pod = "object.spec.template.spec";
    let apart = format!(
        "!(has({pod}.affinity) && has({pod}.affinity.podAffinity)) && !(has({pod}.nodeSelector) && 'kubernetes.io/hostname' in {pod}.nodeSelector)"
    );
    let reach = format!(
        "!(params.metadata.name in variables.models) || has(params.spec.storage.existingClaim) || params.spec.storage.accessModes.exists(mode, mode in {MANY_NODES})"
    );
    let message = "string(object.spec.replicas) + ' replicas mount Model ' + params.metadata.name + ', whose claim is ' + params.spec.storage.accessModes.join(', ') + ': one node can have it at a time (ReadWriteOncePod: one pod), so replicas elsewhere stay in ContainerCreating or Pending. Keep them on one node with podAffinity, or create the Model with accessModes [ReadWriteMany] on a class that has it'";
    let models =
        format!("({own} ? {} : {}).split(',').map(name, name.trim())", asked(GROUP), asked(SPECIFICATION_PREFIX));
    with_parameters(
        policy(
            REPLICAS,
            vec![requests("apps", "v1", "deployments", WRITES), requests("apps", "v1", "statefulsets", WRITES)],
            vec![
                condition("has-replicas", "has(object.spec.replicas) && object.spec.replicas > 1".to_owned()),
                condition(
                    "asks-for-models",
                    format!("has(object.spec.template.metadata) && has({annotations}) && ({own} || {specified})"),
                ),
                condition("may-spread", apart),
            ],
            vec![variable("models", models)],
            vec![says(reach, message)],
        ),
        &format!("{GROUP}/{}", model_core::api::VERSION),
        "Model",
    )
}

/// Puts [`replicas_policy`] in force, in all namespaces: it is asked about each Model of the namespace.
#[must_use]
pub fn replicas_binding() -> ValidatingAdmissionPolicyBinding {
    warns(REPLICAS, LabelSelector::default())
}

/// Warns, in a cluster with GPU nodes, of a new Model whose download may run on any node: the volume is made where it
/// runs, and pods can use it only from there.
#[must_use]
pub fn gpu_nodes_policy() -> ValidatingAdmissionPolicy {
    let free =
        "!has(object.spec.nodeSelector) && !(has(object.spec.jobTemplate) && has(object.spec.jobTemplate.affinity))";
    let own_volume = format!(
        "!has(object.spec.storage.existingClaim) && !object.spec.storage.accessModes.exists(mode, mode in {MANY_NODES})"
    );
    let message = "'spec.nodeSelector is not set and this cluster has GPU nodes: the download may run on a node without GPUs, and a storage class that makes volumes where they are first used (WaitForFirstConsumer) makes this one on that node or in its zone, where pods with GPUs may not reach it. Set spec.nodeSelector to a label of the nodes that will run the model, and jobTemplate.tolerations if they have taints'";
    with_parameters(
        policy(
            GPU_NODES,
            vec![requests(GROUP, "*", "models", &["CREATE"])],
            vec![condition("on-any-node", free.to_owned()), condition("on-a-volume-of-one-node", own_volume)],
            Vec::new(),
            // Asked about GPU nodes only: that there is one is all that counts.
            vec![says("false".to_owned(), message)],
        ),
        "v1",
        "Node",
    )
}

/// Puts [`gpu_nodes_policy`] in force, in all namespaces: it is asked about each GPU node, and equal warnings are shown
/// once.
#[must_use]
pub fn gpu_nodes_binding() -> ValidatingAdmissionPolicyBinding {
    let with_gpu = LabelSelectorRequirement {
        key: GPU_LABEL.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec!["true".to_owned()]),
    };
    warns(GPU_NODES, LabelSelector { match_expressions: Some(vec![with_gpu]), match_labels: None })
}

/// A warning that cannot be worked out is no reason to refuse.
fn with_parameters(mut policy: ValidatingAdmissionPolicy, version: &str, kind: &str) -> ValidatingAdmissionPolicy {
    let spec = policy.spec.get_or_insert_default();
    spec.failure_policy = Some("Ignore".to_owned());
    spec.param_kind = Some(ParamKind { api_version: Some(version.to_owned()), kind: Some(kind.to_owned()) });
    policy
}

/// Warns by the policy of this name, asked about each parameter that is selected. Without any there is nothing to say.
fn warns(name: &str, selector: LabelSelector) -> ValidatingAdmissionPolicyBinding {
    let mut binding = binding(name);
    binding.spec.validation_actions = vec!["Warn".to_owned()];
    binding.spec.param_ref = Some(ParamRef {
        parameter_not_found_action: Some("Allow".to_owned()),
        selector: Some(selector),
        ..ParamRef::default()
    });
    binding
}

/// What should hold, and an expression for what the user reads where it does not.
fn says(expression: String, message: &str) -> Validation {
    Validation { expression, message_expression: Some(message.to_owned()), message: None, reason: None }
}
