//! Progress of many downloads, from logs that may hold anything. The test plays the node that runs them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use dev_cluster::ControlPlane;
use kube::api::{Patch, PatchParams};
use kube::config::Kubeconfig;
use model_core::api::{Model, ModelStatus};
use serde_json::json;

use crate::kubelet::Kubelet;
use crate::plane::{Scene, client, install, until};
use crate::replica::Replica;

const DOWNLOADS: usize = 50;

fn line(downloaded: u64) -> String {
    format!("{{\"downloadedBytes\":{downloaded},\"totalBytes\":1000,\"bytesPerSecond\":10}}\n")
}

/// Applies a Model, and runs the pod of its Job on the node.
async fn runs(scene: &Scene, name: &str) {
    let model = json!({
        "apiVersion": "models.main-currents.news/v1alpha1", "kind": "Model", "metadata": { "name": name },
        "spec": { "source": { "url": { "url": "https://example.com/a" } }, "storage": { "size": "1Gi" } },
    });
    let params = PatchParams::apply("user").force();
    scene.models.patch(name, &params, &Patch::Apply(&model)).await.unwrap();
    scene.runs(name, "node-of-downloads").await;
}

async fn status(scene: &Scene, name: &str) -> ModelStatus {
    let model: Model = scene.models.get(name).await.unwrap();
    model.status.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_downloads_are_shown_and_no_log_moves_one_backwards() {
    let plane = ControlPlane::start().expect("a control plane starts");
    let client = client(Kubeconfig::read_from(plane.kubeconfig()).expect("its kubeconfig is there")).await;
    install(&client).await;
    let replica = Replica::start(plane.kubeconfig(), &["--leader-election", "false"]);
    replica.is_ready().await;
    let scene = Scene::of(client, "fifty").await;
    scene.takes_pods().await;
    let kubelet = Kubelet::join(&scene.client, "node-of-downloads").await;
    let names: Vec<String> = (0..DOWNLOADS).map(|number| format!("m{number}")).collect();
    let begun = Instant::now();
    for (name, downloaded) in names.iter().zip(1_u64..) {
        kubelet.log(name, &line(downloaded * 10));
        runs(&scene, name).await;
    }
    for (name, downloaded) in names.iter().zip(1_i64..) {
        let shown = until("its bytes", async || {
            let status = status(&scene, name).await;
            let bytes = status.download.as_ref()?.downloaded_bytes?;
            (bytes == downloaded * 10).then_some(status)
        });
        let (percent, left) = (downloaded, (1000 - downloaded * 10) / 10);
        let shown = shown.await;
        assert_eq!(shown.progress.map(i64::from), Some(percent));
        assert_eq!(shown.download.unwrap().eta_seconds, Some(left));
        let message = shown.message.unwrap();
        assert!(message.starts_with(&format!("downloading: {percent} %, ")) && message.ends_with(" left"), "{message}");
    }
    // However many run, ten logs a second are read. A node that stood still answers those that waited at once, so what
    // counts is the time since nothing ran.
    let reads = kubelet.reads();
    let tenths = begun.elapsed().as_millis() / 100;
    assert!(reads > DOWNLOADS);
    assert!(reads as u128 <= tenths + 2, "{reads} reads in {tenths} tenths of a second");

    // Rotated, huge, cut off, forged: none of it moves the Model back.
    let before = status(&scene, "m9").await;
    let huge = format!("{{\"downloadedBytes\":{}}}\n", "9".repeat(100_000));
    for log in ["", &huge, "{\"downloadedBytes\":", &line(1), "{\"downloadedBytes\":1,\"totalBytes\":9000000000}\n"] {
        kubelet.log("m9", log);
        let count = kubelet.reads_of("m9");
        // The answer to the first of these may be under way with the log before.
        until("it is read", async || (kubelet.reads_of("m9") > count + 1).then_some(())).await;
        let after = status(&scene, "m9").await;
        assert_eq!((after.progress, after.phase), (before.progress, before.phase), "{log:.60}");
        let bytes = |status: ModelStatus| status.download.unwrap().downloaded_bytes;
        assert_eq!(bytes(after), bytes(before.clone()), "{log:.60}");
    }
    kubelet.log("m9", &line(500));
    until("it goes on", async || (status(&scene, "m9").await.progress == Some(50)).then_some(())).await;
}
