//! `verify`, with an operator that the test plays.

use kube::ResourceExt as _;
use model_core::api::Model;
use model_core::labels::VERIFY;
use serde_json::{Value, json};

use crate::plane::{Scene, downloading, ready, until};

impl Scene {
    /// The request that was written, other than this one.
    async fn request(&self, not: &str) -> String {
        until("a request", async || {
            let model = self.api::<Model>().get("tiny").await.expect("the Model is there");
            model.annotations().get(VERIFY).filter(|request| *request != not).cloned()
        })
        .await
    }

    async fn answer(&self, request: &str, result: &str, message: Option<&str>) {
        let ended = (result != "Running").then_some("2026-01-01T00:00:09Z");
        let verification = json!({
            "request": request, "result": result, "content": "aaaaaaaaaaaaaaaaaaaa", "startedAt": "2026-01-01T00:00:00Z",
            "endedAt": ended, "files": 3, "faults": i32::from(message.is_some()), "message": message,
        });
        self.status::<Model>("tiny", &json!({ "verification": verification })).await;
    }
}

#[tokio::test]
async fn a_check_is_asked_for_followed_and_joined() {
    let scene = Scene::new("verify").await;
    scene.model("tiny").await;
    scene.status::<Model>("tiny", &ready("ready to mount")).await;
    let mut first = scene.follow(&["verify", "tiny"]);
    let request = scene.request("").await;
    // Nobody has answered yet, and still no second request is written.
    let second = scene.run(&["verify", "tiny", "--timeout", "1s"]).await;
    second.complains(1, &[&format!("a check of tiny runs already, asked for as {request}")]);
    second.complains(1, &["the check goes on", "or stop it: kubectl delete job model-verify-tiny -n verify"]);
    scene.answer(&request, "Running", Some("Unschedulable: 0/3 nodes")).await;
    scene.answer(&request, "Intact", None).await;
    assert_eq!(first.line().await.as_deref(), Some("tiny: all 3 files are as they were published"));
    first.end().await.ends(0);
}

#[tokio::test]
async fn damage_is_told_with_what_to_do() {
    let scene = Scene::new("verify-damage").await;
    scene.model("tiny").await;
    scene.status::<Model>("tiny", &ready("ready to mount")).await;
    let mut run = scene.follow(&["verify", "tiny", "--output=json"]);
    let request = scene.request("").await;
    scene.answer(&request, "Damaged", Some("changed a\u{1b}[2J.bin")).await;
    let mut text = String::new();
    while let Some(line) = run.line().await {
        text.push_str(&line);
    }
    let check: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&check["name"], &check["verification"]["result"]), (&json!("tiny"), &json!("Damaged")));
    assert_eq!(check["verification"]["message"], "changed a\u{fffd}[2J.bin");
    run.end().await.complains(1, &["what to do: kubectl model refresh tiny -n verify-damage"]);
    let why = scene.run(&["why", "tiny"]).await;
    assert!(why.ends(1).contains("ContentDamaged: a check found 1 faults in 3 published files"), "{why:#?}");

    let mut next = scene.follow(&["verify", "tiny"]);
    let request = scene.request(&request).await;
    let second = scene.run(&["verify", "tiny", "--timeout", "1s"]).await;
    second.complains(1, &["the check goes on"]);
    assert!(!second.err.contains("held up"), "an earlier answer holds nothing up: {second:#?}");
    scene.answer(&request, "Failed", Some("pod server-1 has the claim")).await;
    let want = "tiny: the files could not be read again: pod server-1 has the claim";
    assert_eq!(next.line().await.as_deref(), Some(want));
    next.end().await.ends(1);
}

#[tokio::test]
async fn what_cannot_be_checked_is_not_asked_for() {
    let scene = Scene::new("verify-not").await;
    scene.model("tiny").await;
    scene.status::<Model>("tiny", &downloading(1 << 20, 4 << 20, 1 << 20)).await;
    let run = scene.run(&["verify", "tiny"]).await;
    run.complains(1, &["nothing of it is published", "tiny: Downloading, 25 %", "kubectl model wait tiny"]);
    let mut stock = ready("ready to mount, not verified");
    stock["content"]["path"] = json!("");
    scene.status::<Model>("tiny", &stock).await;
    scene.run(&["verify", "tiny"]).await.complains(1, &["stock images downloaded it"]);
    let model = scene.api::<Model>().get("tiny").await.expect("the Model is there");
    assert!(!model.annotations().contains_key(VERIFY));
}
