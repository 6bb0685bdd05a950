//! `retry`, `refresh`, `logs`.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use model_core::api::Model;
use serde_json::{Value, json};

use crate::plane::{Scene, phase};

const REFRESH: &str = "models.main-currents.news/refresh";

fn failed(reason: &str, at: Timestamp) -> Value {
    let mut status = phase("Failed", 0, "it failed");
    let failure = json!({ "reason": reason, "message": "it failed", "at": at });
    status["download"] =
        json!({ "id": "a", "attempt": 1, "startedAt": "2026-01-01T00:00:00Z", "lastFailure": failure });
    status
}

#[tokio::test]
async fn retry_deletes_the_failed_job_and_says_so() {
    let scene = Scene::new("retry").await;
    let model = scene.model("tiny").await;
    scene.job(&model, "claim-uid").await;
    let jobs = scene.api::<Job>();

    let run = scene.run(&["retry", "tiny"]).await;
    assert_eq!(run.ends(0), "nothing to retry: tiny: Pending, the operator has not looked at it yet\n");
    assert!(jobs.get_opt("model-download-tiny").await.unwrap().is_some(), "a Job that runs is left alone");

    scene.job_fails("model-download-tiny").await;
    scene.status::<Model>("tiny", &failed("NetworkError", Timestamp::now())).await;
    let run = scene.run(&["retry", "tiny"]).await;
    assert!(run.ends(0).starts_with("deleted the failed Job model-download-tiny: "), "{run:#?}");
    let left = jobs.get_opt("model-download-tiny").await.unwrap();
    assert!(left.is_none_or(|job| job.metadata.deletion_timestamp.is_some()));
    let model = scene.api::<Model>().get("tiny").await.unwrap();
    assert!(!model.annotations().contains_key(REFRESH), "one wish is enough");
}

#[tokio::test]
async fn retry_works_when_kubernetes_has_removed_the_job() {
    let scene = Scene::new("retry-gone").await;
    scene.model("tiny").await;
    scene.status::<Model>("tiny", &failed("SourceNotFound", "2026-01-01T00:00:00Z".parse().unwrap())).await;
    let run = scene.run(&["retry", "tiny"]).await;
    assert!(run.ends(0).starts_with("Job model-download-tiny is gone already"), "{run:#?}");
    let model = scene.api::<Model>().get("tiny").await.unwrap();
    let asked: Timestamp = model.annotations()[REFRESH].parse().unwrap();
    assert!(run.out.contains(&asked.to_string()), "{run:#?}");
}

#[tokio::test]
async fn retry_leaves_a_job_of_somebody_else_alone() {
    let scene = Scene::new("retry-foreign").await;
    scene.model("tiny").await;
    let template = json!({ "spec": { "restartPolicy": "Never", "containers": [{ "name": "a", "image": "a" }] } });
    let theirs: Job =
        scene.create(&json!({ "metadata": { "name": "model-download-tiny" }, "spec": { "template": template } })).await;
    scene.job_fails(&theirs.name_any()).await;
    let run = scene.run(&["retry", "tiny"]).await;
    run.complains(1, &["Job model-download-tiny does not belong to this Model"]);
    assert!(scene.api::<Job>().get_opt("model-download-tiny").await.unwrap().is_some());
}

#[tokio::test]
async fn refresh_asks_for_a_new_download_with_the_time_now() {
    let scene = Scene::new("refresh").await;
    scene.model("tiny").await;
    let before = Timestamp::now();
    let run = scene.run(&["refresh", "tiny"]).await;
    assert!(run.ends(0).starts_with("asked for a new download of tiny"), "{run:#?}");
    let asked: Timestamp = scene.api::<Model>().get("tiny").await.unwrap().annotations()[REFRESH].parse().unwrap();
    assert!(asked.as_second() >= before.as_second() && asked <= Timestamp::now(), "{asked}");
}

#[tokio::test]
async fn logs_say_where_a_log_is_when_there_is_none() {
    let scene = Scene::new("logs").await;
    let model = scene.model("tiny").await;
    let run = scene.run(&["logs", "tiny"]).await;
    run.complains(1, &["Job model-download-tiny is not there", "kubectl model why tiny"]);
    scene.job(&model, "claim-uid").await;
    let run = scene.run(&["logs", "tiny"]).await;
    run.complains(1, &["Job model-download-tiny has no pod"]);
}
