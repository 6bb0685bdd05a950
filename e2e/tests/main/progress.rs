//! What a user sees while a download runs, and that nothing is lost when the controller dies.

use e2e::Error;
use e2e::wait::Seen;
use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use model_core::api::{Model, Phase};

use crate::scene::{Scene, digests, hugging_face, noise};

/// One file that the hub holds back until it is let go.
pub async fn held_repository(scene: &Scene) -> Result<(String, e2e::hub::Files), Error> {
    let repository = scene.repository("slow");
    let files = e2e::hub::Files::from([("model.safetensors".to_owned(), noise(&repository, 6 << 20))]);
    scene.held_back(&repository, &files).await?;
    Ok((repository, files))
}

pub async fn the_percent_grows_and_never_goes_back(scene: Scene) -> Result<(), Error> {
    let (repository, _) = held_repository(&scene).await?;
    scene.model("slow", &hugging_face(&repository))?;
    let mut seen = Vec::new();
    grows(&scene, "grow twice", &mut seen, |seen, _| {
        seen.iter().filter(|percent| (1..100).contains(*percent)).count() >= 2
    })
    .await?;
    scene.let_go(&repository).await?;
    grows(&scene, "become Ready", &mut seen, |_, is_ready| is_ready).await?;
    assert_eq!(seen.last(), Some(&100));
    // The columns of `kubectl get models`.
    let table = scene.kubectl(&["get", "models"])?;
    let columns: Vec<_> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(columns, ["NAME", "PHASE", "PROGRESS", "VERSION", "SIZE", "AGE"], "{table}");
    Ok(())
}

/// Notes each percent that a user sees until it is enough, which it is at the latest when the Model is Ready.
async fn grows(
    scene: &Scene,
    what: &str,
    seen: &mut Vec<i32>,
    enough: impl Fn(&[i32], bool) -> bool,
) -> Result<(), Error> {
    scene
        .until("slow", what, |model: Option<&Model>| {
            let Some(status) = model.and_then(|model| model.status.as_ref()) else { return Seen::NotYet };
            let percent = status.progress.unwrap_or(0);
            if seen.last().is_some_and(|last| *last > percent) {
                return Seen::Never(format!("progress went back: {seen:?}, then {percent}"));
            }
            if seen.last() != Some(&percent) {
                seen.push(percent);
            }
            let is_ready = status.phase == Some(Phase::Ready);
            match enough(seen, is_ready) {
                true => Seen::Done(()),
                false if is_ready => Seen::Never(format!("a user saw no more than {seen:?}")),
                false => Seen::NotYet,
            }
        })
        .await
}

pub async fn the_controller_restarts_in_the_middle_of_a_download(scene: Scene) -> Result<(), Error> {
    let (repository, files) = held_repository(&scene).await?;
    scene.model("slow", &hugging_face(&repository))?;
    let underway = |model: &Model| model.status.as_ref()?.progress.filter(|percent| *percent > 0);
    scene.find("slow", "show progress", underway).await?;
    let job = scene.find("model-download-slow", "exist", |job: &Job| job.metadata.uid.clone()).await?;

    let controller = ["-n", e2e::deploy::NAMESPACE, "-l", "app.kubernetes.io/name=model-controller"];
    scene.cluster.run(&[&["delete", "pod"][..], &controller, &["--grace-period=0", "--force"]].concat())?;
    e2e::deploy::rolled_out(&scene.cluster, "model-controller")?;
    scene.let_go(&repository).await?;

    scene.ready("slow").await?;
    assert_eq!(scene.digests("slow").await?, digests(&files));
    let jobs = scene.api::<Job>().list(&ListParams::default()).await.expect("Jobs can be listed").items;
    let uids: Vec<_> = jobs.iter().filter_map(|job| job.metadata.uid.clone()).collect();
    assert_eq!(uids, [job], "one Job did all of it");
    let sent = scene.hub.stats(&scene.cluster).await?.containing(&repository).bytes;
    let size: usize = files.values().map(Vec::len).sum();
    assert!(sent < 2 * size as u64, "the file was fetched once: {sent} bytes for {size}");
    Ok(())
}
