//! Published content is read again when somebody asks, once for each request.

#![allow(clippy::unwrap_used, reason = "support code of tests fails as tests do")]

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use model_core::api::{Phase, Verification, VerificationResult as Found};
use model_core::labels::{CONTENT_ID, VERIFY};
use model_core::report::{CheckedFile, FileState, Outcome, Verified};
use serde_json::{Value, json};

use crate::plane::{Scene, until};

const JOB: &str = "model-verify-llama";

async fn ask(scene: &Scene, request: &str) {
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { VERIFY: request } } }));
    scene.models.patch("llama", &PatchParams::default(), &patch).await.unwrap();
}

async fn job(scene: &Scene, not: Option<&str>) -> Job {
    until("a verify Job", async || {
        let job = scene.jobs.get_opt(JOB).await.unwrap()?;
        (job.uid().as_deref() != not && job.metadata.deletion_timestamp.is_none()).then_some(job)
    })
    .await
}

async fn answer(scene: &Scene, request: &str, wanted: Found) -> Verification {
    let is = |known: &Verification| known.request == request && known.result == wanted;
    let status = scene.status_with("an answer", |status| status.verification.as_ref().is_some_and(is)).await;
    assert_eq!(status.phase, Some(Phase::Ready), "whatever it finds");
    status.verification.unwrap()
}

/// The Job's pod, made from its template, ends with this message.
async fn pod_ends(scene: &Scene, job: &Job, outcome: &Outcome) {
    let template = job.spec.clone().unwrap().template;
    let mut metadata = serde_json::to_value(template.metadata).unwrap();
    metadata["name"] = json!(format!("{JOB}-{}", job.uid().unwrap()));
    metadata["ownerReferences"] =
        json!([{ "apiVersion": "batch/v1", "kind": "Job", "name": JOB, "uid": job.uid(), "controller": true }]);
    let pod: Pod = serde_json::from_value(json!({ "metadata": metadata, "spec": template.spec })).unwrap();
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let pod = pods.create(&PostParams::default(), &pod).await.unwrap();
    let state = json!({ "terminated": { "exitCode": 2, "message": outcome.to_termination_message() } });
    let container =
        json!({ "name": "download", "image": "a", "imageID": "", "ready": false, "restartCount": 0, "state": state });
    scene.patch_status(&pods, &pod.name_any(), &json!({ "phase": "Failed", "containerStatuses": [container] })).await;
}

async fn ready(scene: &Scene, access_mode: &str) {
    // The namespace's service account is made by a controller that does not run here.
    let account = serde_json::from_value(json!({ "metadata": { "name": "default" } })).unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(scene.client.clone(), &scene.namespace);
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let model = json!({
        "apiVersion": "models.main-currents.news/v1alpha1", "kind": "Model",
        "metadata": { "name": "llama" },
        "spec": {
            "source": { "url": { "url": "https://example.com/a" } },
            "storage": { "size": "1Gi", "accessModes": [access_mode] },
        },
    });
    scene.models.create(&PostParams::default(), &serde_json::from_value(model).unwrap()).await.unwrap();
    scene.job(None).await;
    scene.job_ends("Complete").await;
    scene.phase(Phase::Ready).await;
}

#[tokio::test]
async fn each_request_is_answered_by_one_job() {
    let scene = Scene::new("verify").await;
    ready(&scene, "ReadWriteOnce").await;
    ask(&scene, "1").await;
    let first = job(&scene, None).await;
    let content = scene.status().await.content.unwrap();
    assert_eq!((&first.annotations()[VERIFY], &first.annotations()[CONTENT_ID]), (&"1".to_owned(), &content.id));
    answer(&scene, "1", Found::Running).await;
    let fault = CheckedFile { file: "model.bin".into(), bytes: Some(3), state: FileState::Changed };
    let damaged = Verified { bytes: 3, files: 2, fault_count: 1, faults: vec![fault] };
    pod_ends(&scene, &first, &Outcome::Verified(damaged)).await;
    scene.ends(JOB, "Failed").await;
    let known = answer(&scene, "1", Found::Damaged).await;
    assert_eq!(known.message.as_deref(), Some("changed model.bin"));
    until("an Event", async || scene.events().await.contains(&"ContentDamaged".to_owned()).then_some(())).await;

    ask(&scene, "2").await;
    let second = job(&scene, first.uid().as_deref()).await;
    pod_ends(&scene, &second, &Outcome::Verified(Verified { bytes: 3, files: 2, ..Verified::default() })).await;
    scene.ends(JOB, "Complete").await;
    let known = answer(&scene, "2", Found::Intact).await;
    assert_eq!((known.files, known.faults, known.content), (Some(2), Some(0), Some(content.id)));

    // Who deletes a Job that runs takes the request back, and nothing starts again.
    ask(&scene, "3").await;
    job(&scene, second.uid().as_deref()).await;
    answer(&scene, "3", Found::Running).await;
    scene.jobs.delete(JOB, &DeleteParams::background()).await.unwrap();
    answer(&scene, "3", Found::Failed).await;
    assert!(scene.jobs.get_opt(JOB).await.unwrap().is_none());
}

#[tokio::test]
async fn a_claim_that_one_pod_has_is_not_waited_for() {
    let scene = Scene::new("verify-one-pod").await;
    ready(&scene, "ReadWriteOncePod").await;
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let holder: Value = json!({
        "metadata": { "name": "server-1" },
        "spec": {
            "nodeName": "node-1", "automountServiceAccountToken": false,
            "containers": [{ "name": "app", "image": "app" }],
            "volumes": [{ "name": "m", "persistentVolumeClaim": { "claimName": "model-llama" } }],
        },
    });
    pods.create(&PostParams::default(), &serde_json::from_value(holder).unwrap()).await.unwrap();
    ask(&scene, "1").await;
    let known = answer(&scene, "1", Found::Failed).await;
    assert!(known.message.unwrap().contains("pod server-1 has the claim"));
    assert!(scene.jobs.get_opt(JOB).await.unwrap().is_none());
}
