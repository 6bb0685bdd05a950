//! Stock images: all downloads write to one place, and take no lock.

use dev_cluster::ControlPlane;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PostParams};
use kube::config::Kubeconfig;
use model_controller::controller;
use model_core::api::{ModelStatus, Phase};
use model_resources::DownloadSettings;
use serde_json::json;

use crate::plane::{Scene, client, install};

#[tokio::test(flavor = "multi_thread")]
async fn a_download_waits_for_the_pod_of_a_job_that_is_gone() {
    let plane = ControlPlane::start().expect("a control plane starts");
    let client = client(Kubeconfig::read_from(plane.kubeconfig()).expect("its kubeconfig is there")).await;
    install(&client).await;
    let stock = controller(client.clone(), DownloadSettings::default());
    let running = tokio::spawn(stock.run_until(std::future::pending()));
    let scene = Scene::of(client, "stock").await;
    scene.apply("https://example.com/a").await;
    scene.phase(Phase::Downloading).await;
    let first = scene.job(None).await;
    let owner = json!([{
        "apiVersion": "batch/v1", "kind": "Job", "name": first.name_any(), "uid": first.uid(), "controller": true,
    }]);
    let pod = json!({
        "metadata": { "name": "first", "ownerReferences": owner, "labels": first.labels() },
        "spec": {
            "nodeName": "node-of-downloads", "automountServiceAccountToken": false,
            "containers": [{ "name": "download", "image": "stock" }],
        },
    });
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), &scene.namespace);
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    scene.patch_status(&pods, "first", &json!({ "phase": "Running" })).await;

    scene.apply("https://example.com/b").await;
    let waits = |status: &ModelStatus| {
        status.message.as_deref().is_some_and(|message| message.starts_with("waiting until the old Job is gone"))
    };
    scene.status_with("it waits for the pod", waits).await;
    assert!(scene.jobs.get_opt("model-download-llama").await.unwrap().is_none(), "nobody writes beside it");
    pods.delete("first", &DeleteParams::default().grace_period(0)).await.unwrap();
    scene.job(first.uid().as_deref()).await;
    scene.phase(Phase::Downloading).await;
    running.abort();
}
