//! A bound on downloads at once: the other Models wait in a line, across restarts.

use dev_cluster::ControlPlane;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::Kubeconfig;
use model_core::api::{ModelStatus, Phase};
use model_core::status::STORAGE_BOUND;
use serde_json::json;

use crate::plane::{Scene, client, install, until};
use crate::replica::Replica;

const ONE_AT_ONCE: [&str; 4] = ["--max-concurrent-downloads", "1", "--leader-election", "false"];

fn waits_as(place: &str) -> impl Fn(&ModelStatus) -> bool {
    let start = format!("waiting for a free download: {place};");
    move |status| {
        let message = status.message.as_deref().unwrap_or_default();
        status.phase == Some(Phase::Pending) && message.starts_with(&start)
    }
}

/// Each of them waits, in this order, and has no Job.
async fn line(scenes: &[&Scene]) {
    for (index, scene) in scenes.iter().enumerate() {
        let ordinal = ["1st", "2nd", "3rd", "4th"][index];
        scene.status_with(ordinal, waits_as(&format!("{ordinal} of {}", scenes.len()))).await;
        assert!(scene.jobs.list(&ListParams::default()).await.expect("Jobs can be listed").items.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_wait_for_a_free_download_oldest_first() {
    let plane = ControlPlane::start().expect("a control plane starts");
    let client = client(Kubeconfig::read_from(plane.kubeconfig()).expect("its kubeconfig is there")).await;
    install(&client).await;
    let mut replica = Replica::start(plane.kubeconfig(), &ONE_AT_ONCE);
    replica.is_ready().await;
    let running = Scene::of(client.clone(), "running").await;
    running.apply("https://example.com/a").await;
    running.phase(Phase::Downloading).await;

    // Younger Models look first. What counts is when they were made, and within one second their names.
    let mut waiting = Vec::new();
    for name in ["d", "b", "c", "a"] {
        let scene = Scene::of(client.clone(), name).await;
        let model = scene.apply("https://example.com/a").await;
        waiting.push((model.metadata.creation_timestamp.unwrap().0, name, scene));
    }
    waiting.sort_by_key(|(created, name, _)| (*created, *name));
    let scenes: Vec<&Scene> = waiting.iter().map(|(.., scene)| scene).collect();
    // Places are told anew when the line moves, so those who came first may still see a shorter one.
    for scene in &scenes {
        let queued = |status: &ModelStatus| status.message.as_deref().is_some_and(|text| text.contains("waiting for"));
        scene.status_with("it waits", queued).await;
    }

    // A new process finds the line and the download that runs.
    replica.signal("-KILL");
    replica.ended().await;
    replica = Replica::start(plane.kubeconfig(), &ONE_AT_ONCE);
    replica.is_ready().await;
    line(&scenes).await;
    for scene in &scenes {
        let claims = scene.claims.list(&ListParams::default()).await.unwrap().items;
        assert!(claims.is_empty(), "who waits holds no storage");
    }
    assert_eq!(replica.metric("model_controller_models_unready{reason=\"Queued\"}").await, Some(4.0));

    // An end makes place for one, well or not.
    running.job_ends("Complete").await;
    running.phase(Phase::Ready).await;
    scenes[0].phase(Phase::Downloading).await;
    line(&scenes[1..]).await;
    scenes[0].job_ends("Failed").await;
    scenes[0].phase(Phase::Failed).await;
    scenes[1].phase(Phase::Downloading).await;
    line(&scenes[2..]).await;
    assert_eq!(scenes[1].events().await, ["Queued", "Downloading"], "a place that moves is no news");

    // Who tries again waits like everybody else, by its age.
    scenes[0].delete_job().await;
    scenes[0].status_with("it waits again", waits_as("1st of 3")).await;
    line(&[scenes[0], scenes[2], scenes[3]]).await;
    scenes[1].job_ends("Complete").await;
    let status = scenes[0].phase(Phase::Downloading).await;
    assert_eq!(status.download.unwrap().attempt, 2);
    line(&scenes[2..]).await;

    // A new spec keeps the place: its old Job goes, and a new one comes, without anybody in between.
    let old = scenes[0].job(None).await.uid();
    scenes[0].apply("https://example.com/b").await;
    scenes[0].job(old.as_deref()).await;
    line(&scenes[2..]).await;

    // Who is refused does not hold up those behind. A quota's status is written by a controller that does not run here.
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), &scenes[2].namespace);
    let hard = json!({ "persistentvolumeclaims": "0" });
    let metadata = ObjectMeta { name: Some("none".into()), ..ObjectMeta::default() };
    let spec = serde_json::from_value(json!({ "hard": hard })).unwrap();
    let quota = ResourceQuota { metadata, spec: Some(spec), status: None };
    quotas.create(&PostParams::default(), &quota).await.unwrap();
    let used = json!({ "hard": hard, "used": { "persistentvolumeclaims": "0" } });
    scenes[2].patch_status(&quotas, "none", &used).await;
    scenes[0].job_ends("Complete").await;
    scenes[3].phase(Phase::Downloading).await;
    let status = scenes[2].status().await;
    assert_eq!(status.phase, Some(Phase::Pending), "{status:#?}");

    // It gets its turn: when it is no longer refused and the place is free again. Here by deletion of who has it.
    quotas.delete("none", &DeleteParams::default()).await.unwrap();
    scenes[3].models.delete("llama", &DeleteParams::default()).await.unwrap();
    // Nothing collects garbage here.
    scenes[3].delete_job().await;
    until("the Job is gone", async || {
        scenes[3].jobs.list(&ListParams::default()).await.unwrap().items.is_empty().then_some(())
    })
    .await;
    scenes[2].phase(Phase::Downloading).await;
}

/// A volume that may not grow is no reason to start another download beside the one that runs.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_beside_a_download_gives_its_place_to_nobody() {
    let plane = ControlPlane::start().expect("a control plane starts");
    let client = client(Kubeconfig::read_from(plane.kubeconfig()).expect("its kubeconfig is there")).await;
    install(&client).await;
    let class = json!({ "metadata": { "name": "growing" }, "provisioner": "nobody", "allowVolumeExpansion": true });
    let class: StorageClass = serde_json::from_value(class).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &class).await.unwrap();
    let replica = Replica::start(plane.kubeconfig(), &ONE_AT_ONCE);
    replica.is_ready().await;
    let (runs, waits) = tokio::join!(Scene::of(client.clone(), "runs"), Scene::of(client.clone(), "waits"));
    runs.apply_with("https://example.com/a", json!("growing")).await;
    runs.phase(Phase::Downloading).await;
    waits.apply("https://example.com/a").await;
    waits.status_with("it waits", waits_as("1st of 1")).await;

    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), &runs.namespace);
    let (hard, used) = (json!({ "requests.storage": "1Gi" }), json!({ "requests.storage": "1Gi" }));
    let quota = json!({ "metadata": { "name": "full" }, "spec": { "hard": hard } });
    quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    runs.patch_status(&quotas, "full", &json!({ "hard": hard, "used": used })).await;
    let larger = Patch::Merge(json!({ "spec": { "storage": { "size": "2Gi" } } }));
    runs.models.patch("llama", &PatchParams::default(), &larger).await.unwrap();
    let bound = json!({ "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" } });
    runs.patch_status(&runs.claims, "model-llama", &bound).await;
    let refused = |status: &ModelStatus| {
        let mut conditions = status.conditions.iter();
        conditions.any(|condition| condition.type_ == STORAGE_BOUND && condition.reason == "QuotaExceeded")
    };
    let status = runs.status_with("the refusal is told", refused).await;
    assert_eq!(status.phase, Some(Phase::Downloading), "{status:#?}");
    until("it is refused again", async || {
        let refused = replica.metric("model_controller_reconciles_total{result=\"refused\"}").await;
        refused.is_some_and(|times| times >= 2.0).then_some(())
    })
    .await;
    line(&[&waits]).await;
    runs.job_ends("Complete").await;
    waits.phase(Phase::Downloading).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_host_holds_up_nobody_who_asks_another_one() {
    let plane = ControlPlane::start().expect("a control plane starts");
    let client = client(Kubeconfig::read_from(plane.kubeconfig()).expect("its kubeconfig is there")).await;
    install(&client).await;
    let flags = ["--max-concurrent-downloads-per-host", "1", "--leader-election", "false"];
    let replica = Replica::start(plane.kubeconfig(), &flags);
    replica.is_ready().await;
    let (first, second, other) = tokio::join!(
        Scene::of(client.clone(), "first"),
        Scene::of(client.clone(), "second"),
        Scene::of(client.clone(), "other")
    );
    first.apply("https://example.com/a").await;
    first.phase(Phase::Downloading).await;
    second.apply("https://example.com/b").await;
    let waits = |status: &ModelStatus| status.message.as_deref().is_some_and(|text| text.contains("waiting for"));
    let message = second.status_with("it waits", waits).await.message.unwrap();
    assert!(message.starts_with("waiting for a free download from example.com: 1st of 1;"), "{message}");
    other.apply("https://example.org/c").await;
    other.phase(Phase::Downloading).await;
    until("the line is told", async || {
        (replica.metric("model_controller_downloads_queued").await == Some(1.0)).then_some(())
    })
    .await;
    first.job_ends("Complete").await;
    second.phase(Phase::Downloading).await;
}
