//! What a person would look at when something did not happen.

use std::fmt::Write as _;

use crate::Cluster;

/// Last lines of each pod's log.
const LOG_LINES: &str = "--tail=15";

/// Models, children, events and pod logs of a namespace, and the log of the operator, as `kubectl` prints them.
#[must_use]
pub fn namespace(cluster: &Cluster, namespace: &str) -> String {
    let mut report = format!("namespace {namespace}:\n");
    let mut section = |arguments: &[&str]| {
        let said = cluster.run(arguments).unwrap_or_else(|error| error.to_string());
        let _ = writeln!(report, "$ kubectl {}\n{said}", arguments.join(" "));
    };
    section(&["-n", namespace, "get", "models", "-o", "yaml"]);
    section(&["-n", namespace, "get", "pvc,jobs,pods,deployments", "-o", "wide"]);
    section(&["-n", namespace, "events"]);
    for pod in pods(cluster, namespace) {
        section(&["-n", namespace, "logs", &pod, "--all-containers", "--prefix", LOG_LINES]);
    }
    for pod in pods(cluster, crate::deploy::NAMESPACE) {
        section(&["-n", crate::deploy::NAMESPACE, "logs", &pod, "--tail=10"]);
    }
    report
}

fn pods(cluster: &Cluster, namespace: &str) -> Vec<String> {
    let names = cluster.run(&["-n", namespace, "get", "pods", "-o", "name"]).unwrap_or_default();
    names.lines().map(str::to_owned).collect()
}
