//! The histories: what a user does from an empty namespace on.

mod pods;
mod source;

use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams};
use model_core::api::{Content, DeletionPolicy, Model, Phase};
use model_core::reason::Reason;
use serde_json::{Value, json};

use super::stage::Stage;
use pods::{gated_pods, pod, superseded_pods};
use source::{checks, verify};

/// What a user does, and waits for.
pub struct History {
    pub name: &'static str,
    /// Downloads at once; 0: any number.
    pub at_once: usize,
    pub play: for<'a> fn(&'a Stage) -> LocalBoxFuture<'a, ()>,
}

macro_rules! histories {
    ($($name:ident $(at once $at_once:literal)?),* $(,)?) => {
        &[$(History {
            name: stringify!($name),
            at_once: 0 $(+ $at_once)?,
            play: |stage| $name(stage).boxed_local(),
        }),*]
    };
}

pub const HISTORIES: &[History] = histories![
    first_download,
    preflight,
    failure_and_retry,
    change_during_download,
    change_and_prune,
    pod_comes_while_pruning,
    refresh,
    deletion_policy,
    growth,
    existing_claim,
    deletion,
    retained_and_taken_over,
    claim_lost,
    gated_pods,
    superseded_pods,
    verify,
    checks,
    queue at once 1,
];

fn url(letter: &str) -> Value {
    json!({ "url": { "url": format!("https://example.com/{letter}") } })
}

pub fn spec(letter: &str) -> Value {
    json!({ "source": url(letter), "storage": { "size": "1Gi" } })
}

pub async fn point_at(stage: &Stage, letter: &str) -> Model {
    stage.change(json!({ "spec": { "source": url(letter) } })).await
}

async fn published(stage: &Stage, letter: &str) -> Content {
    stage.create("llama", &spec(letter)).await;
    stage.up_to_date("llama").await
}

async fn first_download(stage: &Stage) {
    published(stage, "a").await;
}

async fn preflight(stage: &Stage) {
    let spec = json!({ "source": { "huggingFace": { "repoId": "acme/llama" } }, "storage": {}, "preflight": true });
    stage.create("llama", &spec).await;
    stage.up_to_date("llama").await;
}

async fn failure_and_retry(stage: &Stage) {
    stage.cluster.past().failures = 2;
    stage.create("llama", &spec("a")).await;
    for attempt in [1, 2] {
        let failed = stage.status("the failure", |status| {
            status.phase == Some(Phase::Failed)
                && status.download.as_ref().is_some_and(|download| download.attempt == attempt)
        });
        assert_eq!(
            failed.await.download.and_then(|run| run.last_failure).map(|failure| failure.reason),
            Some(Reason::NetworkError)
        );
        stage.delete_and_wait(&stage.jobs, "model-download-llama").await;
    }
    stage.up_to_date("llama").await;
}

/// The Job of the first content is in the way of the second.
async fn change_during_download(stage: &Stage) {
    stage.cluster.past().hold = true;
    stage.create("llama", &spec("a")).await;
    stage.status("the download", |status| status.phase == Some(Phase::Downloading)).await;
    let model = point_at(stage, "b").await;
    stage.downloads(&model).await;
    stage.cluster.past().hold = false;
    stage.up_to_date("llama").await;
}

/// Three contents of which one stays.
async fn change_and_prune(stage: &Stage) {
    published(stage, "a").await;
    for letter in ["b", "c"] {
        point_at(stage, letter).await;
        stage.up_to_date("llama").await;
    }
    stage.eleven_minutes_pass().await;
    stage.status("earlier content is gone", |status| status.earlier.is_empty()).await;
}

/// Earlier content is given back to a pod that came when it had just been set aside.
async fn pod_comes_while_pruning(stage: &Stage) {
    let first = published(stage, "a").await;
    point_at(stage, "b").await;
    stage.up_to_date("llama").await;
    stage.cluster.past().pod_at_rename = Some(pod("late", &first.id));
    stage.eleven_minutes_pass().await;
    let is_back = |status: &model_core::api::ModelStatus| {
        status.earlier.iter().any(|known| known.id == first.id && !known.set_aside)
    };
    stage
        .until("the pod has its content back", async || {
            let was_asked = stage.cluster.past().jobs.values().any(|what| what.contains("put"));
            let status = stage.models.get("llama").await.expect("it can be read").status?;
            (was_asked && is_back(&status)).then_some(())
        })
        .await;
    stage.delete_and_wait(&stage.pods, "late").await;
    stage.eleven_minutes_pass().await;
    stage.status("earlier content is gone", |status| status.earlier.is_empty()).await;
}

