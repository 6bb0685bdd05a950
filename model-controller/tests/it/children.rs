//! Other people's objects, other controllers.

use dev_cluster::ControlPlane;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::Kubeconfig;
use model_core::api::Phase;
use serde_json::json;

use crate::plane::{Scene, client, install, until};
use crate::replica::Replica;

#[tokio::test]
async fn a_claim_of_the_same_name_is_left_untouched() {
    let scene = Scene::new("claim-conflict").await;
    let theirs: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": { "name": "model-llama", "labels": { "team": "theirs" } },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    }))
    .unwrap();
    let before = scene.claims.create(&PostParams::default(), &theirs).await.unwrap();
    scene.apply("https://example.com/a").await;
    let status = scene.phase(Phase::Failed).await;
    assert!(status.message.unwrap().starts_with("claim model-llama belongs to nobody and is left untouched"));
    assert_eq!(scene.claims.get("model-llama").await.unwrap().resource_version(), before.resource_version());
    assert!(scene.jobs.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_job_of_the_same_name_is_left_untouched() {
    let scene = Scene::new("job-conflict").await;
    let theirs: Job = serde_json::from_value(json!({
        "metadata": { "name": "model-download-llama" },
        "spec": { "template": { "spec": {
            "restartPolicy": "Never", "containers": [{ "name": "theirs", "image": "theirs" }],
        } } },
    }))
    .unwrap();
    let before = scene.jobs.create(&PostParams::default(), &theirs).await.unwrap();
    scene.apply("https://example.com/a").await;
    let status = scene.phase(Phase::Failed).await;
    assert!(status.message.unwrap().starts_with("Job model-download-llama belongs to nobody and is left untouched"));
    assert_eq!(scene.jobs.get("model-download-llama").await.unwrap().resource_version(), before.resource_version());
}

#[tokio::test]
async fn a_deleted_model_gets_no_new_children() {
    let scene = Scene::new("deleted").await;
    scene.apply("https://example.com/a").await;
    scene.job(None).await;
    scene.models.delete("llama", &DeleteParams::foreground()).await.unwrap();
    scene.delete_job().await;
    // Nothing collects garbage here, so the Model stays, being deleted. A second Model shows that passes went on.
    let other = Scene::new("deleted-other").await;
    other.apply("https://example.com/a").await;
    other.phase(Phase::Downloading).await;
    assert!(scene.jobs.list(&ListParams::default()).await.unwrap().items.is_empty());
}

/// On a control plane of its own: the other tests expect each step of one controller once.
#[tokio::test(flavor = "multi_thread")]
async fn two_controllers_by_mistake_make_one_job_and_agree() {
    let plane = ControlPlane::start().expect("a control plane starts");
    let client = client(Kubeconfig::read_from(plane.kubeconfig()).expect("its kubeconfig is there")).await;
    install(&client).await;
    let replicas = [(); 2].map(|()| Replica::start(plane.kubeconfig(), &["--leader-election", "false"]));
    for replica in &replicas {
        replica.is_ready().await;
    }
    let scene = Scene::of(client, "two-controllers").await;
    for round in 0..5 {
        scene.apply(&format!("https://example.com/{round}")).await;
        let id = until("a Job for this spec", async || {
            let status = scene.status().await;
            let job = scene.jobs.get_opt("model-download-llama").await.unwrap()?;
            let id = job.annotations().get("models.main-currents.news/content-id")?.clone();
            let published = status.content.map(|content| content.id);
            (published.as_ref() != Some(&id) && job.metadata.deletion_timestamp.is_none()).then_some(id)
        })
        .await;
        scene.job_ends("Complete").await;
        let status = scene.status_with("the content is offered", |status| {
            status.content.as_ref().is_some_and(|content| content.id == id)
        });
        assert_eq!(status.await.download.unwrap().attempt, 1, "round {round}: one Job was enough");
    }
}
