//! A changed spec downloads beside what is mounted.

use e2e::Error;
use e2e::wait::Seen;
use k8s_openapi::api::batch::v1::Job;
use model_core::api::{Model, ModelStatus, Phase};
use serde_json::json;

use crate::scene::{Scene, digests, files, hugging_face, model};

fn condition<'a>(status: &'a ModelStatus, kind: &str) -> Option<&'a str> {
    status.conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.as_str())
}

pub async fn a_new_version_downloads_beside_the_old_one(scene: Scene) -> Result<(), Error> {
    let (first, second) = (files("one"), files("two"));
    scene.hub.repository(&scene.repository("one"), &first)?;
    // Until the old content was seen to be mounted still.
    scene.held_back(&scene.repository("two"), &second).await?;
    scene.model("tiny", &hugging_face(&scene.repository("one")))?;
    let old = scene.ready("tiny").await?.content.expect("content");

    scene.model("tiny", &hugging_face(&scene.repository("two")))?;
    scene
        .until("tiny", "download beside the old content", |model: Option<&Model>| {
            let Some(status) = model.and_then(|model| model.status.as_ref()) else { return Seen::NotYet };
            if status.phase != Some(Phase::Ready) {
                return Seen::Never(format!("it was {:?} in between", status.phase));
            }
            let running = status.download.as_ref().is_some_and(|download| download.downloaded_bytes > Some(0));
            let beside = running && condition(status, "UpToDate") == Some("False");
            if beside && status.content.as_ref() == Some(&old) { Seen::Done(()) } else { Seen::NotYet }
        })
        .await?;
    assert_eq!(scene.digests("tiny").await?, digests(&first), "the old content is what new pods mount");
    scene.kubectl(&["delete", "pod", "reads-tiny"])?;

    scene.let_go(&scene.repository("two")).await?;
    let new = scene
        .until("tiny", "publish the new content", |model: Option<&Model>| {
            let Some(status) = model.and_then(|model| model.status.as_ref()) else { return Seen::NotYet };
            if status.phase != Some(Phase::Ready) {
                return Seen::Never(format!("it was {:?} in between", status.phase));
            }
            match &status.content {
                Some(content) if *content != old => Seen::Done(status.clone()),
                _ => Seen::NotYet,
            }
        })
        .await?;
    assert_eq!(condition(&new, "UpToDate"), Some("Unknown"), "nobody asked the source since");
    assert_eq!(scene.digests("tiny").await?, digests(&second));
    Ok(())
}

pub async fn a_failed_update_takes_nothing_down(scene: Scene) -> Result<(), Error> {
    let files = files("kept");
    scene.hub.repository(&scene.repository("one"), &files)?;
    scene.model("tiny", &hugging_face(&scene.repository("one")))?;
    let old = scene.ready("tiny").await?.content;
    scene.model("tiny", &hugging_face(&scene.repository("nowhere")))?;
    let status = scene
        .find("tiny", "tell that the update failed", |model: &Model| {
            let status = model.status.as_ref()?;
            let failed = status.conditions.iter().find(|condition| condition.type_ == "UpToDate")?;
            (failed.reason == "RefreshFailed" && failed.message.starts_with("SourceNotFound: ")).then(|| status.clone())
        })
        .await?;
    assert_eq!(status.phase, Some(Phase::Ready));
    assert_eq!(status.content, old);
    assert_eq!(scene.digests("tiny").await?, digests(&files));
    Ok(())
}

/// The Job of the spec before is of no use to the new one, whatever state it is in.
pub async fn a_stale_job_is_replaced(scene: Scene) -> Result<(), Error> {
    let files = files("right");
    scene.hub.repository(&scene.repository("right"), &files)?;
    scene.model("tiny", &hugging_face(&scene.repository("wrong")))?;
    scene.failed("tiny").await?;
    let stale = scene.find("model-download-tiny", "exist", |job: &Job| job.metadata.uid.clone()).await?;
    scene.model("tiny", &hugging_face(&scene.repository("right")))?;
    let new = |job: &Job| job.metadata.uid.clone().filter(|uid| *uid != stale);
    scene.find("model-download-tiny", "be replaced", new).await?;
    scene
        .find("tiny", "become Ready", |model: &Model| (model.status.as_ref()?.phase? == Phase::Ready).then_some(()))
        .await?;
    assert_eq!(scene.digests("tiny").await?, digests(&files));
    Ok(())
}

/// Settings that do not change what is downloaded download nothing.
pub async fn other_changes_download_nothing(scene: Scene) -> Result<(), Error> {
    let repository = scene.repository("tiny");
    scene.hub.repository(&repository, &files("settled"))?;
    scene.model("tiny", &hugging_face(&repository))?;
    let before = scene.ready("tiny").await?;
    let job = scene.find("model-download-tiny", "exist", |job: &Job| job.metadata.uid.clone()).await?;
    let mut changed = model("tiny", &hugging_face(&repository));
    changed["spec"]["storage"]["size"] = json!("65Mi");
    changed["spec"]["nodeSelector"] = json!({ "kubernetes.io/os": "linux" });
    scene.apply(&changed)?;
    let after = scene
        .find("tiny", "observe the change", |model: &Model| {
            let status = model.status.clone()?;
            (status.observed_generation == model.metadata.generation
                && status.observed_generation > before.observed_generation)
                .then_some(status)
        })
        .await?;
    assert_eq!(after.content, before.content);
    assert_eq!(after.phase, Some(Phase::Ready));
    let same = scene.find("model-download-tiny", "exist", |job: &Job| job.metadata.uid.clone()).await?;
    assert_eq!(job, same);
    // What a claim cannot do is refused at once, in words.
    let mut shrunk = model("tiny", &hugging_face(&repository));
    shrunk["spec"]["storage"]["size"] = json!("1Mi");
    let answer = scene.try_apply(&shrunk)?;
    assert!(!answer.ok && answer.text.contains("spec.storage.size cannot shrink"), "{}", answer.text);
    Ok(())
}

pub async fn impossible_models_are_refused(scene: Scene) -> Result<(), Error> {
    let two = json!({ "url": { "url": "https://example.com/a" }, "s3": { "bucket": "abc", "key": "k" } });
    let long = "x".repeat(49);
    for (model, want) in [
        (model("two", &two), "spec.source must have exactly one of huggingFace, url, s3"),
        (model("none", &json!({})), "spec.source must have exactly one of huggingFace, url, s3"),
        (model(&long, &hugging_face("a/b")), "at most 48 characters"),
    ] {
        let answer = scene.try_apply(&model)?;
        assert!(!answer.ok, "{model} was accepted");
        assert!(answer.text.contains(want), "{want:?} is not in\n{}", answer.text);
    }
    assert_eq!(scene.kubectl(&["get", "models", "-o", "name"])?, "");
    Ok(())
}
