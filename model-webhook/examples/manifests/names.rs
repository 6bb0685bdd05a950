//! Names, labels and metadata that the manifests share.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Where the operator runs.
pub const NAMESPACE: &str = "model-system";
pub const CONTROLLER: &str = "model-controller";
/// Also the name of the webhook's Service: the certificate is made for it.
pub const WEBHOOK: &str = "model-webhook";
/// Secret with the webhook's certificate.
pub const CERTIFICATE: &str = "model-webhook-tls";

/// Selects the pods of one component.
pub fn selector(component: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("app.kubernetes.io/name".to_owned(), component.to_owned())])
}

fn labels(component: &str) -> BTreeMap<String, String> {
    let part_of = ("app.kubernetes.io/part-of".to_owned(), "model-operator".to_owned());
    selector(component).into_iter().chain([part_of]).collect()
}

/// Metadata of an object of the operator's namespace.
pub fn namespaced(component: &str) -> ObjectMeta {
    ObjectMeta { namespace: Some(NAMESPACE.to_owned()), ..cluster_wide(component) }
}

/// Metadata of an object of no namespace.
pub fn cluster_wide(component: &str) -> ObjectMeta {
    ObjectMeta { name: Some(component.to_owned()), labels: Some(labels(component)), ..ObjectMeta::default() }
}

/// Metadata of a pod template. The annotations are those that Prometheus is commonly configured to look for.
pub fn template(component: &str, metrics_port: i32) -> ObjectMeta {
    let annotations = [("scrape", "true".to_owned()), ("port", metrics_port.to_string())];
    let annotations = annotations.map(|(key, value)| (format!("prometheus.io/{key}"), value));
    ObjectMeta { labels: Some(labels(component)), annotations: Some(annotations.into()), ..ObjectMeta::default() }
}
