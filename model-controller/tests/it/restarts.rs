//! Events over a whole life, with a controller that dies again and again.

use dev_cluster::ControlPlane;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};
use kube::config::Kubeconfig;
use model_core::api::Phase;

use crate::plane::{Scene, client, install};
use crate::replica::Replica;

const ALONE: [&str; 2] = ["--leader-election", "false"];

/// Kills the controller and starts it anew. A younger Model that it serves shows that it has looked at all others.
async fn restart(scene: &Scene, plane: &ControlPlane, replica: &mut Replica, number: usize) {
    replica.signal("-KILL");
    replica.ended().await;
    *replica = Replica::start(plane.kubeconfig(), &ALONE);
    replica.is_ready().await;
    let other = Scene::of(scene.client.clone(), &format!("other-{number}")).await;
    other.apply("https://example.com/other").await;
    other.phase(Phase::Downloading).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_one_event_however_often_the_controller_restarts() {
    let plane = ControlPlane::start().expect("a control plane starts");
    let client = client(Kubeconfig::read_from(plane.kubeconfig()).expect("its kubeconfig is there")).await;
    install(&client).await;
    let mut replica = Replica::start(plane.kubeconfig(), &ALONE);
    replica.is_ready().await;
    let scene = Scene::of(client, "life").await;

    scene.apply("https://example.com/a").await;
    scene.phase(Phase::Downloading).await;
    let first = scene.job(None).await.metadata.uid;
    restart(&scene, &plane, &mut replica, 1).await;
    scene.job_ends("Failed").await;
    scene.phase(Phase::Failed).await;
    restart(&scene, &plane, &mut replica, 2).await;
    scene.delete_job().await;
    scene.job(first.as_deref()).await;
    scene
        .status_with("a second attempt", |status| {
            status.phase == Some(Phase::Downloading) && status.download.as_ref().is_some_and(|run| run.attempt == 2)
        })
        .await;
    restart(&scene, &plane, &mut replica, 3).await;
    scene.job_ends("Complete").await;
    scene.phase(Phase::Ready).await;
    restart(&scene, &plane, &mut replica, 4).await;

    let events: Api<Event> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let events = events.list(&ListParams::default()).await.unwrap().items;
    let repeated = events.iter().find(|event| event.series.is_some() || event.count.is_some_and(|count| count > 1));
    assert!(repeated.is_none(), "{repeated:?}");
    let mut reasons: Vec<_> = events.into_iter().filter_map(|event| event.reason).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["DownloadFailed", "Downloading", "Downloading", "NotVerified", "Retrying"]);
}
