//! A claim that outlives its Model.

use e2e::Error;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use model_core::api::{DeletionPolicy, Model};
use serde_json::json;

use crate::scene::{Scene, digests, files, hugging_face, model};

/// With `Retain` the claim outlives its Model, and the next one of the name has its files without a download.
pub async fn a_retained_claim_is_taken_over(scene: Scene) -> Result<(), Error> {
    let (repository, files) = (scene.repository("tiny"), files("retained"));
    scene.hub.repository(&repository, &files)?;
    let mut retained = model("tiny", &hugging_face(&repository));
    retained["spec"]["deletionPolicy"] = json!("Retain");
    scene.apply(&retained)?;
    let before = scene.ready("tiny").await?;
    assert_eq!(before.deletion_policy, Some(DeletionPolicy::Retain));
    scene.kubectl(&["delete", "model", "tiny"])?;
    scene.gone::<Job>("model-download-tiny").await?;
    let claim = scene.kubectl(&["get", "pvc", "model-tiny", "-o", "jsonpath={.metadata.uid} {.status.phase}"])?;
    assert_eq!(claim, format!("{} Bound", before.claim_uid.clone().unwrap_or_default()));

    let asked = async || Ok::<_, Error>(scene.hub.stats(&scene.cluster).await?.containing(&repository).requests);
    let requests = asked().await?;
    scene.apply(&retained)?;
    let after = scene.ready("tiny").await?;
    assert_eq!((after.claim_uid, after.content), (before.claim_uid, before.content));
    assert_eq!(asked().await?, requests, "the source was not even asked");
    assert_eq!(scene.digests("tiny").await?, digests(&files));

    // Back to the default, it goes with its Model.
    scene.kubectl(&["delete", "pod", "reads-tiny"])?;
    scene.apply(&model("tiny", &hugging_face(&repository)))?;
    let in_force = |model: &Model| (model.status.as_ref()?.deletion_policy? == DeletionPolicy::Delete).then_some(());
    scene.find("tiny", "have its new policy in force", in_force).await?;
    scene.kubectl(&["delete", "model", "tiny"])?;
    scene.gone::<PersistentVolumeClaim>("model-tiny").await
}
