//! The life of a Model, as its user sees it.

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use model_core::api::Phase;
use serde_json::json;

use crate::plane::{Scene, until};

#[tokio::test]
async fn a_model_gets_a_claim_and_a_job_and_becomes_ready() {
    let scene = Scene::new("life").await;
    let model = scene.apply("https://example.com/a").await;
    scene.phase(Phase::Downloading).await;
    let job = scene.job(None).await;
    let claim = scene.claims.get("model-llama").await.unwrap();
    for owners in [job.owner_references(), claim.owner_references()] {
        assert_eq!(owners.iter().map(|owner| owner.uid.clone()).collect::<Vec<_>>(), [model.uid().unwrap()]);
    }
    assert_eq!(job.annotations()["models.main-currents.news/claim-uid"], claim.uid().unwrap());

    scene.job_ends("Complete").await;
    let status = scene.phase(Phase::Ready).await;
    assert_eq!(status.progress, Some(100));
    assert_eq!(status.claim_uid, claim.uid());
    assert_eq!(status.observed_generation, model.metadata.generation);

    // Touching a child makes a pass, and that pass writes nothing.
    let settled = scene.models.get("llama").await.unwrap().resource_version();
    let touch = json!({ "metadata": { "annotations": { "touched": "yes" } } });
    scene.jobs.patch("model-download-llama", &PatchParams::default(), &Patch::Merge(&touch)).await.unwrap();
    scene.claims.patch("model-llama", &PatchParams::default(), &Patch::Merge(&touch)).await.unwrap();
    scene.delete_job().await;
    let of_job = ListParams::default();
    until("the Job is gone", async || scene.jobs.list(&of_job).await.unwrap().items.is_empty().then_some(())).await;
    assert_eq!(scene.models.get("llama").await.unwrap().resource_version(), settled);
    // Nobody played the loader's report, so nothing says that the files were verified.
    assert_eq!(scene.events().await, ["Downloading", "NotVerified"]);
}

#[tokio::test]
async fn deleting_the_failed_job_retries() {
    let scene = Scene::new("retry").await;
    scene.apply("https://example.com/a").await;
    let first = scene.job(None).await.uid();
    scene.job_ends("Failed").await;
    let status = scene.phase(Phase::Failed).await;
    let message = status.message.unwrap();
    assert!(message.contains("kubectl logs job/model-download-llama"), "{message}");
    assert_eq!(status.download.unwrap().last_failure.unwrap().message, "played by the test");
    scene.delete_job().await;
    scene.job(first.as_deref()).await;
    let status = scene.phase(Phase::Downloading).await;
    assert_eq!(status.download.unwrap().attempt, 2);
    scene.job_ends("Complete").await;
    scene.phase(Phase::Ready).await;
}

#[tokio::test]
async fn a_lost_claim_starts_over_and_the_old_job_counts_no_more() {
    let scene = Scene::new("lost-claim").await;
    scene.apply("https://example.com/a").await;
    let first = scene.job(None).await.uid();
    scene.job_ends("Complete").await;
    let before = scene.phase(Phase::Ready).await;
    scene.lose_claim().await;
    // The succeeded Job is still there. It must go, and a new one must come, before the Model is ready again.
    scene.job(first.as_deref()).await;
    scene.job_ends("Complete").await;
    let after = scene.status_with("ready on the new claim", |status| {
        status.phase == Some(Phase::Ready) && status.claim_uid != before.claim_uid
    });
    assert_eq!(after.await.claim_uid, scene.claims.get("model-llama").await.unwrap().uid());
}

#[tokio::test]
async fn a_new_spec_downloads_beside_content_that_stays_ready() {
    let scene = Scene::new("refresh").await;
    scene.apply("https://example.com/a").await;
    let first = scene.job(None).await.uid();
    scene.job_ends("Complete").await;
    let old = scene.phase(Phase::Ready).await.content.unwrap();
    scene.apply("https://example.com/b").await;
    let second = scene.job(first.as_deref()).await;
    let status = scene.status_with("the refresh is recorded", |status| {
        status.download.as_ref().is_some_and(|download| download.id != old.id && download.started_at.is_some())
    });
    let status = status.await;
    assert_eq!((status.phase, status.content.as_ref()), (Some(Phase::Ready), Some(&old)));
    scene.job_ends("Complete").await;
    let status = scene.status_with("the new content is offered", |status| {
        status.content.as_ref().is_some_and(|content| content.id != old.id)
    });
    let new = status.await.content.unwrap();
    assert_eq!(second.annotations()["models.main-currents.news/content-id"], new.id);
    assert_ne!(new.path, old.path);
}

#[tokio::test]
async fn a_missing_storage_class_is_named_as_the_error_table_does() {
    let scene = Scene::new("no-class").await;
    scene.apply_with("https://example.com/a", json!("missing")).await;
    let status = scene.status_with("the class is named", |status| {
        status.message.as_deref().is_some_and(|message| message.contains("storage class \"missing\" not found"))
    });
    let message = status.await.message.unwrap();
    assert!(message.starts_with("PVC stuck Pending: "), "{message}");
    assert!(message.contains("verify storage class exists"), "{message}");
    until("an Event", async || scene.events().await.contains(&"StorageClassNotFound".to_owned()).then_some(())).await;
}

#[tokio::test]
async fn what_the_api_server_refuses_is_said_in_status_and_tried_again() {
    let scene = Scene::new("quota").await;
    let quotas: Api<ResourceQuota> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let metadata = ObjectMeta { name: Some("none".into()), ..ObjectMeta::default() };
    let hard = json!({ "hard": { "persistentvolumeclaims": "0" }, "used": { "persistentvolumeclaims": "0" } });
    let spec = serde_json::from_value(json!({ "hard": hard["hard"] })).unwrap();
    let quota = ResourceQuota { metadata, spec: Some(spec), status: None };
    quotas.create(&PostParams::default(), &quota).await.unwrap();
    scene.patch_status(&quotas, "none", &hard).await;

    scene.apply("https://example.com/a").await;
    let status = scene.status_with("the refusal", |status| status.message.is_some()).await;
    let message = status.message.unwrap();
    assert!(message.starts_with("could not create the claim: "), "{message}");
    assert!(message.contains("exceeded quota: none"), "{message}");
    assert_eq!(status.phase, Some(Phase::Pending));
    until("an Event", async || scene.events().await.contains(&"QuotaExceeded".to_owned()).then_some(())).await;

    quotas.delete("none", &DeleteParams::default()).await.unwrap();
    scene.phase(Phase::Downloading).await;
}
