//! How the API server is told to ask about pods: the `MutatingWebhookConfiguration`.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta};
use model_core::labels::inject::INJECT;
use model_core::labels::{GROUP, SPECIFICATION_PREFIX};

/// Name of the configuration object.
pub const NAME: &str = "model-webhook";

/// Name of the webhook, as denials show it.
pub const WEBHOOK: &str = "inject.models.main-currents.news";

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
    MutatingWebhookConfiguration {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            labels: Some(BTreeMap::from([("app.kubernetes.io/name".to_owned(), NAME.to_owned())])),
            ..ObjectMeta::default()
        },
        webhooks: Some(vec![webhook]),
    }
}

/// The API server evaluates this itself, so a webhook that is down stops no other pod.
fn asks_for_models() -> MatchCondition {
    let has = |prefix: &str| format!("'{prefix}/{INJECT}' in object.metadata.annotations");
    MatchCondition {
        name: "asks-for-models".to_owned(),
        expression: format!("has(object.metadata.annotations) && ({} || {})", has(GROUP), has(SPECIFICATION_PREFIX)),
    }
}
