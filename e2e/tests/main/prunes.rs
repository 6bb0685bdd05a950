//! Earlier content goes from the volume, and not under a pod.

use e2e::Error;
use e2e::wait::Seen;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use model_core::api::{Model, Phase};
use serde_json::json;

use crate::scene::{Scene, digests, files, hugging_face, phase, pod, pod_spec};

pub async fn earlier_content_is_pruned_once_no_pod_names_it(scene: Scene) -> Result<(), Error> {
    let (first, second) = (files("first"), files("second"));
    scene.hub.repository(&scene.repository("first"), &first)?;
    scene.hub.repository(&scene.repository("second"), &second)?;
    scene.model("tiny", &hugging_face(&scene.repository("first")))?;
    let old = scene.ready("tiny").await?.content.expect("content");
    let script = "while sleep 1; do sha256sum /models/tiny/model.safetensors; done";
    scene.admit(&pod("holder", &json!({ "inject": "tiny" }), script)).await?;
    scene
        .until("holder", "run", |pod: Option<&Pod>| match phase(pod) {
            Some("Running") => Seen::Done(()),
            _ => Seen::NotYet,
        })
        .await?;

    scene.model("tiny", &hugging_face(&scene.repository("second")))?;
    let new = scene
        .find("tiny", "offer the new content", |model: &Model| {
            let status = model.status.as_ref().filter(|status| status.phase == Some(Phase::Ready))?;
            status.content.clone().filter(|content| content.id != old.id)
        })
        .await?;
    // What the pod reads stays, however long ago it was offered, and costs no Job.
    eleven_minutes_pass(&scene).await?;
    let mut want = [old.id.clone(), new.id.clone()];
    want.sort();
    assert_eq!(revisions(&scene, "before").await?, want);
    let read = scene.kubectl(&["logs", "holder", "--tail=1"])?;
    assert!(read.starts_with(&digests(&first)["model.safetensors"]), "{read}");
    assert_eq!(scene.kubectl(&["get", "jobs", "-o", "name"])?, "job.batch/model-download-tiny\n");

    scene.kubectl(&["delete", "pod", "holder", "--grace-period=1"])?;
    scene.gone::<Pod>("holder").await?;
    eleven_minutes_pass(&scene).await?;
    let nothing_left = |model: &Model| model.status.as_ref()?.earlier.is_empty().then_some(());
    scene.find("tiny", "have nothing left to prune", nothing_left).await?;
    assert_eq!(revisions(&scene, "after").await?, [new.id]);
    assert_eq!(scene.digests("tiny").await?, digests(&second));
    Ok(())
}

/// As if so much time had passed: what is recorded is older.
pub async fn eleven_minutes_pass(scene: &Scene) -> Result<(), Error> {
    let mut earlier = scene.find("tiny", "have a status", |model: &Model| Some(model.status.clone()?.earlier)).await?;
    for content in &mut earlier {
        content.since.0 -= SignedDuration::from_mins(11);
    }
    let patch = json!({ "status": { "earlier": earlier } }).to_string();
    scene.kubectl(&["patch", "model", "tiny", "--subresource=status", "--type=merge", "-p", &patch]).map(drop)
}

/// What lies in `revisions/` on the claim, hidden directories included.
pub async fn revisions(scene: &Scene, name: &str) -> Result<Vec<String>, Error> {
    let mut spec = pod_spec("ls -A /claim/revisions");
    spec["containers"][0]["volumeMounts"] = json!([{ "name": "claim", "mountPath": "/claim" }]);
    spec["volumes"] = json!([{ "name": "claim", "persistentVolumeClaim": { "claimName": "model-tiny" } }]);
    scene.apply(&json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec }))?;
    let names = scene.log(name).await?;
    // It names the claim as a whole.
    scene.kubectl(&["delete", "pod", name])?;
    scene.gone::<Pod>(name).await?;
    Ok(names.lines().map(str::to_owned).collect())
}
