//! `wait` and `status --watch` where standard output is no terminal.

use kube::api::DeleteParams;
use model_core::api::Model;
use serde_json::json;

use crate::plane::{Scene, downloading, phase, ready};

#[tokio::test]
async fn waiting_prints_a_line_for_each_change_and_ends_when_ready() {
    let scene = Scene::new("wait").await;
    scene.model("tiny").await;
    let mut run = scene.follow(&["wait", "tiny", "--timeout", "60s"]);
    let first = run.line().await;
    assert_eq!(first.as_deref(), Some("tiny: Pending, the operator has not looked at it yet"));
    for (step, want) in
        [(1, "25 %, 1.0 MiB/4.0 MiB, 1.0 MiB/s, ETA 3s"), (2, "50 %, 2.0 MiB/4.0 MiB, 1.0 MiB/s, ETA 2s")]
    {
        scene.status::<Model>("tiny", &downloading(step << 20, 4 << 20, 1 << 20)).await;
        assert_eq!(run.line().await, Some(format!("tiny: Downloading, {want}")));
    }
    // The same percentage again is no news.
    scene.status::<Model>("tiny", &downloading((2 << 20) + 1, 4 << 20, 1 << 20)).await;
    scene.status::<Model>("tiny", &ready("ready to mount, revision abc")).await;
    assert_eq!(run.line().await.as_deref(), Some("tiny: Ready, 4.0 MiB, ready to mount, revision abc"));
    assert_eq!(run.line().await, None);
    run.end().await.ends(0);
}

#[tokio::test]
async fn waiting_ends_when_only_a_person_can_help() {
    let scene = Scene::new("wait-failed").await;
    let model = scene.model("tiny").await;
    scene.job(&model, "claim-uid").await;
    let mut failed = phase("Failed", 0, "no such repository; check repoId");
    let at = "2026-01-01T00:00:00Z";
    failed["download"] = json!({ "id": "a", "attempt": 1, "startedAt": at, "lastFailure": { "reason": "SourceNotFound", "message": "no such repository", "at": at } });
    scene.status::<Model>("tiny", &failed).await;
    let run = scene.run(&["status", "tiny", "--watch"]).await;
    assert_eq!(run.ends(1), "tiny: Failed, no such repository; check repoId\n");
    run.complains(1, &["kubectl model why tiny -n wait-failed"]);
}

#[tokio::test]
async fn waiting_gives_up_when_its_time_is_over() {
    let scene = Scene::new("wait-long").await;
    scene.model("tiny").await;
    let run = scene.run(&["wait", "tiny", "--timeout", "1s"]).await;
    run.complains(1, &["could not wait for Model tiny: it is Pending after 1 s", "kubectl model why tiny"]);
}

#[tokio::test]
async fn waiting_ends_when_the_model_is_deleted() {
    let scene = Scene::new("wait-deleted").await;
    scene.model("tiny").await;
    let mut run = scene.follow(&["wait", "tiny"]);
    run.line().await.expect("it waits");
    scene.api::<Model>().delete("tiny", &DeleteParams::default()).await.unwrap();
    let run = run.end().await;
    run.complains(1, &["there is no Model of this name in namespace wait-deleted"]);
}
