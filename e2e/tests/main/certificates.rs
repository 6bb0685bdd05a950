//! The controller makes the webhook's certificate, and the kubelet brings it to the replicas. Nothing else may run beside
//! this.

use std::time::{Duration, Instant};

use e2e::Error;
use e2e::deploy::{self, NAMESPACE};
use serde_json::json;

use crate::WORKSPACE;
use crate::scene::{Scene, files, hugging_face, pod};

/// The kubelet brings a changed Secret within about a minute and a half.
const RENEWED_WITHIN: Duration = Duration::from_mins(4);

/// The authority in the Secret, and the API server's of both registrations.
fn authorities(scene: &Scene) -> Result<(String, Vec<String>), Error> {
    let secret = ["-n", NAMESPACE, "get", "secret", "model-webhook-tls", r"-o=jsonpath={.data.ca\.crt}"];
    let registrations = ["mutatingwebhookconfiguration/model-webhook", "validatingwebhookconfiguration/model-webhook"];
    let trusted = r"-o=jsonpath={.webhooks[*].clientConfig.caBundle}";
    let trusted = registrations.map(|name| scene.cluster.run(&["get", name, trusted]));
    Ok((scene.cluster.run(&secret)?, trusted.into_iter().collect::<Result<_, _>>()?))
}

pub async fn the_controller_takes_the_webhooks_certificate_over(scene: Scene) -> Result<(), Error> {
    let repository = scene.repository("tiny");
    scene.hub.repository(&repository, &files("certificates"))?;
    scene.model("tiny", &hugging_face(&repository))?;
    scene.ready("tiny").await?;
    let rights = format!("{WORKSPACE}/config/certificates/rbac.yaml");
    scene.cluster.run(&["apply", "-f", &rights])?;
    let (before, _) = authorities(&scene)?;
    deploy::set_controller_env(&scene.cluster, &["MODEL_CONTROLLER_WEBHOOK_CERTIFICATES=true"])?;

    let asks = pod("asks", &json!({ "inject": "tiny" }), "true").to_string();
    let deadline = Instant::now() + RENEWED_WITHIN;
    loop {
        let created = ["-n", &scene.namespace, "create", "--dry-run=server", "-f", "-"];
        let answer = scene.cluster.feed(&created, &asks)?;
        assert!(answer.ok, "a pod was refused while the certificate changed: {}", answer.text);
        let (now, trusted) = authorities(&scene)?;
        // Of one line again: the old authority is trusted until every replica serves the new certificate.
        if now != before && trusted.iter().all(|bundle| *bundle == now) {
            break;
        }
        assert!(Instant::now() < deadline, "the certificate was not renewed; trusted are {trusted:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    deploy::set_controller_env(&scene.cluster, &["MODEL_CONTROLLER_WEBHOOK_CERTIFICATES-"])?;
    scene.cluster.run(&["delete", "-f", &rights]).map(drop)
}
