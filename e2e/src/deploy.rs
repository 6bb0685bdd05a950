//! The operator inside a cluster, from the chart in `charts/model-operator/`.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::{Cluster, Error};

/// Namespace of controller and webhook.
pub const NAMESPACE: &str = "model-system";

/// Name of the chart's release.
pub const RELEASE: &str = "model-operator";

/// The chart's values for images that lie on the node already, and for downloads from `hub`.
#[must_use]
pub fn values(hub: &str) -> Value {
    json!({ "image": { "tag": "dev" }, "airGap": { "hubEndpoint": hub } })
}

/// Installs the operator by Helm, or upgrades it to these values, and waits until it is ready. Its images must be on the
/// node.
///
/// # Errors
/// When Helm or the API server refuses, or a Deployment does not become ready; the error then ends with the operator's
/// log.
pub fn operator(cluster: &Cluster, workspace: &Path, values: &Value) -> Result<(), Error> {
    // As docs/install.md says: Helm labels no namespace.
    applied(cluster, &["apply", "-f", "-"], &namespace().to_string())?;
    let chart = workspace.join("charts/model-operator");
    let mut file = tempfile::NamedTempFile::new().map_err(Error::file("create a file in", &std::env::temp_dir()))?;
    // JSON is YAML.
    write!(file, "{values}").map_err(Error::file("write", file.path()))?;
    let (chart, file) = (chart.to_string_lossy(), file.path().to_string_lossy());
    cluster.helm(&["upgrade", "--install", RELEASE, &chart, "--namespace", NAMESPACE, "--values", &file])?;
    for name in ["model-controller", "model-webhook"] {
        rolled_out(cluster, name)?;
    }
    Ok(())
}

fn namespace() -> Value {
    let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE, "labels": labels } })
}

/// Changes variables of the controller (`NAME=VALUE`, or `NAME-` to remove one) and waits until it runs with them.
///
/// # Errors
/// When the change is refused, or the controller does not become ready.
pub fn set_controller_env(cluster: &Cluster, changes: &[&str]) -> Result<(), Error> {
    let set = [&["-n", NAMESPACE, "set", "env", "deployment/model-controller"], changes].concat();
    change(cluster, &["model-controller"], || cluster.run(&set).map(drop))
}

/// Changes what the pods of Deployments of the operator are made from, and waits until none is left of those before.
///
/// # Errors
/// When the change is refused, or a Deployment does not become ready.
pub fn change(cluster: &Cluster, deployments: &[&str], make: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let generation =
        |name: &str| cluster.run(&["-n", NAMESPACE, "get", "deployment", name, "-o=jsonpath={.metadata.generation}"]);
    let mut before = Vec::new();
    for name in deployments {
        let selector = format!("app.kubernetes.io/name={name}");
        let pods = cluster.run(&["-n", NAMESPACE, "get", "pods", "-l", &selector, "-o", "name"])?;
        before.push((name, generation(name)?, pods));
    }
    make()?;
    deployments.iter().try_for_each(|name| rolled_out(cluster, name))?;
    for (name, old, pods) in before {
        // Nothing changed, nothing rolls.
        if generation(name)? != old {
            // One of those before leads until it has ended.
            let gone: Vec<_> = pods.lines().collect();
            cluster.run(&[&["-n", NAMESPACE, "wait", "--for=delete", "--timeout=60s"], &gone[..]].concat())?;
        }
    }
    Ok(())
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

/// Runs `kubectl ARGUMENTS` with a manifest on its standard input; a refusal is an error.
pub(crate) fn applied(cluster: &Cluster, arguments: &[&str], manifest: &str) -> Result<(), Error> {
    let answer = cluster.feed(arguments, manifest)?;
    if answer.ok {
        return Ok(());
    }
    let what = format!("kubectl {} was refused", arguments.join(" "));
    Err(Error::Unexpected { what, report: answer.text })
}
