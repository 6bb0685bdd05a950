//! What is read of the operator's Jobs and of their pods. The rest, which is most of them, is passed over.
//!
//! Written, each is its Kubernetes object without what no pass reads, and can be read as that.

use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::{Affinity, Pod, PodStatus, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Serialize};

/// A Job: whether it is held back, to which nodes its pods are bound, and how it stands.
#[derive(Resource, Clone, Debug, Serialize, Deserialize)]
#[resource(inherit = Job)]
pub(crate) struct WatchedJob {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: WatchedJobSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<JobStatus>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct WatchedJobSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suspend: Option<bool>,
    #[serde(default)]
    template: Template,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Template {
    #[serde(default)]
    spec: TemplateSpec,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct TemplateSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    affinity: Option<Box<Affinity>>,
}

/// A pod: where it is, what it mounts, which is told where it does not start, and how it stands.
#[derive(Resource, Clone, Debug, Serialize, Deserialize)]
#[resource(inherit = Pod)]
pub(crate) struct WatchedPod {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: WatchedPodSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PodStatus>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WatchedPodSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node_name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    volumes: Vec<Volume>,
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    /// What is left of an object that was watched as `W` and is read as `K`.
    fn read<W: Serialize + DeserializeOwned, K: Serialize + DeserializeOwned>(object: Value) -> Value {
        let watched: W = serde_json::from_value(object).unwrap();
        let object: K = serde_json::from_slice(&serde_json::to_vec(&watched).unwrap()).unwrap();
        serde_json::to_value(object).unwrap()
    }

    #[test]
    fn what_passes_read_of_a_job_is_there_and_no_more() {
        let metadata = json!({ "name": "a", "namespace": "b", "annotations": { "c": "d" } });
        let affinity = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [] } } });
        let status = json!({ "active": 1, "conditions": [{ "type": "Complete", "status": "True" }] });
        let pod = json!({ "affinity": affinity, "containers": [{ "name": "app", "image": "app" }] });
        let spec = json!({ "suspend": true, "backoffLimit": 3, "template": { "metadata": metadata, "spec": pod } });
        let job = read::<WatchedJob, Job>(json!({ "metadata": metadata, "spec": spec, "status": status }));
        let kept = json!({ "suspend": true, "template": { "spec": { "affinity": affinity, "containers": [] } } });
        assert_eq!(job["metadata"], metadata);
        assert_eq!(job["spec"], kept);
        assert_eq!(job["status"], status);
        let bare = read::<WatchedJob, Job>(json!({ "metadata": {} }));
        assert_eq!(bare["spec"], json!({ "template": { "spec": { "containers": [] } } }));
    }

    #[test]
    fn what_passes_read_of_a_pod_is_there_and_no_more() {
        let volumes = json!([{ "name": "weights", "persistentVolumeClaim": { "claimName": "model-tiny" } }]);
        let status = json!({ "phase": "Running", "containerStatuses": [], "startTime": "2026-01-01T00:00:00Z" });
        let spec =
            json!({ "nodeName": "n", "volumes": volumes, "containers": [{ "name": "app" }], "hostNetwork": true });
        let pod = read::<WatchedPod, Pod>(json!({ "metadata": { "name": "a" }, "spec": spec, "status": status }));
        assert_eq!(pod["spec"], json!({ "nodeName": "n", "volumes": volumes, "containers": [] }));
        assert_eq!(pod["status"], status);
    }
}
