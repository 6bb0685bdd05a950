//! The figures that alert rules and dashboard of the chart speak of are those that controller and webhook export.

use std::collections::BTreeSet;
use std::path::Path;

use e2e::deploy::NAMESPACE;
use e2e::{Cluster, Error};
use serde_json::json;

use crate::WORKSPACE;
use crate::scene::{Scene, files, hugging_face, pod};

pub async fn alerts_and_dashboard_name_figures_that_are_exported(scene: Scene) -> Result<(), Error> {
    // Some series are there only once something was counted.
    scene.hub.repository(&scene.repository("tiny"), &files("metrics"))?;
    scene.model("tiny", &hugging_face(&scene.repository("tiny")))?;
    scene.model("missing", &hugging_face(&scene.repository("missing")))?;
    scene.ready("tiny").await?;
    scene.failed("missing").await?;
    scene.admit(&pod("reads", &json!({ "inject": "tiny" }), "true")).await?;

    let exported = exported(&scene.cluster)?;
    for file in ["alerts.yaml", "dashboard.json"] {
        let path = Path::new(WORKSPACE).join("charts/model-operator/monitoring").join(file);
        let text = std::fs::read_to_string(path).expect("the chart's files can be read");
        let named = named(&text);
        assert!(!named.is_empty(), "{file} names no figure");
        let missing: Vec<_> = named.difference(&exported).collect();
        assert!(missing.is_empty(), "{file} names {missing:?}; there are {exported:?}");
    }
    Ok(())
}

/// The names of our figures in a text.
fn named(text: &str) -> BTreeSet<String> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("model_controller_") || word.starts_with("model_webhook_"))
        .map(str::to_owned)
        .collect()
}

/// What a scrape of every pod of the operator finds.
fn exported(cluster: &Cluster) -> Result<BTreeSet<String>, Error> {
    let ours = "-l=app.kubernetes.io/part-of=model-operator";
    let pods = cluster.run(&["-n", NAMESPACE, "get", "pods", ours, "-o=jsonpath={.items[*].metadata.name}"])?;
    let mut names = BTreeSet::new();
    for pod in pods.split_whitespace() {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8080/proxy/metrics");
        let text = cluster.run(&["get", "--raw", &path])?;
        let series = text.lines().filter(|line| !line.starts_with('#'));
        names.extend(series.filter_map(|line| Some(line.split(['{', ' ']).next()?.to_owned())));
    }
    Ok(names)
}
