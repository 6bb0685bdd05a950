//! How the API server is told to ask: about pods that are created, and about Models that are deleted.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhook,
    ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};
use model_core::labels::inject::INJECT;
use model_core::labels::{DELETE_WHILE_MOUNTED, GROUP, SPECIFICATION_PREFIX};

/// Name of both configuration objects.
pub const NAME: &str = "model-webhook";

/// Name of the webhook, as denials show it.
pub const WEBHOOK: &str = "inject.models.main-currents.news";

/// Name of the webhook about deletions, as denials show it.
pub const DELETION_WEBHOOK: &str = "deletion.models.main-currents.news";

/// Who deletes what has lost its owner or its namespace. The last one stands for both where the controllers of a cluster
/// share one identity.
const CLEANERS: [&str; 3] = [
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:namespace-controller",
    "system:kube-controller-manager",
];

/// Seconds that the API server waits for an answer.
const TIMEOUT_SECONDS: i32 = 5;

/// Sends the creation of every pod that asks for a model to `client_config`, and no other request.
///
/// Pods of `own_namespace` are left out, or the webhook could not start its own. Should the webhook be down, annotated
/// pods are refused (`failurePolicy: Fail`), because they would start without their model; all others are created.
#[must_use]
pub fn configuration(client_config: WebhookClientConfig, own_namespace: &str) -> MutatingWebhookConfiguration {
    let webhook = MutatingWebhook {
        name: WEBHOOK.to_owned(),
        admission_review_versions: vec!["v1".to_owned()],
        client_config,
        failure_policy: Some("Fail".to_owned()),
        match_conditions: Some(vec![asks_for_models()]),
        namespace_selector: Some(LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: "kubernetes.io/metadata.name".to_owned(),
                operator: "NotIn".to_owned(),
                values: Some(vec![own_namespace.to_owned()]),
            }]),
            ..LabelSelector::default()
        }),
        reinvocation_policy: Some("IfNeeded".to_owned()),
        rules: Some(vec![RuleWithOperations {
            api_groups: Some(vec![String::new()]),
            api_versions: Some(vec!["v1".to_owned()]),
            operations: Some(vec!["CREATE".to_owned()]),
            resources: Some(vec!["pods".to_owned()]),
            scope: Some("Namespaced".to_owned()),
        }]),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(TIMEOUT_SECONDS),
        ..MutatingWebhook::default()
    };
    MutatingWebhookConfiguration { metadata: metadata(), webhooks: Some(vec![webhook]) }
}

/// Sends the deletion of every Model to `client_config`, and no other request.
///
/// Not asked about are deletions by Kubernetes itself, when an owner or the namespace goes, and Models with the annotation
/// [`DELETE_WHILE_MOUNTED`]. Should the webhook be down, Models are deleted (`failurePolicy: Ignore`): the question is a
/// courtesy, and nothing may keep a namespace from going.
#[must_use]
pub fn deletion_configuration(client_config: WebhookClientConfig) -> ValidatingWebhookConfiguration {
    let webhook = ValidatingWebhook {
        name: DELETION_WEBHOOK.to_owned(),
        admission_review_versions: vec!["v1".to_owned()],
        client_config,
        failure_policy: Some("Ignore".to_owned()),
        match_conditions: Some(by_a_person()),
        rules: Some(vec![RuleWithOperations {
            api_groups: Some(vec![GROUP.to_owned()]),
            api_versions: Some(vec!["*".to_owned()]),
            operations: Some(vec!["DELETE".to_owned()]),
            resources: Some(vec!["models".to_owned()]),
            scope: Some("Namespaced".to_owned()),
        }]),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(TIMEOUT_SECONDS),
        ..ValidatingWebhook::default()
    };
    ValidatingWebhookConfiguration { metadata: metadata(), webhooks: Some(vec![webhook]) }
}

fn metadata() -> ObjectMeta {
    ObjectMeta {
        name: Some(NAME.to_owned()),
        labels: Some(BTreeMap::from([("app.kubernetes.io/name".to_owned(), NAME.to_owned())])),
        ..ObjectMeta::default()
    }
}

fn by_a_person() -> Vec<MatchCondition> {
    let condition = |name: &str, expression: String| MatchCondition { name: name.to_owned(), expression };
    let cleaners = CLEANERS.map(|user| format!("'{user}'")).join(", ");
    vec![
        condition("is-no-clean-up", format!("!(request.userInfo.username in [{cleaners}])")),
        condition(
            "does-not-insist",
            format!(
                "!has(oldObject.metadata.annotations) || !('{DELETE_WHILE_MOUNTED}' in oldObject.metadata.annotations) || oldObject.metadata.annotations['{DELETE_WHILE_MOUNTED}'] != 'true'"
            ),
        ),
        condition("has-not-begun-before", "!has(oldObject.metadata.deletionTimestamp)".to_owned()),
    ]
}

/// The API server evaluates this itself, so a webhook that is down stops no other pod.
fn asks_for_models() -> MatchCondition {
    let has = |prefix: &str| format!("'{prefix}/{INJECT}' in object.metadata.annotations");
    MatchCondition {
        name: "asks-for-models".to_owned(),
        expression: format!("has(object.metadata.annotations) && ({} || {})", has(GROUP), has(SPECIFICATION_PREFIX)),
    }
}
