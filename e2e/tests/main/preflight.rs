//! The source is asked before a claim is made.

use e2e::Error;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use serde_json::json;

use crate::failures::reason;
use crate::scene::{Scene, digests, files, hugging_face, model, secret};

/// A Model that says nothing of its size, and two whose trouble is known before anything is provisioned.
pub async fn the_source_is_asked_before_there_is_a_claim(scene: Scene) -> Result<(), Error> {
    let (open, closed) = (scene.repository("open"), scene.repository("closed"));
    let content = files("preflight");
    scene.hub.repository(&open, &content)?;
    scene.hub.repository(&closed, &content)?;
    scene.hub.make_private(&closed)?;

    let mut small = model("small", &hugging_face(&open));
    small["spec"]["storage"]["size"] = json!("1Mi");
    small["spec"]["preflight"] = json!(true);
    scene.apply(&small)?;
    scene.apply(&secret("hub", &json!({ "HF_TOKEN": "hf_wrong" })))?;
    let mut refused = model("refused", &hugging_face(&closed));
    refused["spec"]["credentialsSecret"] = json!("hub");
    refused["spec"]["preflight"] = json!(true);
    scene.apply(&refused)?;
    let status = scene.failed("small").await?;
    assert_eq!(reason(&status), "StorageTooSmall", "{:?}", status.message);
    let status = scene.failed("refused").await?;
    assert_eq!(reason(&status), "AccessDenied", "{:?}", status.message);
    let claims = scene.api::<PersistentVolumeClaim>().list(&ListParams::default()).await.expect("claims can be listed");
    assert!(claims.items.is_empty(), "nothing was provisioned");

    let mut open = model("open", &hugging_face(&open));
    open["spec"]["storage"] = json!({});
    scene.apply(&open)?;
    let status = scene.ready("open").await?;
    let bytes: usize = content.values().map(Vec::len).sum();
    let download = status.download.expect("a download is recorded");
    assert_eq!(download.total_bytes, i64::try_from(bytes).ok());
    assert_eq!(download.total_files, i64::try_from(content.len()).ok());
    assert!(download.resolved_revision.is_some());
    let size = scene.kubectl(&["get", "pvc", "model-open", "-o=jsonpath={.spec.resources.requests.storage}"])?;
    assert_eq!(size, "1Gi");
    let listed = scene.kubectl(&["logs", "job/model-plan-open"])?;
    assert!(content.keys().all(|name| listed.contains(name)), "{listed}");
    assert_eq!(scene.digests("open").await?, digests(&content));
    Ok(())
}
