//! The operator inside a cluster, from the manifests in `config/`.

use std::path::Path;

use model_webhook::Certificates;
use serde_json::json;

use crate::{Cluster, Error};

/// Namespace of controller and webhook.
pub const NAMESPACE: &str = "model-system";

/// The DNS name that the API server calls the webhook by.
const WEBHOOK_HOST: &str = "model-webhook.model-system.svc";

/// Deploys the operator from a `config/` directory and waits until it is ready. Its images must be on the node.
///
/// `download_env` is the environment of every download container, `NAME=VALUE`. The directory itself stays as it is:
/// certificates go into a copy, and `download_env` into a kustomization on top of it.
///
/// # Errors
/// When a manifest is refused, or a Deployment does not become ready; the error then ends with the operator's log.
pub fn operator(cluster: &Cluster, config: &Path, download_env: &[&str]) -> Result<(), Error> {
    let folder = tempfile::tempdir().map_err(Error::file("create a directory in", &std::env::temp_dir()))?;
    copy(config, &folder.path().join("config"))?;
    let certificates = Certificates::generate(&[WEBHOOK_HOST.to_owned()]).map_err(Error::certificates)?;
    certificates.write(&folder.path().join("config/webhook/certificates")).map_err(Error::certificates)?;
    let kustomization = folder.path().join("kustomization.yaml");
    // JSON is YAML.
    std::fs::write(&kustomization, overlay(download_env).to_string()).map_err(Error::file("write", &kustomization))?;

    let folder = folder.path().to_string_lossy().into_owned();
    // The CRD first: the API server takes a moment until it knows `kind: Model`.
    cluster.run(&["apply", "-f", &format!("{folder}/config/crd")])?;
    cluster.run(&["wait", "--for=condition=Established", "crd/models.models.main-currents.news", "--timeout=60s"])?;
    cluster.run(&["apply", "-k", &folder])?;
    for name in ["model-controller", "model-webhook"] {
        rolled_out(cluster, name)?;
    }
    Ok(())
}

/// Changes variables of the controller (`NAME=VALUE`, or `NAME-` to remove one) and waits until it runs with them.
///
/// # Errors
/// When the change is refused, or the controller does not become ready.
pub fn set_controller_env(cluster: &Cluster, changes: &[&str]) -> Result<(), Error> {
    let pods = ["-n", NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/name=model-controller", "-o", "name"];
    let before = cluster.run(&pods)?;
    let set = cluster.run(&[&["-n", NAMESPACE, "set", "env", "deployment/model-controller"], changes].concat())?;
    rolled_out(cluster, "model-controller")?;
    // Nothing changed, nothing rolls.
    if set.trim().is_empty() {
        return Ok(());
    }
    // One of those before leads until it has ended.
    let gone: Vec<_> = before.lines().collect();
    cluster.run(&[&["-n", NAMESPACE, "wait", "--for=delete", "--timeout=60s"], &gone[..]].concat()).map(drop)
}

/// Waits until every replica of a Deployment of the operator is up to date and ready.
///
/// # Errors
/// When that takes longer than two minutes; the error ends with the operator's log.
pub fn rolled_out(cluster: &Cluster, deployment: &str) -> Result<(), Error> {
    let name = format!("deployment/{deployment}");
    let rollout = cluster.run(&["-n", NAMESPACE, "rollout", "status", &name, "--timeout=120s"]);
    rollout.map(drop).map_err(|error| {
        let what = format!("{name} did not become ready: {error}");
        Error::Unexpected { what, report: crate::report::namespace(cluster, NAMESPACE) }
    })
}

fn overlay(download_env: &[&str]) -> serde_json::Value {
    let variable = json!({ "name": "MODEL_CONTROLLER_DOWNLOAD_ENV", "value": download_env.join("\n") });
    let patch = json!([{ "op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": variable }]);
    json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["config"],
        "sortOptions": { "order": "legacy" },
        "patches": [{ "target": { "kind": "Deployment", "name": "model-controller" }, "patch": patch.to_string() }],
    })
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(to).map_err(Error::file("create", to))?;
    for entry in std::fs::read_dir(from).map_err(Error::file("read", from))?.flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            std::fs::copy(&path, &target).map_err(Error::file("copy", &path))?;
        }
    }
    Ok(())
}

/// Runs `kubectl ARGUMENTS` with a manifest on its standard input; a refusal is an error.
pub(crate) fn applied(cluster: &Cluster, arguments: &[&str], manifest: &str) -> Result<(), Error> {
    let answer = cluster.feed(arguments, manifest)?;
    if answer.ok {
        return Ok(());
    }
    let what = format!("kubectl {} was refused", arguments.join(" "));
    Err(Error::Unexpected { what, report: answer.text })
}
