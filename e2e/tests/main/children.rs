//! Claim and Job belong to their Model, and only to it.

use e2e::Error;
use e2e::wait::Seen;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use model_core::api::{Model, Phase};
use serde_json::json;

use crate::failures::{not_ready_yet, reason};
use crate::scene::{Scene, digests, files, hugging_face, pod};

pub async fn deleting_the_model_collects_claim_and_job(scene: Scene) -> Result<(), Error> {
    let repository = scene.repository("tiny");
    scene.hub.repository(&repository, &files("collect"))?;
    scene.model("tiny", &hugging_face(&repository))?;
    scene.ready("tiny").await?;
    scene.kubectl(&["delete", "model", "tiny", "--wait=false"])?;
    scene.gone::<Model>("tiny").await?;
    scene.gone::<Job>("model-download-tiny").await?;
    scene.gone::<PersistentVolumeClaim>("model-tiny").await?;
    // The webhook's cache follows the API server by a moment.
    scene.refused(&pod("late", &json!({ "inject": "tiny" }), "true"), "model not found: tiny").await.map(drop)
}

pub async fn deleting_the_claim_of_a_ready_model_starts_over(scene: Scene) -> Result<(), Error> {
    let (repository, files) = (scene.repository("tiny"), files("over"));
    scene.hub.repository(&repository, &files)?;
    scene.model("tiny", &hugging_face(&repository))?;
    let first = scene.ready("tiny").await?.claim_uid;
    scene.kubectl(&["delete", "pvc", "model-tiny", "--wait=false"])?;
    let again = scene
        .find("tiny", "become Ready on a new claim", |model: &Model| {
            let status = model.status.as_ref().filter(|status| status.phase == Some(Phase::Ready))?;
            status.claim_uid.clone().filter(|uid| Some(uid) != first.as_ref())
        })
        .await?;
    let claim = scene.find("model-tiny", "exist", |claim: &PersistentVolumeClaim| claim.metadata.uid.clone()).await?;
    assert_eq!(claim, again);
    assert_eq!(scene.digests("tiny").await?, digests(&files));
    Ok(())
}

/// A claim that pods still mount stays until they are gone. Meanwhile the Model is not offered.
pub async fn a_claim_that_goes_while_it_is_mounted(scene: Scene) -> Result<(), Error> {
    let (repository, files) = (scene.repository("tiny"), files("mounted"));
    scene.hub.repository(&repository, &files)?;
    scene.model("tiny", &hugging_face(&repository))?;
    scene.ready("tiny").await?;
    scene.admit(&pod("holder", &json!({ "inject": "tiny" }), "sleep 3600")).await?;
    scene
        .until("holder", "run", |pod: Option<&Pod>| match crate::scene::phase(pod) {
            Some("Running") => Seen::Done(()),
            _ => Seen::NotYet,
        })
        .await?;
    scene.kubectl(&["delete", "pvc", "model-tiny", "--wait=false"])?;
    let message = not_ready_yet(&scene, "tiny", "ClaimLost").await?;
    assert!(message.contains("until no pod mounts it"), "{message}");
    let late = pod("late", &json!({ "inject": "tiny" }), "true");
    scene.refused(&late, "model not ready: tiny is Pending").await?;

    scene.kubectl(&["delete", "pod", "holder", "--wait=false"])?;
    scene.ready("tiny").await?;
    assert_eq!(scene.digests("tiny").await?, digests(&files));
    Ok(())
}

pub async fn a_claim_of_somebody_else_is_left_untouched(scene: Scene) -> Result<(), Error> {
    let repository = scene.repository("tiny");
    scene.hub.repository(&repository, &files("foreign claim"))?;
    scene.apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "model-tiny" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Mi" } } },
    }))?;
    let before =
        scene.kubectl(&["get", "pvc", "model-tiny", "-o", "jsonpath={.metadata.uid} {.spec} {.metadata.labels}"])?;
    scene.model("tiny", &hugging_face(&repository))?;
    let status = scene.failed("tiny").await?;
    let message = status.message.clone().unwrap_or_default();
    assert_eq!(reason(&status), "ClaimConflict", "{message}");
    assert!(message.contains("model-tiny") && message.contains("left untouched"), "{message}");
    assert_eq!(scene.kubectl(&["get", "jobs", "-o", "name"])?, "", "nothing may write to that claim");
    let after =
        scene.kubectl(&["get", "pvc", "model-tiny", "-o", "jsonpath={.metadata.uid} {.spec} {.metadata.labels}"])?;
    assert_eq!(before, after);

    // It is not collected with the Model either.
    scene.kubectl(&["delete", "model", "tiny"])?;
    scene.model("tiny", &hugging_face(&repository))?;
    scene.failed("tiny").await?;
    let after =
        scene.kubectl(&["get", "pvc", "model-tiny", "-o", "jsonpath={.metadata.uid} {.spec} {.metadata.labels}"])?;
    assert_eq!(before, after);
    Ok(())
}

pub async fn a_job_of_somebody_else_is_left_untouched(scene: Scene) -> Result<(), Error> {
    let repository = scene.repository("tiny");
    scene.hub.repository(&repository, &files("foreign job"))?;
    scene.apply(&json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "model-download-tiny" },
        "spec": { "template": { "spec": crate::scene::pod_spec("true") } },
    }))?;
    let succeeded = |job: &Job| job.status.as_ref()?.succeeded.filter(|count| *count > 0);
    scene.find("model-download-tiny", "succeed", succeeded).await?;
    let uid = scene.kubectl(&["get", "job", "model-download-tiny", "-o", "jsonpath={.metadata.uid}"])?;

    scene.model("tiny", &hugging_face(&repository))?;
    let status = scene.failed("tiny").await?;
    let message = status.message.clone().unwrap_or_default();
    assert_eq!(reason(&status), "JobConflict", "{message}");
    assert!(status.content.is_none(), "its success proves nothing");
    assert_eq!(scene.kubectl(&["get", "job", "model-download-tiny", "-o", "jsonpath={.metadata.uid}"])?, uid);
    Ok(())
}

/// Whoever deletes a Model that pods mount is told so; ending the pods, or insisting, is the way.
pub async fn a_mounted_model_is_not_deleted_by_mistake(scene: Scene) -> Result<(), Error> {
    let repository = scene.repository("tiny");
    scene.hub.repository(&repository, &files("in use"))?;
    for name in ["tiny", "forced"] {
        scene.model(name, &hugging_face(&repository))?;
        scene.ready(name).await?;
        scene.admit(&pod(&format!("uses-{name}"), &json!({ "inject": name }), "sleep 3600")).await?;
    }
    // The webhook's cache follows the API server by a moment.
    let eventually = async |what: &str, arguments: &[&str], done: &dyn Fn(&str) -> bool| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(crate::scene::PATIENCE);
        loop {
            let answer = scene.kubectl(arguments).unwrap_or_else(|refusal| refusal.to_string());
            if done(&answer) {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{what}: {answer}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    for name in ["tiny", "forced"] {
        let says = format!("model {name} is mounted by pod uses-{name}, which could not start again without it");
        eventually("is refused", &["delete", "model", name, "--dry-run=server"], &|answer| answer.contains(&says))
            .await;
    }
    scene.kubectl(&["annotate", "model/forced", "models.main-currents.news/delete-while-mounted=true"])?;
    scene.kubectl(&["delete", "model", "forced"])?;
    scene.kubectl(&["delete", "pod", "uses-tiny", "--now"])?;
    eventually("is deleted", &["delete", "model", "tiny", "--wait=false"], &|answer| answer.contains("deleted")).await;
    scene.gone::<Model>("tiny").await
}
