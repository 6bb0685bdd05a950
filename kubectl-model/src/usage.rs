//! What Models take, and who uses them.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use model_core::api::Model;
use model_core::labels;
use model_core::names::{prune_job_name, verify_job_name};

use crate::table::table;
use model_core::figures::bytes;

/// The claims of Models, one a line: what they hold, how large they are, and which pods mount them. A Model without a
/// claim is shown as well.
#[must_use]
pub fn usage(models: &[Model], claims: &[PersistentVolumeClaim], pods: &[Pod]) -> String {
    let mut models: Vec<&Model> = models.iter().collect();
    models.sort_by_key(|model| (model.namespace(), model.name_any()));
    let rows: Vec<Vec<String>> = models.iter().map(|model| row(model, claims, pods)).collect();
    table(&["NAMESPACE", "MODEL", "CLAIM", "SIZE", "HOLDS", "MOUNTED BY"], rows)
}

fn row(model: &Model, claims: &[PersistentVolumeClaim], pods: &[Pod]) -> Vec<String> {
    let (namespace, name) = (model.namespace(), model.name_any());
    let claim = model.spec.storage.claim_name(&name);
    let found = claims.iter().find(|other| other.name_any() == claim && other.namespace() == namespace);
    let holds = model.status.as_ref().and_then(|status| status.content.as_ref()).and_then(|content| content.bytes);
    let users = pods.iter().filter(|pod| pod.namespace() == namespace && mounts(pod, &claim)).map(shown);
    let users: Vec<String> = users.collect();
    let none = || "-".to_owned();
    vec![
        namespace.unwrap_or_default(),
        name,
        found.map_or_else(none, |_| claim.clone()),
        found.and_then(size).unwrap_or_else(none),
        holds.map_or_else(none, bytes),
        if users.is_empty() { none() } else { users.join(", ") },
    ]
}

/// The pod's name; that of the download is marked, and so is a pod that has ended and so keeps the claim all the same.
fn shown(pod: &Pod) -> String {
    let name = pod.name_any();
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    match phase {
        _ if pod.labels().contains_key(labels::MODEL) => format!("{name} ({})", purpose(pod)),
        Some("Succeeded" | "Failed") => format!("{name} (ended)"),
        _ => name,
    }
}

/// What a pod of the operator's does with the claim.
fn purpose(pod: &Pod) -> &'static str {
    let model = pod.labels().get(labels::MODEL).map(String::as_str).unwrap_or_default();
    let job = pod.owner_references().iter().map(|owner| owner.name.as_str()).next().unwrap_or_default();
    match job {
        job if job == verify_job_name(model) => "check",
        job if job == prune_job_name(model) => "clean-up",
        _ => "download",
    }
}

/// Whether a volume of the pod is this claim.
#[must_use]
pub fn mounts(pod: &Pod, claim: &str) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref()).any(|volume| volume.claim_name == claim)
}

/// The size that the claim has, else the one that it asks for.
pub(crate) fn size(claim: &PersistentVolumeClaim) -> Option<String> {
    let has = claim.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("storage"));
    let asks = || claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage");
    has.or_else(asks).map(|quantity| quantity.0.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_and_their_users_are_a_table() {
        let model = |name: &str, status| {
            json!({
                "apiVersion": "models.main-currents.news/v1alpha1", "kind": "Model",
                "metadata": { "name": name, "namespace": "team" },
                "spec": { "source": { "url": { "url": "https://host/a" } }, "storage": { "size": "1Gi" } },
                "status": status,
            })
        };
        let content =
            json!({ "id": "b", "path": "", "source": { "url": { "url": "https://host/a" } }, "bytes": 734_003_200 });
        let models = json!([model("tiny", json!({ "content": content })), model("new", json!({}))]);
        let models: Vec<Model> = serde_json::from_value(models).unwrap();
        let claims: Vec<PersistentVolumeClaim> = serde_json::from_value(json!([{
            "metadata": { "name": "model-tiny", "namespace": "team" },
            "spec": { "resources": { "requests": { "storage": "1Gi" } } },
        }]))
        .unwrap();
        let pod = |name: &str, namespace: &str, phase: &str, labels| {
            json!({
                "metadata": { "name": name, "namespace": namespace, "labels": labels },
                "spec": { "containers": [], "volumes": [{ "name": "m", "persistentVolumeClaim": { "claimName": "model-tiny" } }] },
                "status": { "phase": phase },
            })
        };
        let of_tiny = json!({ "models.main-currents.news/model": "tiny" });
        let mut check = pod("model-verify-tiny-x", "team", "Running", of_tiny.clone());
        check["metadata"]["ownerReferences"] =
            json!([{ "apiVersion": "batch/v1", "kind": "Job", "name": "model-verify-tiny", "uid": "u" }]);
        let pods: Vec<Pod> = serde_json::from_value(json!([
            pod("server-1", "team", "Running", json!({})),
            pod("batch-1", "team", "Succeeded", json!({})),
            pod("model-download-tiny-x", "team", "Succeeded", of_tiny),
            pod("elsewhere", "other", "Running", json!({})),
            check,
        ]))
        .unwrap();
        insta::assert_snapshot!(usage(&models, &claims, &pods));
    }
}
