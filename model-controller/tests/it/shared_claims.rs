//! Models on a claim that somebody else made.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use model_core::api::Phase;
use model_core::status::SOURCE_REACHABLE;
use serde_json::{Value, json};

use crate::plane::{Scene, until};

/// Applies the Model with its files on this claim.
async fn apply(scene: &Scene, claim: &str) {
    let model = json!({
        "apiVersion": "models.main-currents.news/v1alpha1",
        "kind": "Model",
        "metadata": { "name": "llama" },
        "spec": { "source": { "url": { "url": "https://example.com/a" } }, "storage": { "existingClaim": claim } },
    });
    let params = PatchParams::apply("user").force();
    scene.models.patch("llama", &params, &Patch::Apply(&model)).await.expect("the Model is accepted");
}

async fn make_claim(scene: &Scene, metadata: Value) -> PersistentVolumeClaim {
    let claim = json!({
        "metadata": metadata,
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    });
    let claim = serde_json::from_value(claim).expect("a claim");
    scene.claims.create(&PostParams::default(), &claim).await.expect("the claim is accepted")
}

#[tokio::test]
async fn an_existing_claim_is_waited_for_used_and_left_alone() {
    let scene = Scene::new("shared-claim").await;
    apply(&scene, "weights").await;
    let status = scene.status_with("the claim is missed", |status| status.message.is_some()).await;
    assert_eq!(status.phase, Some(Phase::Pending));
    let message = status.message.unwrap();
    assert!(message.starts_with("claim weights does not exist; create the claim"), "{message}");
    for condition in &status.conditions {
        let reason = if condition.type_ == SOURCE_REACHABLE { "NotChecked" } else { "ClaimNotFound" };
        assert_eq!(condition.reason, reason, "{}", condition.type_);
    }

    let made = make_claim(&scene, json!({ "name": "weights" })).await;
    let job = scene.job(None).await;
    assert_eq!(job.annotations()["models.main-currents.news/claim-uid"], made.uid().unwrap());
    scene.job_ends("Complete").await;
    let content = scene.phase(Phase::Ready).await.content.unwrap();
    assert!(content.path.starts_with("models.main-currents.news/shared-claim/llama/revisions/"), "{}", content.path);
    assert_eq!(scene.status().await.pvc_name.as_deref(), Some("weights"));

    // Its going is noticed although nothing of the operator's stands on it.
    scene.claims.delete("weights", &DeleteParams::default()).await.unwrap();
    let going = scene.claims.get("weights").await.unwrap();
    assert_eq!((going.metadata.owner_references, going.metadata.labels), (None, None));
    let free = json!({ "metadata": { "finalizers": null } });
    scene.claims.patch("weights", &PatchParams::default(), &Patch::Merge(&free)).await.ok();
    scene
        .status_with("the claim is missed again", |status| {
            status.content.is_none()
                && status.message.as_deref().is_some_and(|message| message.contains("does not exist"))
        })
        .await;
    assert!(scene.claims.get_opt("weights").await.unwrap().is_none(), "nobody makes it anew");
    until("the Job of the lost claim is deleted", async || {
        scene
            .jobs
            .get_opt("model-download-llama")
            .await
            .unwrap()
            .is_none_or(|job| job.metadata.deletion_timestamp.is_some())
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_goes_with_another_model_is_no_place() {
    let scene = Scene::new("shared-of-model").await;
    let owner = json!([{
        "apiVersion": "models.main-currents.news/v1alpha1", "kind": "Model", "name": "other", "uid": "other-uid",
    }]);
    make_claim(&scene, json!({ "name": "model-other", "ownerReferences": owner })).await;
    apply(&scene, "model-other").await;
    let status = scene.phase(Phase::Failed).await;
    let message = status.message.unwrap();
    assert!(message.starts_with("claim model-other belongs to Model/other and is left untouched"), "{message}");
}
