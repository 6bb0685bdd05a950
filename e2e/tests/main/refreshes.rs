//! The same spec again: a refresh on request, and content whose record was lost.

use e2e::Error;
use e2e::wait::Seen;
use k8s_openapi::api::batch::v1::Job;
use model_core::api::{Model, ModelStatus, Phase};
use model_core::labels::REFRESH;

use crate::scene::{Scene, digests, files, hugging_face, noise};

/// The annotation asks again. What the source did not change is not fetched again, and the old content stays offered
/// until the new one is there.
pub async fn a_refresh_fetches_what_changed(scene: Scene) -> Result<(), Error> {
    let repository = scene.repository("tiny");
    let mut files = files("before");
    scene.hub.repository(&repository, &files)?;
    scene.model("tiny", &hugging_face(&repository))?;
    let old = scene.ready("tiny").await?.content.expect("content");
    let of_repository = format!("{repository}/");
    let fetched = async || Ok::<_, Error>(scene.hub.stats(&scene.cluster).await?.containing(&of_repository).bytes);
    let before = fetched().await?;
    assert!(before > 3 << 20, "{before} bytes");

    files.insert("tokenizer/vocab.txt".to_owned(), noise("vocab after", 10_000));
    scene.hub.repository(&repository, &files)?;
    scene.hub.refresh(&scene.cluster).await?;
    scene.kubectl(&["annotate", "model", "tiny", &format!("{REFRESH}=2026-11-21T00:00:00Z")])?;
    let new = scene
        .until("tiny", "offer the new content", |model: Option<&Model>| {
            let Some(status) = model.and_then(|model| model.status.as_ref()) else { return Seen::NotYet };
            match &status.content {
                _ if status.phase != Some(Phase::Ready) => Seen::Never(format!("it was {:?} in between", status.phase)),
                Some(content) if content.id != old.id => Seen::Done(content.clone()),
                _ => Seen::NotYet,
            }
        })
        .await?;
    assert_ne!(new.resolved_revision, old.resolved_revision);
    assert_eq!(scene.digests("tiny").await?, digests(&files));
    let again = fetched().await? - before;
    assert!(again < 1 << 20, "{again} bytes were fetched again");
    Ok(())
}

/// A backup brings back objects and volumes, and often no status. What is on the claim is checked and offered again.
pub async fn a_lost_status_downloads_nothing_again(scene: Scene) -> Result<(), Error> {
    let (repository, files) = (scene.repository("tiny"), files("restored"));
    scene.hub.repository(&repository, &files)?;
    scene.model("tiny", &hugging_face(&repository))?;
    let before = scene.ready("tiny").await?;
    let asked = async || Ok::<_, Error>(scene.hub.stats(&scene.cluster).await?.containing(&repository).requests);
    let requests = asked().await?;
    scene.kubectl(&["delete", "job", "model-download-tiny"])?;
    scene.gone::<Job>("model-download-tiny").await?;
    let remove = r#"[{ "op": "remove", "path": "/status" }]"#;
    scene.kubectl(&["patch", "model", "tiny", "--subresource=status", "--type=json", "-p", remove])?;
    let again = |model: &Model| {
        let status = model.status.clone().filter(|status: &ModelStatus| status.phase == Some(Phase::Ready))?;
        let newer = status.download.as_ref()?.started_at > before.download.as_ref()?.started_at;
        newer.then_some(status)
    };
    let status = scene.find("tiny", "be Ready again", again).await?;
    assert_eq!((&status.content, &status.claim_uid), (&before.content, &before.claim_uid));
    assert_eq!(asked().await?, requests, "the source was not even asked");
    assert_eq!(scene.digests("tiny").await?, digests(&files));
    Ok(())
}
