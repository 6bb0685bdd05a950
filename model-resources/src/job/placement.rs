//! Where a Job runs: where its volume can be attached.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use model_core::observed::{NODE_NAME, Placement};

/// The Job, bound to the nodes where its claim can be mounted.
///
/// By affinity and not by `nodeName`, so that the scheduler still looks at taints, resources and the Model's own wishes.
/// All of them hold: where they contradict each other the pod is `Unschedulable`, and nothing waits for a volume that
/// cannot come.
#[must_use]
pub fn placed(mut job: Job, placement: &Placement) -> Job {
    let Placement::Nodes(nodes) = placement else { return job };
    let on_a_node: Vec<_> = nodes
        .iter()
        .map(|node| NodeSelectorRequirement {
            key: NODE_NAME.to_owned(),
            operator: "In".to_owned(),
            // The API server takes exactly one name.
            values: Some(vec![node.clone()]),
        })
        .collect();
    if let Some(pod) = job.spec.as_mut().and_then(|spec| spec.template.spec.as_mut()) {
        let affinity = pod.affinity.take().unwrap_or_default();
        pod.affinity = Some(bound(affinity, &on_a_node));
    }
    job
}

/// Terms are alternatives and what stands in one holds together: so each term is repeated for each node.
fn bound(affinity: Affinity, on_a_node: &[NodeSelectorRequirement]) -> Affinity {
    let of_nodes = affinity.node_affinity.unwrap_or_default();
    let terms = of_nodes
        .required_during_scheduling_ignored_during_execution
        .map_or_else(|| vec![NodeSelectorTerm::default()], |selector| selector.node_selector_terms);
    let node_selector_terms = terms
        .iter()
        .flat_map(|term| {
            on_a_node.iter().map(|node| {
                let match_fields = term.match_fields.iter().flatten().chain([node]).cloned().collect();
                NodeSelectorTerm { match_fields: Some(match_fields), ..term.clone() }
            })
        })
        .collect();
    let required = NodeSelector { node_selector_terms };
    let of_nodes = NodeAffinity { required_during_scheduling_ignored_during_execution: Some(required), ..of_nodes };
    Affinity { node_affinity: Some(of_nodes), ..affinity }
}
