//! The source is asked whether it has newer content.

use e2e::Error;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use model_core::api::{Model, ModelStatus, Phase};
use model_core::labels::REFRESH;
use serde_json::json;

use crate::scene::{Scene, digests, files, hugging_face, model, noise};

fn up_to_date(status: &ModelStatus) -> &Condition {
    status.conditions.iter().find(|condition| condition.type_ == "UpToDate").expect("a condition UpToDate")
}

/// The branch moves. That is told, nothing of it is fetched, and a refresh gets it.
pub async fn newer_content_is_told_and_fetched_on_request(scene: Scene) -> Result<(), Error> {
    let repository = scene.repository("moving");
    let mut files = files("before");
    scene.hub.repository(&repository, &files)?;
    let mut wish = model("moving", &hugging_face(&repository));
    wish["spec"]["checkInterval"] = json!("1h");
    scene.apply(&wish)?;
    let before = scene.ready("moving").await?;
    assert_eq!(up_to_date(&before).status, "True", "the download has just asked: {:?}", up_to_date(&before));
    let content_requests = async || {
        let stats = scene.hub.stats(&scene.cluster).await?;
        Ok::<_, Error>(stats.containing(&format!("{repository}/resolve/")).requests)
    };
    let fetched = content_requests().await?;
    assert!(fetched > 0, "that is where content comes from");

    files.insert("tokenizer/vocab.txt".to_owned(), noise("vocab after", 10_000));
    scene.hub.repository(&repository, &files)?;
    scene.hub.refresh(&scene.cluster).await?;
    // What docs/content.md says to have it checked now.
    let long_ago = json!({ "status": { "check": { "checkedAt": "2026-01-01T00:00:00Z" } } }).to_string();
    scene.kubectl(&["patch", "model", "moving", "--subresource=status", "--type=merge", "-p", &long_ago])?;
    let newer = |model: &Model| {
        let status = model.status.clone()?;
        assert_eq!(status.phase, Some(Phase::Ready), "a check takes nothing down");
        (up_to_date(&status).reason == "NewRevision").then_some(status)
    };
    let told = scene.find("moving", "be told of what is new", newer).await?;
    let condition = up_to_date(&told);
    let revision =
        told.check.as_ref().and_then(|check| check.found.as_ref()?.resolved_revision.clone()).expect("a commit");
    assert_eq!(condition.status, "False");
    assert!(condition.message.contains(&format!("the source had revision {revision}")), "{}", condition.message);
    assert!(condition.message.ends_with("`kubectl model refresh moving`"), "{}", condition.message);
    assert_eq!(told.content, before.content);
    scene.gone::<Job>("model-plan-moving").await?;
    assert_eq!(content_requests().await?, fetched, "nothing of it is fetched");
    let events = scene.events("moving")?;
    assert_eq!(events.lines().filter(|event| event.starts_with("Normal NewRevision ")).count(), 1, "{events}");

    scene.kubectl(&["annotate", "model", "moving", &format!("{REFRESH}=2026-11-21T00:00:00Z")])?;
    let current = |model: &Model| {
        let status = model.status.clone().filter(|status| status.content != before.content)?;
        (up_to_date(&status).status == "True").then_some(status)
    };
    let after = scene.find("moving", "have what is new", current).await?;
    assert_eq!(after.content.and_then(|content| content.resolved_revision), Some(revision));
    assert_eq!(scene.digests("moving").await?, digests(&files));
    Ok(())
}
