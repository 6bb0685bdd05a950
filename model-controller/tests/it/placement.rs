//! Downloads run where their claim can be mounted.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use model_core::api::Phase;
use model_core::observed::nodes_of;
use serde_json::{Value, json};

use crate::plane::{Scene, until};

/// Applies a Model with a claim of these access modes.
async fn apply(scene: &Scene, url: &str, access_modes: Value) {
    let model = json!({
        "apiVersion": "models.main-currents.news/v1alpha1",
        "kind": "Model",
        "metadata": { "name": "llama" },
        "spec": {
            "source": { "url": { "url": url } },
            "storage": { "size": "1Gi", "accessModes": access_modes },
        },
    });
    let params = PatchParams::apply("user").force();
    scene.models.patch("llama", &params, &Patch::Apply(&model)).await.expect("the Model is accepted");
}

/// Nothing of the operator watches the pods that use a claim; a change of the Model stands in for the time that passes.
async fn poke(scene: &Scene) {
    let now = jiff::Timestamp::now().to_string();
    let patch = json!({ "metadata": { "annotations": { "test": now } } });
    scene
        .models
        .patch("llama", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .expect("an annotation is accepted");
}

fn pods(scene: &Scene) -> Api<Pod> {
    Api::namespaced(scene.client.clone(), &scene.namespace)
}

/// A pod on a node that mounts the Model's claim.
async fn user(scene: &Scene, name: &str, node: &str) {
    let pod = json!({
        "metadata": { "name": name },
        "spec": {
            "nodeName": node,
            "containers": [{ "name": "app", "image": "app" }],
            "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "model-llama" } }],
        },
    });
    let pod = serde_json::from_value(pod).expect("a pod");
    pods(scene).create(&PostParams::default(), &pod).await.expect("the pod is accepted");
}

async fn leaves(scene: &Scene, pod: &str) {
    pods(scene).delete(pod, &DeleteParams::default().grace_period(0)).await.expect("the pod goes");
}

/// A pod of the Job that fits on no node.
async fn unschedulable(scene: &Scene, job: &Job) {
    let owner = job.controller_owner_ref(&()).expect("a stored Job");
    let pod = json!({
        "metadata": {
            "name": "stuck",
            "labels": job.labels(),
            "ownerReferences": [owner],
        },
        "spec": { "containers": [{ "name": "download", "image": "loader" }] },
    });
    let pods = pods(scene);
    let pod = serde_json::from_value(pod).expect("a pod");
    pods.create(&PostParams::default(), &pod).await.expect("the pod is accepted");
    let condition = json!({
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes are available",
    });
    scene.patch_status(&pods, "stuck", &json!({ "phase": "Pending", "conditions": [condition] })).await;
}

#[tokio::test]
async fn a_refresh_runs_where_pods_have_the_volume_and_moves_with_them() {
    let scene = Scene::new("placement").await;
    apply(&scene, "https://example.com/a", json!(["ReadWriteOnce"])).await;
    let first = scene.job(None).await;
    assert!(nodes_of(&first).is_empty(), "nobody uses the claim yet");
    scene.job_ends("Complete").await;
    scene.phase(Phase::Ready).await;

    user(&scene, "app", "n1").await;
    apply(&scene, "https://example.com/b", json!(["ReadWriteOnce"])).await;
    let second = scene.job(first.uid().as_deref()).await;
    assert_eq!(nodes_of(&second).into_iter().collect::<Vec<_>>(), ["n1"]);

    // The node goes before the download could start there; its pods come back elsewhere.
    unschedulable(&scene, &second).await;
    scene
        .status_with("the Job is seen to be stuck", |status| {
            status.conditions.iter().any(|condition| condition.reason == "Unschedulable")
        })
        .await;
    leaves(&scene, "app").await;
    user(&scene, "app-again", "n2").await;
    let third = until("a Job on the other node", async || {
        poke(&scene).await;
        let job = scene.jobs.get_opt("model-download-llama").await.unwrap()?;
        (job.uid() != second.uid() && job.metadata.deletion_timestamp.is_none()).then_some(job)
    })
    .await;
    assert_eq!(nodes_of(&third).into_iter().collect::<Vec<_>>(), ["n2"]);
}

#[tokio::test]
async fn a_claim_of_one_pod_is_waited_for() {
    let scene = Scene::new("one-pod").await;
    apply(&scene, "https://example.com/a", json!(["ReadWriteOncePod"])).await;
    let first = scene.job(None).await;
    scene.job_ends("Complete").await;
    scene.phase(Phase::Ready).await;

    user(&scene, "app", "n1").await;
    scene.delete_job().await;
    apply(&scene, "https://example.com/b", json!(["ReadWriteOncePod"])).await;
    let status = scene
        .status_with("the claim is in use", |status| {
            status.conditions.iter().any(|condition| condition.reason == "ClaimInUse")
        })
        .await;
    assert_eq!(status.phase, Some(Phase::Ready), "what is published stays");
    let message = status.message.unwrap();
    assert!(message.contains("claim model-llama is ReadWriteOncePod and pod app uses it"), "{message}");
    assert!(scene.jobs.get_opt("model-download-llama").await.unwrap().is_none());

    leaves(&scene, "app").await;
    poke(&scene).await;
    let second = scene.job(first.uid().as_deref()).await;
    assert!(nodes_of(&second).is_empty());
}
