//! A namespace is deleted with everything of ours in it, and nothing of it stays.

use std::time::{Duration, Instant};

use e2e::Error;
use k8s_openapi::api::core::v1::Pod;
use model_core::api::Model;
use serde_json::json;

use crate::scene::{PATIENCE, Scene, files, hugging_face, pod};

/// Slow enough that the download lasts until the namespace is deleted.
const BYTES_PER_SECOND: u64 = 50_000;

/// While a pod mounts one Model, a pod waits for another, and that one is downloaded.
pub async fn a_namespace_goes_with_models_that_pods_mount(scene: Scene) -> Result<(), Error> {
    scene.hub.repository(&scene.repository("tiny"), &files("deleted"))?;
    scene.slow_repository(&scene.repository("late"), &files("deleted later"), BYTES_PER_SECOND).await?;
    scene.model("tiny", &hugging_face(&scene.repository("tiny")))?;
    scene.ready("tiny").await?;
    scene.admit(&pod("mounts", &json!({ "inject": "tiny" }), "sleep 3600")).await?;
    scene.model("late", &hugging_face(&scene.repository("late")))?;
    scene.admit_waiting(&pod("waits", &json!({ "inject": "late", "when-not-ready": "wait" }), "true")).await?;
    let runs = |pod: &Pod| (pod.status.as_ref()?.phase.as_deref()? == "Running").then_some(());
    scene.find("mounts", "run", runs).await?;
    let under_way = |model: &Model| model.status.as_ref()?.progress.filter(|percent| *percent > 0);
    scene.find("late", "show progress", under_way).await?;
    // Asked for the Model alone, the answer is no. The webhook's cache follows the API server by a moment.
    eventually("a question before the Model is deleted", || {
        let answer = scene.kubectl(&["delete", "model", "tiny", "--dry-run=server"]);
        Ok(answer.is_err_and(|refusal| refusal.to_string().contains("is mounted by pod mounts")))
    })
    .await?;

    let volumes = r"-o=jsonpath={.items[*].spec.claimRef.namespace}";
    let volumes = || scene.cluster.run(&["get", "persistentvolumes", volumes]);
    let ours = |text: &str| text.split_whitespace().any(|namespace| namespace == scene.namespace);
    assert!(ours(&volumes()?), "claims have volumes");
    scene.cluster.run(&["delete", "namespace", &scene.namespace, &format!("--timeout={PATIENCE}s")])?;
    eventually("the volumes' end", || Ok(!ours(&volumes()?))).await
}

async fn eventually(what: &str, mut so: impl FnMut() -> Result<bool, Error>) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(PATIENCE);
    while !so()? {
        assert!(Instant::now() < deadline, "still waiting for {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}
