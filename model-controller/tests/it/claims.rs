//! A claim that outlives its Model, and one that grows.

#![allow(clippy::unwrap_used, reason = "support code of tests fails as tests do")]

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use model_core::api::{DeletionPolicy, Phase};
use model_core::status::STORAGE_BOUND;
use serde_json::{Value, json};

use crate::plane::{Scene, until};

const CLAIM: &str = "model-llama";

async fn change(scene: &Scene, spec: Value) {
    scene.models.patch("llama", &PatchParams::default(), &Patch::Merge(json!({ "spec": spec }))).await.unwrap();
}

async fn owners(scene: &Scene) -> Vec<String> {
    let claim = scene.claims.get(CLAIM).await.unwrap();
    claim.owner_references().iter().map(|owner| owner.uid.clone()).collect()
}

#[tokio::test]
async fn a_retained_claim_has_no_owner_and_the_next_model_takes_it_over() {
    let scene = Scene::new("retain").await;
    let model = json!({
        "apiVersion": "models.main-currents.news/v1alpha1", "kind": "Model", "metadata": { "name": "llama" },
        "spec": {
            "source": { "url": { "url": "https://example.com/a" } }, "storage": { "size": "1Gi" },
            "deletionPolicy": "Retain",
        },
    });
    let create =
        async || scene.models.create(&PostParams::default(), &serde_json::from_value(model.clone()).unwrap()).await;
    let first = create().await.unwrap();
    scene.job(None).await;
    scene.job_ends("Complete").await;
    let status = scene.phase(Phase::Ready).await;
    assert_eq!(status.deletion_policy, Some(DeletionPolicy::Retain));
    let claim = scene.claims.get(CLAIM).await.unwrap();
    assert!(claim.owner_references().is_empty());

    // There and back again.
    for (policy, owner) in [(DeletionPolicy::Delete, first.uid()), (DeletionPolicy::Retain, None)] {
        change(&scene, json!({ "deletionPolicy": policy })).await;
        let status = scene.status_with("the policy is in force", |status| status.deletion_policy == Some(policy)).await;
        assert_eq!(owners(&scene).await, owner.into_iter().collect::<Vec<_>>());
        assert_eq!((status.phase, status.claim_uid), (Some(Phase::Ready), claim.metadata.uid.clone()));
    }

    // Nothing collects garbage here: the test deletes what the Model owns.
    scene.models.delete("llama", &DeleteParams::default()).await.unwrap();
    let job = scene.jobs.get("model-download-llama").await.unwrap();
    assert_eq!(job.owner_references()[0].uid, first.uid().unwrap());
    scene.delete_job().await;
    until("the Model is gone", async || scene.models.get_opt("llama").await.unwrap().is_none().then_some(())).await;
    // Ages are told in whole seconds.
    let made = claim.creation_timestamp().unwrap().0;
    until("the claim is older than a Model of now", async || {
        (jiff::Timestamp::now().as_second() > made.as_second()).then_some(())
    })
    .await;
    assert!(!scene.events().await.contains(&"ClaimAdopted".to_owned()), "the first Model made it");
    let second = create().await.unwrap();
    assert_ne!(second.uid(), first.uid());
    until("an Event", async || scene.events().await.contains(&"ClaimAdopted".to_owned()).then_some(())).await;
    let job = scene.job(job.uid().as_deref()).await;
    let arguments = &job.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0].args;
    assert!(arguments.as_ref().unwrap().contains(&"--recheck".to_owned()), "nothing on it is believed");
    assert_eq!(scene.phase(Phase::Downloading).await.content, None);
    scene.job_ends("Complete").await;
    let status = scene.phase(Phase::Ready).await;
    assert_eq!((status.claim_uid, status.deletion_policy), (claim.metadata.uid, Some(DeletionPolicy::Retain)));
    assert!(owners(&scene).await.is_empty());
}

#[tokio::test]
async fn a_claim_with_another_owner_is_not_retained_before_that_is_gone() {
    let scene = Scene::new("co-owned").await;
    let model = scene.apply("https://example.com/a").await;
    scene.job(None).await;
    bind(&scene, "1Gi").await;
    scene.job_ends("Complete").await;
    scene.phase(Phase::Ready).await;
    let claim = scene.claims.get(CLAIM).await.unwrap();
    let ours = claim.owner_references()[0].clone();
    let other = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "of-another" });
    let owned_by = |owners: Value| Patch::Merge(json!({ "metadata": { "ownerReferences": owners } }));
    scene.claims.patch(CLAIM, &PatchParams::default(), &owned_by(json!([ours, other]))).await.unwrap();
    change(&scene, json!({ "deletionPolicy": "Retain" })).await;
    let message = storage(&scene, "ClaimCoOwned").await;
    assert!(message.starts_with("the claim cannot be retained: StatefulSet/web owns it, too; remove"), "{message}");
    let status = scene.status().await;
    assert_eq!((status.phase, status.deletion_policy), (Some(Phase::Ready), Some(DeletionPolicy::Delete)));
    assert_eq!(owners(&scene).await, [model.uid().unwrap(), "of-another".to_owned()]);

    scene.claims.patch(CLAIM, &PatchParams::default(), &owned_by(json!([ours]))).await.unwrap();
    scene.status_with("it is retained", |status| status.deletion_policy == Some(DeletionPolicy::Retain)).await;
    assert!(owners(&scene).await.is_empty());
}

