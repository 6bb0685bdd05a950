//! What the binaries can be told, the values can say.

use std::collections::BTreeSet;

use serde_json::json;

use crate::render::{render, workspace};
use crate::values::{at, deployment, merge, others};

/// Said by the manifests themselves, or of use outside of a cluster only.
const FIXED: [&str; 10] = [
    "MODEL_CONTROLLER_HEALTH_PORT",
    "MODEL_CONTROLLER_KUBECONFIG",
    // Of several replicas one has to act, and the lease lies beside them.
    "MODEL_CONTROLLER_LEADER_ELECTION",
    "MODEL_CONTROLLER_LEASE_NAMESPACE",
    "MODEL_CONTROLLER_METRICS_PORT",
    "MODEL_WEBHOOK_CERT_DIR",
    "MODEL_WEBHOOK_HEALTH_PORT",
    "MODEL_WEBHOOK_KUBECONFIG",
    "MODEL_WEBHOOK_METRICS_PORT",
    "MODEL_WEBHOOK_TLS_PORT",
];

/// The variables of a binary's flags: each flag has one.
fn variables(component: &str) -> BTreeSet<String> {
    let options = std::fs::read_to_string(workspace().join(component).join("src/options.rs")).unwrap();
    let flags = options.lines().filter(|line| line.trim_start().starts_with("pub ") && line.ends_with(',')).count();
    let prefix = component.replace('-', "_").to_uppercase() + "_";
    let named = options.split("env = \"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    let named: BTreeSet<_> = named.collect();
    assert!(named.len() == flags && named.iter().all(|name| name.starts_with(&prefix)), "{named:?} of {flags} flags");
    named
}

#[test]
fn every_flag_has_a_value() {
    let mut values = json!({});
    let others = others();
    // Other downloads and another maker of the certificate: less is said to the controller then.
    let less = ["downloads.downloader", "certificates.certManager.enabled"];
    for (path, value) in others.into_iter().filter(|(path, _)| !less.contains(path)) {
        merge(&mut values, at(path, value));
    }
    let objects = render("models", &values).unwrap();
    for component in ["model-controller", "model-webhook"] {
        let container = &deployment(&objects, component)["containers"][0];
        let (env, args) = (container["env"].to_string(), container["args"].to_string());
        let prefix = component.replace('-', "_").to_uppercase() + "_";
        let is_said = |variable: &String| {
            let flag = variable.trim_start_matches(&prefix).to_lowercase().replace('_', "-");
            env.contains(&format!("\"{variable}\"")) || args.contains(&format!("\"--{flag}="))
        };
        let unsaid: Vec<_> = variables(component).into_iter().filter(|variable| !is_said(variable)).collect();
        let fixed: Vec<_> = FIXED.into_iter().filter(|variable| variable.starts_with(&prefix)).collect();
        // The ports stand in the manifests' own arguments.
        let fixed: Vec<_> = fixed.into_iter().filter(|variable| !is_said(&(*variable).to_owned())).collect();
        assert_eq!(unsaid, fixed, "of {component} no value says these");
    }
}
