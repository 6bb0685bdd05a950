//! A Model's life with gated pods, from the first download to its deletion, for controllers that something goes wrong with.
//! Each container says what it finds when it starts: nothing but the whole. Of each content there is one Job and one
//! attempt, and no download runs beside another one or beside a removal.

use e2e::Error;
use e2e::hub::Files;
use k8s_openapi::api::apps::v1::Deployment;
use model_core::api::{Model, Phase};

use crate::gates::{deployment, read};
use crate::kills::{deleted, offered, pruned};
use crate::prunes::revisions;
use crate::scene::{Scene, digests, files, hugging_face};
use crate::witness::Witness;

/// Slow enough that a download lasts for some seconds.
const BYTES_PER_SECOND: u64 = 1_500_000;

/// How often something goes wrong that takes its time: `MODEL_E2E_FAULT_ROUNDS`, else once.
pub fn rounds() -> usize {
    std::env::var("MODEL_E2E_FAULT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Plays it as often as [`rounds`] says.
pub async fn play(scene: &Scene) -> Result<(), Error> {
    let rounds = rounds();
    let witness = Witness::start(scene);
    for round in 1..=rounds {
        live(scene, round).await?;
    }
    // One content was given up for the next one before it was there.
    witness.saw_one_download_of_each(3 * rounds);
    Ok(())
}

async fn live(scene: &Scene, round: usize) -> Result<(), Error> {
    let given_up = source(scene, &format!("given-up-{round}")).await?;
    let (first, second) =
        (source(scene, &format!("first-{round}")).await?, source(scene, &format!("second-{round}")).await?);
    scene.model("tiny", &hugging_face(&given_up.0))?;
    scene.apply(&deployment())?;
    let downloads = |model: &Model| (model.status.as_ref()?.phase == Some(Phase::Downloading)).then_some(());
    scene.find("tiny", "begin to download", downloads).await?;
    // Pods that wait for what will not come are replaced.
    scene.model("tiny", &hugging_face(&first.0))?;
    let old = offered(scene, None).await?;
    read(scene, &first.1).await?;

    // The pods keep what they have.
    scene.model("tiny", &hugging_face(&second.0))?;
    let new = offered(scene, Some(&old)).await?;
    read(scene, &first.1).await?;
    scene.kubectl(&["delete", "deployment", "early", "--cascade=foreground"])?;
    scene.gone::<Deployment>("early").await?;
    pruned(scene).await?;
    assert_eq!(&revisions(scene, &format!("pruned-{round}")).await?, std::slice::from_ref(&new.id));
    assert_eq!(scene.digests("tiny").await?, digests(&second.1));

    let status = scene.api::<Model>().get("tiny").await.expect("the Model is there").status.unwrap_or_default();
    assert_eq!(status.download.map(|download| download.attempt), Some(1), "it was downloaded anew");
    let events = scene.events("tiny")?;
    for reason in ["Downloading", "Downloaded"] {
        assert!(events.contains(reason), "{reason} is not in\n{events}");
    }
    deleted(scene).await
}

/// A repository that takes some seconds to fetch.
async fn source(scene: &Scene, name: &str) -> Result<(String, Files), Error> {
    let repository = scene.repository(name);
    let files = files(&repository);
    scene.slow_repository(&repository, &files, BYTES_PER_SECOND).await?;
    Ok((repository, files))
}
