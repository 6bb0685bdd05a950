//! The source is asked before there is a claim. Nothing runs pods there: each test plays the plan Job's pod.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use model_core::api::{ModelStatus, Phase};
use serde_json::{Value, json};

use crate::plane::{Scene, until};

pub const PLAN: &str = "model-plan-llama";

async fn apply(scene: &Scene, storage: &Value, preflight: bool) {
    let model = json!({
        "apiVersion": "models.main-currents.news/v1alpha1", "kind": "Model", "metadata": { "name": "llama" },
        "spec": {
            "source": { "huggingFace": { "repoId": "acme/llama" } }, "storage": storage, "preflight": preflight,
        },
    });
    let params = PatchParams::apply("user").force();
    scene.models.patch("llama", &params, &Patch::Apply(&model)).await.unwrap();
}

/// Waits for a plan Job other than `not`.
pub async fn plan(scene: &Scene, not: Option<&str>) -> Job {
    until("a plan Job", async || {
        let job = scene.jobs.get_opt(PLAN).await.unwrap()?;
        (job.uid().as_deref() != not && job.metadata.deletion_timestamp.is_none()).then_some(job)
    })
    .await
}

/// The plan Job's pod ends with this message, and the Job with it.
pub async fn ends(scene: &Scene, job: &Job, condition: &str, message: &Value) {
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let name = format!("plan-{}", job.uid().unwrap());
    let owner =
        json!([{ "apiVersion": "batch/v1", "kind": "Job", "name": PLAN, "uid": job.uid(), "controller": true }]);
    let pod = json!({
        "metadata": {
            "name": name, "ownerReferences": owner,
            "labels": { "models.main-currents.news/model": "llama", "app.kubernetes.io/managed-by": "model-operator" },
        },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{ "name": "download", "image": "loader" }],
        },
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let code = i32::from(condition != "Complete");
    let ended = json!({ "terminated": { "exitCode": code, "message": message.to_string() } });
    let status = json!({ "containerStatuses": [{
        "name": "download", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": ended,
    }] });
    scene.patch_status(&pods, &name, &status).await;
    scene.ends(PLAN, condition).await;
}

pub async fn scene(namespace: &str) -> Scene {
    let scene = Scene::new(namespace).await;
    let account: ServiceAccount = serde_json::from_value(json!({ "metadata": { "name": "default" } })).unwrap();
    Api::namespaced(scene.client.clone(), &scene.namespace).create(&PostParams::default(), &account).await.unwrap();
    scene
}

pub fn reason<'a>(status: &'a ModelStatus, kind: &str) -> Option<&'a str> {
    let condition = status.conditions.iter().find(|condition| condition.type_ == kind)?;
    Some(&condition.reason)
}

#[tokio::test]
async fn a_claim_gets_the_size_that_the_source_tells() {
    let scene = scene("no-size").await;
    apply(&scene, &json!({}), false).await;
    let job = plan(&scene, None).await;
    let status = scene.status_with("planning", |status| reason(status, "Ready") == Some("Planning")).await;
    assert_eq!((status.phase, reason(&status, "SourceReachable")), (Some(Phase::Pending), Some("NotChecked")));
    assert!(scene.claims.get_opt("model-llama").await.unwrap().is_none());

    let planned = json!({ "planned": { "resolvedRevision": "c0ffee", "bytes": 17_179_869_184_u64, "files": 10 } });
    ends(&scene, &job, "Complete", &planned).await;
    scene.job(None).await;
    let claim = scene.claims.get("model-llama").await.unwrap();
    let size = claim.spec.unwrap().resources.unwrap().requests.unwrap()["storage"].0.clone();
    assert_eq!(size, "36Gi", "two copies and a tenth");
    let status = scene.phase(Phase::Downloading).await;
    assert_eq!(reason(&status, "SourceReachable"), Some("SourceAnswered"));
    let download = status.download.unwrap();
    assert_eq!((download.total_bytes, download.total_files, download.attempt), (Some(17_179_869_184), Some(10), 1));
    assert_eq!(download.resolved_revision.as_deref(), Some("c0ffee"));
    scene.job_ends("Complete").await;
    scene.phase(Phase::Ready).await;
}

#[tokio::test]
async fn what_cannot_be_downloaded_is_said_before_there_is_a_claim() {
    let scene = scene("preflight").await;
    apply(&scene, &json!({ "size": "1Gi" }), true).await;
    let first = plan(&scene, None).await;
    ends(&scene, &first, "Failed", &json!({ "failed": { "reason": "AccessDenied", "message": "the hub says no" } }))
        .await;
    let refused = scene.phase(Phase::Failed).await;
    assert_eq!(
        (reason(&refused, "Ready"), reason(&refused, "SourceReachable")),
        (Some("AccessDenied"), Some("AccessDenied"))
    );
    assert!(refused.message.unwrap().starts_with("the hub says no"));

    // As with a download, whoever deletes the failed Job wishes to retry.
    scene.jobs.delete(PLAN, &DeleteParams::background()).await.unwrap();
    let second = plan(&scene, first.uid().as_deref()).await;
    ends(&scene, &second, "Complete", &json!({ "planned": { "bytes": 2_147_483_648_u64, "files": 3 } })).await;
    let small = scene.status_with("the size", |status| reason(status, "Ready") == Some("StorageTooSmall")).await;
    assert_eq!(small.phase, Some(Phase::Failed));
    let message = small.message.unwrap();
    assert!(message.contains("is 1Gi") && message.contains("at least 2049Mi") && message.contains("5Gi"), "{message}");
    assert!(scene.claims.get_opt("model-llama").await.unwrap().is_none(), "nothing was provisioned");

    apply(&scene, &json!({ "size": "3Gi" }), true).await;
    scene.job(None).await;
    let claim = scene.claims.get("model-llama").await.unwrap();
    assert_eq!(claim.spec.unwrap().resources.unwrap().requests.unwrap()["storage"].0, "3Gi");
}