async fn refresh(stage: &Stage) {
    published(stage, "a").await;
    let time = "2026-11-21T10:00:00Z";
    stage.change(json!({ "metadata": { "annotations": { "models.main-currents.news/refresh": time } } })).await;
    stage.up_to_date("llama").await;
}

async fn deletion_policy(stage: &Stage) {
    published(stage, "a").await;
    for policy in [DeletionPolicy::Retain, DeletionPolicy::Delete, DeletionPolicy::Retain] {
        stage.change(json!({ "spec": { "deletionPolicy": policy } })).await;
        stage.status("the policy is in force", |status| status.deletion_policy == Some(policy)).await;
        let owned = stage.claims.get("model-llama").await.expect("the claim").owner_references().len();
        assert_eq!(
            owned,
            usize::from(policy == DeletionPolicy::Delete),
            "{}: in force when status says so",
            stage.label
        );
    }
}

async fn growth(stage: &Stage) {
    stage
        .create("llama", &json!({ "source": url("a"), "storage": { "size": "1Gi", "storageClass": "growing" } }))
        .await;
    stage.up_to_date("llama").await;
    stage.change(json!({ "spec": { "storage": { "size": "2Gi" } } })).await;
    stage
        .until("the volume has grown", async || {
            let status = stage.claims.get("model-llama").await.expect("the claim").status?;
            (status.capacity?.get("storage")?.0 == "2Gi").then_some(())
        })
        .await;
}

async fn existing_claim(stage: &Stage) {
    stage.create("llama", &json!({ "source": url("a"), "storage": { "existingClaim": "weights" } })).await;
    stage.create("mistral", &json!({ "source": url("b"), "storage": { "existingClaim": "weights" } })).await;
    stage.status("the claim is missed", |status| status.phase == Some(Phase::Pending)).await;
    stage.status_of("mistral", "the claim is missed", |status| status.phase == Some(Phase::Pending)).await;
    let claim = json!({
        "metadata": { "name": "weights" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    });
    let claim: PersistentVolumeClaim = serde_json::from_value(claim).expect("a claim");
    stage.claims.create(&PostParams::default(), &claim).await.expect("the claim is accepted");
    stage.up_to_date("llama").await;
    stage.up_to_date("mistral").await;
}

/// First while it downloads, then what was made anew once that is done.
async fn deletion(stage: &Stage) {
    stage.cluster.past().hold = true;
    stage.create("llama", &spec("a")).await;
    stage.status("the download", |status| status.phase == Some(Phase::Downloading)).await;
    stage.delete_model().await;
    stage.cluster.past().hold = false;
    published(stage, "a").await;
    stage.delete_model().await;
}

async fn retained_and_taken_over(stage: &Stage) {
    let spec = json!({ "source": url("a"), "storage": { "size": "1Gi" }, "deletionPolicy": "Retain" });
    stage.create("llama", &spec).await;
    stage.up_to_date("llama").await;
    stage.delete_model().await;
    // A claim of the same second would be taken for the second Model's own: times of objects have no smaller parts.
    let made = stage.claims.get("model-llama").await.expect("the claim is retained").creation_timestamp();
    let made = made.expect("the API server sets it").0.as_second();
    while Timestamp::now().as_second() <= made {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.create("llama", &spec).await;
    stage.up_to_date("llama").await;
}

async fn claim_lost(stage: &Stage) {
    published(stage, "a").await;
    let claim = stage.claims.get("model-llama").await.expect("the claim").uid();
    stage.claims.delete("model-llama", &DeleteParams::default()).await.expect("it is deleted");
    stage
        .status("ready on a new claim", |status| {
            status.phase == Some(Phase::Ready) && status.claim_uid.is_some() && status.claim_uid != claim
        })
        .await;
}

/// The younger Model waits until the older one has its files.
async fn queue(stage: &Stage) {
    stage.cluster.past().hold = true;
    stage.create("llama", &spec("a")).await;
    stage.status("the download", |status| status.phase == Some(Phase::Downloading)).await;
    stage.create("mistral", &spec("b")).await;
    stage
        .status_of("mistral", "it waits", |status| {
            status.conditions.iter().any(|condition| condition.reason == Reason::Queued.as_str())
        })
        .await;
    stage.cluster.past().hold = false;
    stage.up_to_date("llama").await;
    stage.up_to_date("mistral").await;
}
