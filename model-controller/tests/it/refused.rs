//! What the cluster refuses to our children, said on the Model. Nothing makes pods or volumes there: each test plays
//! the Job controller and the provisioner.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, PostParams};
use kube::{Resource, ResourceExt};
use model_core::api::ModelStatus;
use serde_json::json;

use crate::plane::{Scene, until};

/// Leaves a warning on an object as the controllers of Kubernetes do.
async fn warn(scene: &Scene, object: &impl Resource<DynamicType = ()>, kind: &str, reason: &str, message: &str) {
    let (name, uid) = (object.meta().name.clone().unwrap(), object.meta().uid.clone().unwrap());
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let event = json!({
        "metadata": { "generateName": "played-" },
        "involvedObject": { "kind": kind, "namespace": scene.namespace, "name": name, "uid": uid },
        "reason": reason, "message": message, "type": "Warning", "count": 1,
        "firstTimestamp": now, "lastTimestamp": now, "source": { "component": "test" },
    });
    let events: Api<Event> = Api::namespaced(scene.client.clone(), &scene.namespace);
    events.create(&PostParams::default(), &serde_json::from_value(event).unwrap()).await.unwrap();
}

fn reason(status: &ModelStatus) -> Option<&str> {
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some(&ready.reason)
}

#[tokio::test]
async fn a_job_that_gets_no_pod_says_which_rule_forbids_it() {
    let scene = Scene::new("no-pod").await;
    scene.apply("https://example.com/a").await;
    let job = scene.job(None).await;
    let other = scene.claims.get("model-llama").await.unwrap();
    warn(&scene, &other, "Job", "FailedCreate", "exceeded quota: of another object").await;
    let refused =
        r#"Error creating: pods "model-download-llama-x" is forbidden: violates PodSecurity "restricted:latest": x"#;
    warn(&scene, &job, "Job", "FailedCreate", refused).await;
    let status = scene.status_with("the rule", |status| reason(status) == Some("PodSecurityViolated")).await;
    let message = status.message.unwrap();
    assert!(message.contains(refused), "{message}");
    until("an Event", async || scene.events().await.contains(&"PodSecurityViolated".to_owned()).then_some(())).await;

    // The next Job's own Events count, not those of the first.
    scene.delete_job().await;
    let next = scene.job(job.uid().as_deref()).await;
    scene.status_with("a second attempt", |status| reason(status) == Some("Downloading")).await;
    warn(&scene, &next, "Job", "FailedCreate", r#"pods "x" is forbidden: exceeded quota: none"#).await;
    scene.status_with("the quota", |status| reason(status) == Some("QuotaExceeded")).await;
}

#[tokio::test]
async fn a_claim_that_gets_no_volume_says_it_in_its_provisioners_words() {
    let scene = Scene::new("no-volume").await;
    scene.apply("https://example.com/a").await;
    let claim = scene.claims.get("model-llama");
    scene.job(None).await;
    let claim = claim.await.unwrap();
    warn(&scene, &claim, "PersistentVolumeClaim", "ProvisioningFailed", "no space in pool fast").await;
    let status = scene.status_with("the provisioner's words", |status| {
        status.message.as_deref().is_some_and(|message| message.contains("no space in pool fast"))
    });
    let status = status.await;
    assert_eq!(reason(&status), Some("ClaimPending"));
    let bound = status.conditions.iter().find(|condition| condition.type_ == "StorageBound").unwrap();
    assert_eq!((bound.status.as_str(), bound.reason.as_str()), ("False", "ClaimPending"));
}

#[tokio::test]
async fn a_pod_that_its_node_cannot_start_says_it_in_the_nodes_words() {
    let scene = Scene::new("no-sandbox").await;
    scene.apply("https://example.com/a").await;
    let job = scene.job(None).await;
    let controller = json!({
        "apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "uid": job.uid(), "controller": true,
    });
    let pod = json!({
        "metadata": {
            "name": "model-download-llama-x", "ownerReferences": [controller],
            "labels": { "models.main-currents.news/model": "llama" },
        },
        "spec": { "nodeName": "node", "containers": [{ "name": "download", "image": "none" }] },
    });
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let pod = pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    warn(&scene, &pod, "Pod", "FailedCreatePodSandBox", "plugin failed (add): no IPs available").await;
    let placed = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(1);
    let status = json!({ "phase": "Pending", "conditions": [
        { "type": "PodScheduled", "status": "True", "lastTransitionTime": placed.to_string() },
        { "type": "PodReadyToStartContainers", "status": "False", "lastTransitionTime": placed.to_string() },
    ] });
    scene.patch_status(&pods, &pod.name_any(), &status).await;
    let status = scene.status_with("the node's words", |status| reason(status) == Some("SandboxFailed")).await;
    let message = status.message.unwrap();
    assert!(message.contains("plugin failed (add): no IPs available"), "{message}");
}
