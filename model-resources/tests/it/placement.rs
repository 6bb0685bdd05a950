//! Jobs bound to nodes.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use model_core::observed::{Placement, is_misplaced, nodes_of};
use model_resources::{download_job, placed};
use serde_json::{Value, json};

use crate::fixtures::{full_template, loader, model, persisted, url};

fn nodes(names: &[&str]) -> Placement {
    Placement::Nodes(names.iter().map(|name| (*name).to_owned()).collect())
}

fn terms(job: &Job) -> Value {
    let job = serde_json::to_value(job).unwrap();
    let path =
        "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    job.pointer(path).cloned().unwrap_or_default()
}

#[test]
fn a_job_runs_where_the_volume_is() {
    let model = model("llama", url());
    let job = download_job(&persisted(&model), &loader(), "claim-uid");
    assert_eq!(placed(job.clone(), &Placement::Anywhere), job);
    assert_eq!(placed(job.clone(), &Placement::InUse { pod: "app".into() }), job);

    let on = |node: &str| json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [node] }] });
    let bound = placed(job, &nodes(&["n1", "n2"]));
    assert_eq!(terms(&bound), json!([on("n1"), on("n2")]));
    assert_eq!(nodes_of(&bound), BTreeSet::from(["n1", "n2"]));
}

#[test]
fn what_the_model_asks_of_nodes_still_holds() {
    let mut model = model("llama", url());
    let mut template = full_template();
    let wish = |zone: &str| json!({ "matchExpressions": [{ "key": "zone", "operator": "In", "values": [zone] }] });
    let affinity = json!({
        "podAntiAffinity": {},
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 1, "preference": wish("c") }],
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [wish("a"), wish("b")] },
        },
    });
    template.affinity = serde_json::from_value(affinity).unwrap();
    model.spec.job_template = Some(template);
    let job = placed(download_job(&persisted(&model), &loader(), "claim-uid"), &nodes(&["n1", "n2"]));
    let found = terms(&job);
    let pairs: Vec<_> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|term| (&term["matchExpressions"][0]["values"][0], &term["matchFields"][0]["values"][0]))
        .collect();
    let want = [("a", "n1"), ("a", "n2"), ("b", "n1"), ("b", "n2")].map(|(zone, node)| (json!(zone), json!(node)));
    assert_eq!(pairs, want.iter().map(|(zone, node)| (zone, node)).collect::<Vec<_>>());
    let affinity = job.spec.unwrap().template.spec.unwrap().affinity.unwrap();
    assert!(affinity.pod_anti_affinity.is_some());
    assert!(affinity.node_affinity.unwrap().preferred_during_scheduling_ignored_during_execution.is_some());
}

#[test]
fn a_job_is_misplaced_when_the_volume_has_left_its_nodes() {
    let model = model("llama", url());
    let free = download_job(&persisted(&model), &loader(), "claim-uid");
    let bound = placed(free.clone(), &nodes(&["n1"]));
    for (case, job, now, want) in [
        ("bound to where it is", &bound, nodes(&["n1"]), false),
        ("one of its nodes", &bound, nodes(&["n1", "n2"]), false),
        ("it moved", &bound, nodes(&["n2"]), true),
        ("nobody has it", &bound, Placement::Anywhere, true),
        ("somebody uses it", &bound, Placement::InUse { pod: "app".into() }, false),
        ("not bound", &free, nodes(&["n2"]), false),
    ] {
        assert_eq!(is_misplaced(job, &now), want, "{case}");
    }
}
