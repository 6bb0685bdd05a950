//! The source is asked for newer content now and then. Nothing runs pods there: each test plays the pod of the Job.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use model_core::api::{ModelStatus, Phase};
use model_core::labels::CLAIM_UID;
use serde_json::{Value, json};

use crate::plane::{Scene, until};
use crate::preflight::{PLAN, ends, plan, reason, scene};

fn condition(status: &ModelStatus) -> (String, String) {
    let found = status.conditions.iter().find(|condition| condition.type_ == "UpToDate").unwrap();
    (found.status.clone(), found.reason.clone())
}

/// A Model that is Ready and has its source asked every day.
async fn ready(namespace: &str, spec: Value) -> (Scene, ModelStatus) {
    let scene = scene(namespace).await;
    scene.apply("https://example.com/model").await;
    scene.models.patch("llama", &PatchParams::default(), &Patch::Merge(json!({ "spec": spec }))).await.unwrap();
    scene.job(None).await;
    scene.job_ends("Complete").await;
    scene.phase(Phase::Ready).await;
    // As if the loader had told.
    let told = json!({ "content": { "resolvedRevision": "first", "listing": "files" } });
    scene.patch_status(&scene.models, "llama", &told).await;
    let seen = |status: &ModelStatus| status.message.as_ref().is_some_and(|message| message.contains("revision first"));
    let status = scene.status_with("the revision", seen).await;
    (scene, status)
}

/// As if so much time had passed: what is recorded is older.
async fn two_days_pass(scene: &Scene) {
    let check = scene.status().await.check.unwrap();
    let long_ago = |time: jiff::Timestamp| (time - jiff::SignedDuration::from_hours(48)).to_string();
    let mut older = json!({ "since": long_ago(check.since.0) });
    if let Some(checked) = check.checked_at {
        older["checkedAt"] = json!(long_ago(checked.0));
    }
    scene.patch_status(&scene.models, "llama", &json!({ "check": older })).await;
}

/// The result is recorded and the Job removed, in this order.
async fn recorded(scene: &Scene, job: &Job) -> ModelStatus {
    let uid = job.uid();
    let recorded = |status: &ModelStatus| status.check.as_ref().is_some_and(|check| check.job == uid);
    let status = scene.status_with("the result is recorded", recorded).await;
    until("the Job is removed", async || {
        let left = scene.jobs.get_opt(PLAN).await.unwrap();
        left.is_none_or(|left| left.metadata.deletion_timestamp.is_some() || left.uid() != uid).then_some(())
    })
    .await;
    status
}

#[tokio::test]
async fn newer_content_is_told_once_and_never_fetched() {
    let (scene, before) = ready("check", json!({ "checkInterval": "24h" })).await;
    assert!(scene.jobs.get_opt(PLAN).await.unwrap().is_none(), "not due yet");
    two_days_pass(&scene).await;
    let first = plan(&scene, None).await;
    assert_eq!(first.annotations()[CLAIM_UID], before.claim_uid.clone().unwrap());
    let same = json!({ "planned": { "resolvedRevision": "first", "listing": "files", "bytes": 7, "files": 1 } });
    ends(&scene, &first, "Complete", &same).await;
    let status = recorded(&scene, &first).await;
    assert_eq!(condition(&status), ("True".to_owned(), "UpToDate".to_owned()));

    two_days_pass(&scene).await;
    let second = plan(&scene, first.uid().as_deref()).await;
    let newer = json!({ "planned": { "resolvedRevision": "second", "listing": "others", "bytes": 7, "files": 1 } });
    ends(&scene, &second, "Complete", &newer).await;
    let status = recorded(&scene, &second).await;
    assert_eq!(condition(&status), ("False".to_owned(), "NewRevision".to_owned()));
    assert_eq!((status.phase, &status.message, &status.download), (before.phase, &before.message, &before.download));
    assert_eq!(status.content.as_ref().map(|content| &content.id), before.content.as_ref().map(|content| &content.id));
    let download = scene.jobs.get("model-download-llama").await.unwrap();
    let ended = download.status.and_then(|status| status.conditions).unwrap_or_default();
    assert!(ended.iter().any(|condition| condition.type_ == "Complete"), "the one that has ended: {ended:?}");

    // The same once more is no news; a source that is down takes nothing back.
    two_days_pass(&scene).await;
    let third = plan(&scene, second.uid().as_deref()).await;
    ends(&scene, &third, "Complete", &newer).await;
    recorded(&scene, &third).await;
    two_days_pass(&scene).await;
    let fourth = plan(&scene, third.uid().as_deref()).await;
    ends(&scene, &fourth, "Failed", &json!({ "failed": { "reason": "NetworkError", "message": "no route" } })).await;
    let status = recorded(&scene, &fourth).await;
    assert_eq!(condition(&status), ("False".to_owned(), "NewRevision".to_owned()));
    assert_eq!(reason(&status, "SourceReachable"), Some("NetworkError"));
    let events = until("an Event on each change", async || {
        let events = scene.events().await;
        events.iter().any(|event| event == "NetworkError").then_some(events)
    })
    .await;
    assert_eq!(events.iter().filter(|event| *event == "NewRevision").count(), 1, "{events:?}");

    // A refresh asks as well, and is what the next check is compared with.
    let refresh = json!({ "metadata": { "annotations": { "models.main-currents.news/refresh": "now" } } });
    let old = scene.job(None).await.uid();
    scene.models.patch("llama", &PatchParams::default(), &Patch::Merge(refresh)).await.unwrap();
    scene.job(old.as_deref()).await;
    scene.job_ends("Complete").await;
    let status = scene.status_with("the new content", |status| status.content != before.content).await;
    assert_ne!(condition(&status).1, "NewRevision");
}

#[tokio::test]
async fn a_check_that_the_cluster_refuses_waits_for_its_next_turn() {
    let (scene, _) = ready("check-refused", json!({ "checkInterval": "24h" })).await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "jobs" },
        "spec": { "hard": { "count/jobs.batch": "0" } },
    });
    let quotas: kube::Api<k8s_openapi::api::core::v1::ResourceQuota> =
        kube::Api::namespaced(scene.client.clone(), &scene.namespace);
    quotas.create(&kube::api::PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    scene
        .patch_status(
            &quotas,
            "jobs",
            &json!({ "hard": { "count/jobs.batch": "0" }, "used": { "count/jobs.batch": "1" } }),
        )
        .await;
    two_days_pass(&scene).await;
    let status =
        scene.status_with("the refusal", |status| reason(status, "SourceReachable") == Some("QuotaExceeded")).await;
    assert_eq!((status.phase, reason(&status, "Ready")), (Some(Phase::Ready), Some("NotVerified")));
    assert!(scene.jobs.get_opt(PLAN).await.unwrap().is_none());
}
