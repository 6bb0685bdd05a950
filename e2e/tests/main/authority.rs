//! A hub whose certificate is signed by an authority that no public list knows.

use e2e::hub::{Files, TLS_URL, URL, sha256};
use e2e::{Error, deploy};
use model_core::api::Model;
use serde_json::{Value, json};

use crate::failures::not_ready_yet;
use crate::scene::{Scene, digests, files, hugging_face, model, noise};

const CONFIG_MAP: &str = "company-ca";

pub async fn downloads_from_a_hub_that_only_a_private_authority_vouches_for(scene: Scene) -> Result<(), Error> {
    let content = noise("authority", 2 << 20);
    scene.hub.file(&format!("files/{}/weights.gguf", scene.namespace), &content)?;
    let source = json!({ "url": {
        "url": format!("{TLS_URL}/files/{}/weights.gguf", scene.namespace), "sha256": sha256(&content),
    } });
    scene.apply(&model("weights", &source))?;
    let untrusted = |model: &Model| {
        let status = model.status.as_ref()?;
        let message = status.message.clone().filter(|message| message.contains("certificate"))?;
        Some((crate::failures::reason(status).to_owned(), message))
    };
    let (reason, message) = scene.find("weights", "name the certificate", untrusted).await?;
    assert_ne!(reason, "Downloading", "{message}");
    assert!(message.contains("UnknownIssuer"), "{message}");

    let over_tls = format!("MODEL_CONTROLLER_DOWNLOAD_ENV=HF_ENDPOINT={TLS_URL}");
    let authority = format!("MODEL_CONTROLLER_DOWNLOAD_CA_CONFIG_MAP={CONFIG_MAP}");
    deploy::set_controller_env(&scene.cluster, &[&over_tls, &authority])?;
    let downloaded = downloads(&scene, &source, Files::from([("weights.gguf".to_owned(), content)])).await;
    // The scenarios after this one have no such ConfigMap.
    let plain = format!("MODEL_CONTROLLER_DOWNLOAD_ENV=HF_ENDPOINT={URL}");
    deploy::set_controller_env(&scene.cluster, &[&plain, "MODEL_CONTROLLER_DOWNLOAD_CA_CONFIG_MAP-"])?;
    downloaded
}

/// What the operator's user does after the setting was made: retry, read what is missing, create it.
async fn downloads(scene: &Scene, source: &Value, weights: Files) -> Result<(), Error> {
    scene.kubectl(&["delete", "job", "model-download-weights"])?;
    // Whose source is asked first waits in the same words.
    let mut asks = model("asks", source);
    asks["spec"]["storage"] = json!({});
    scene.apply(&asks)?;
    for name in ["weights", "asks"] {
        let message = not_ready_yet(scene, name, "VolumeNotMounted").await?;
        assert!(message.contains(&format!("ConfigMap {CONFIG_MAP} with key ca.crt")), "{message}");
    }
    scene.apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": CONFIG_MAP },
        "data": { "ca.crt": scene.hub.authority()? },
    }))?;
    // The kubelet tries again by itself.
    scene.ready("weights").await?;
    scene.ready("asks").await?;
    assert_eq!(scene.digests("weights").await?, digests(&weights));

    // A repository has two origins: the hub, and the CDN that it redirects to.
    let (repository, files) = (scene.repository("tiny"), files("authority"));
    scene.hub.repository(&repository, &files)?;
    let status = scene.downloads("tiny", &hugging_face(&repository), &files).await?;
    assert!(status.content.expect("content").verified);
    Ok(())
}
