//! Where the API server finds the webhook.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ServiceReference, ValidatingAdmissionPolicy, ValidatingWebhookConfiguration,
    WebhookClientConfig,
};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use model_webhook::{DELETION_PATH, PATH, gate_policy, operator_policy, registration};

use crate::names::{CONTROLLER, NAMESPACE, WEBHOOK, namespaced, selector};

pub fn service() -> Service {
    Service {
        metadata: namespaced(WEBHOOK),
        spec: Some(ServiceSpec {
            selector: Some(selector(WEBHOOK)),
            ports: Some(vec![ServicePort {
                name: Some("https".to_owned()),
                port: 443,
                target_port: Some(IntOrString::String("https".to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

pub fn configuration() -> MutatingWebhookConfiguration {
    registration::configuration(client_config(PATH), NAMESPACE)
}

pub fn deletion() -> ValidatingWebhookConfiguration {
    registration::deletion_configuration(client_config(DELETION_PATH))
}

/// Without `caBundle`: each installation has its own, which `config/kustomization.yaml` takes from the Secret.
fn client_config(path: &str) -> WebhookClientConfig {
    let service = ServiceReference {
        name: WEBHOOK.to_owned(),
        namespace: NAMESPACE.to_owned(),
        path: Some(path.to_owned()),
        port: None,
    };
    WebhookClientConfig { service: Some(service), ..WebhookClientConfig::default() }
}

/// The controller may take the gate off waiting pods, and nobody else.
pub fn gates() -> ValidatingAdmissionPolicy {
    gate_policy::gate_policy(&controller())
}

/// What the controller may write.
pub fn operator() -> ValidatingAdmissionPolicy {
    operator_policy::operator_policy(&controller())
}

/// The controller as a user.
fn controller() -> String {
    format!("system:serviceaccount:{NAMESPACE}:{CONTROLLER}")
}