#[tokio::test]
async fn a_claim_of_somebody_else_is_not_taken_over() {
    let scene = Scene::new("not-retained").await;
    let labels =
        json!({ "models.main-currents.news/model": "llama", "app.kubernetes.io/managed-by": "model-operator" });
    let owner = json!([{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "of-another" }]);
    for (case, metadata) in [
        ("owned by another", json!({ "name": CLAIM, "labels": labels, "ownerReferences": owner })),
        (
            "of another Model",
            json!({ "name": CLAIM, "labels": { "models.main-currents.news/model": "llama-2", "app.kubernetes.io/managed-by": "model-operator" } }),
        ),
        ("made by nobody of ours", json!({ "name": CLAIM, "labels": { "models.main-currents.news/model": "llama" } })),
    ] {
        let theirs: PersistentVolumeClaim = serde_json::from_value(json!({
            "metadata": metadata,
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
        }))
        .unwrap();
        let before = scene.claims.create(&PostParams::default(), &theirs).await.unwrap();
        scene.apply("https://example.com/a").await;
        let status = scene.phase(Phase::Failed).await;
        assert!(status.message.unwrap().contains("is left untouched"), "{case}");
        assert_eq!(scene.claims.get(CLAIM).await.unwrap().resource_version(), before.resource_version(), "{case}");
        scene.models.delete("llama", &DeleteParams::default()).await.unwrap();
        scene.lose_claim().await;
        until("both are gone", async || {
            let claim = scene.claims.get_opt(CLAIM).await.unwrap();
            (claim.is_none() && scene.models.get_opt("llama").await.unwrap().is_none()).then_some(())
        })
        .await;
    }
}

/// What provisioner and volume binder do.
async fn bind(scene: &Scene, capacity: &str) {
    let status = json!({ "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": { "storage": capacity } });
    scene.patch_status(&scene.claims, CLAIM, &status).await;
}

async fn storage(scene: &Scene, reason: &str) -> String {
    let found = |status: &model_core::api::ModelStatus| {
        let condition = status.conditions.iter().find(|condition| condition.type_ == STORAGE_BOUND)?;
        (condition.reason == reason).then(|| condition.message.clone())
    };
    found(&scene.status_with(reason, |status| found(status).is_some()).await).unwrap()
}

#[tokio::test]
async fn a_larger_size_asks_for_a_larger_volume_where_the_class_allows_it() {
    let scene = Scene::new("grow").await;
    let classes: Api<StorageClass> = Api::all(scene.client.clone());
    for (name, expandable) in [("growing", true), ("fixed", false)] {
        let class =
            json!({ "metadata": { "name": name }, "provisioner": "nobody", "allowVolumeExpansion": expandable });
        classes.create(&PostParams::default(), &serde_json::from_value(class).unwrap()).await.unwrap();
    }
    let requested = async || {
        let claim = scene.claims.get(CLAIM).await.unwrap();
        claim.spec.unwrap().resources.unwrap().requests.unwrap()["storage"].0.clone()
    };
    scene.apply_with("https://example.com/a", json!("growing")).await;
    let job = scene.job(None).await;
    // Before there is a volume, nothing can grow.
    change(&scene, json!({ "storage": { "size": "2Gi" } })).await;
    scene.status_with("the change is seen", |status| status.observed_generation == Some(2)).await;
    assert_eq!(requested().await, "1Gi");
    bind(&scene, "1Gi").await;
    let message = storage(&scene, "ClaimResizing").await;
    assert!(message.starts_with("the volume grows from 1Gi to 2Gi"), "{message}");
    assert_eq!(requested().await, "2Gi");
    assert_eq!(scene.job(None).await.uid(), job.uid(), "the download is not started anew");
    bind(&scene, "2Gi").await;
    assert_eq!(storage(&scene, "ClaimBound").await, "");

    let scene = Scene::new("fixed").await;
    scene.apply_with("https://example.com/a", json!("fixed")).await;
    scene.job(None).await;
    bind(&scene, "1Gi").await;
    storage(&scene, "ClaimBound").await;
    change(&scene, json!({ "storage": { "size": "2Gi" } })).await;
    let message = storage(&scene, "ExpansionNotAllowed").await;
    assert!(
        message.starts_with("the volume stays at 1Gi: storage class \"fixed\" does not let it grow to 2Gi"),
        "{message}"
    );
    assert!(message.contains("allowVolumeExpansion"), "{message}");
    let claim = scene.claims.get(CLAIM).await.unwrap();
    assert_eq!(claim.spec.unwrap().resources.unwrap().requests.unwrap()["storage"].0, "1Gi");
    scene.job_ends("Complete").await;
    scene.phase(Phase::Ready).await;
}
