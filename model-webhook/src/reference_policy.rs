//! Who may have a Model use a Secret or a service account: who has the right to it anyway.
//!
//! A download sends the Secret's value to the source that the Model names, under the controller's rights and not under
//! those of the Model's author. Without this policy, whoever may write Models could have any Secret of the namespace sent
//! to an address of theirs. The API server asks its own authorizer (Kubernetes 1.30 and later); whether the Secret exists
//! makes no difference to the answer.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, Validation,
};
use model_core::labels::GROUP;

use crate::policy::{binding, condition, policy, requests, validation, variable};

/// Name of the policy and of its binding.
pub const NAME: &str = "model-references.models.main-currents.news";

/// Lets a user write a Model with `spec.credentialsSecret` only with the right to `get` that Secret, and one with
/// `spec.jobTemplate.serviceAccountName` only with the right to `impersonate` that account. An `s3` source that names
/// neither is fetched with the identity of the account `default`, if a cloud gives it one: it takes the same right to that.
///
/// Looked at where the name or the source is new: a changed source is another place that the value is sent to, or other
/// files that are fetched with it. Every other change of such a Model passes, whoever makes it, and so does its status.
///
/// Not looked at is `spec.jobTemplate.imagePullSecrets`: the image is the operator's, and the kubelet shows a pull secret
/// to the registry that it was made for, so it reaches no address of the author's.
#[must_use]
pub fn reference_policy() -> ValidatingAdmissionPolicy {
    let names = format!("{} || {} || {}", has_secret("object"), has_account("object"), takes_default("object"));
    policy(
        NAME,
        vec![requests(GROUP, "*", "models", &["CREATE", "UPDATE"])],
        vec![condition("names-a-secret-or-an-account", names)],
        vec![variable("newSource", "oldObject == null || object.spec.source != oldObject.spec.source".to_owned())],
        vec![secret(), account(), default_account()],
    )
}

/// Puts [`reference_policy`] in force, in all namespaces.
#[must_use]
pub fn reference_policy_binding() -> ValidatingAdmissionPolicyBinding {
    binding(NAME)
}

fn secret() -> Validation {
    may(
        &has_secret("object"),
        &format!("{} && oldObject.spec.credentialsSecret == object.spec.credentialsSecret", has_secret("oldObject")),
        "secrets",
        "object.spec.credentialsSecret",
        "get",
        "spec.credentialsSecret names a Secret that you may not read, and its value would be sent to the source that the Model names: ask for a Role with the verb get on that Secret, or have somebody who has it write the Model",
    )
}

fn account() -> Validation {
    let path = "spec.jobTemplate.serviceAccountName";
    may(
        &has_account("object"),
        &format!("{} && oldObject.{path} == object.{path}", has_account("oldObject")),
        "serviceaccounts",
        &format!("object.{path}"),
        "impersonate",
        "spec.jobTemplate.serviceAccountName names a service account that you may not act as, and the download would have its identity: ask for a Role with the verb impersonate on that service account, or have somebody who has it write the Model",
    )
}

fn default_account() -> Validation {
    may(
        &takes_default("object"),
        &takes_default("oldObject"),
        "serviceaccounts",
        "'default'",
        "impersonate",
        "an s3 source without spec.credentialsSecret and spec.jobTemplate.serviceAccountName is fetched with the identity of the service account default, that you may not act as: name a Secret or an account that you have a right to, ask for a Role with the verb impersonate on the service account default, or have somebody who has it write the Model",
    )
}

/// Passes what names nothing, what names the same for the same source as before, and who has the right.
fn may(names: &str, same: &str, resource: &str, name: &str, verb: &str, message: &str) -> Validation {
    let right = format!(
        "authorizer.group('').resource('{resource}').namespace(request.namespace).name({name}).check('{verb}').allowed()"
    );
    validation(format!("!({names}) || (!variables.newSource && {same}) || {right}"), message.to_owned())
}

fn has_secret(model: &str) -> String {
    format!("(has({model}.spec.credentialsSecret) && {model}.spec.credentialsSecret != null)")
}

/// Only object stores are asked with the identity of the pod.
fn takes_default(model: &str) -> String {
    let s3 = format!("has({model}.spec.source.s3) && {model}.spec.source.s3 != null");
    format!("({s3} && !{} && !{})", has_secret(model), has_account(model))
}

fn has_account(model: &str) -> String {
    format!(
        "(has({model}.spec.jobTemplate) && {model}.spec.jobTemplate != null && has({model}.spec.jobTemplate.serviceAccountName) && {model}.spec.jobTemplate.serviceAccountName != null)"
    )
}
