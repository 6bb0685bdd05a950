//! Where a pod that writes to a claim can run: a volume is not everywhere at once.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

/// The field by which node selectors name one node, whatever its labels.
pub const NODE_NAME: &str = "metadata.name";

/// Access modes with which several nodes can have a volume at once.
const MANY_NODES: [&str; 2] = ["ReadWriteMany", "ReadOnlyMany"];

/// Access mode with which one pod can have a volume at a time.
const ONE_POD: &str = "ReadWriteOncePod";

/// Where a further pod can mount a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// On any node. What the volume itself asks for, a zone or a node, the scheduler knows.
    #[default]
    Anywhere,
    /// On these nodes: running pods have the volume there, and it attaches to no other node meanwhile.
    Nodes(BTreeSet<String>),
    /// On none, until this pod is gone.
    InUse {
        /// Name of the pod, the first of them.
        pod: String,
    },
}

/// Where a further pod can mount this claim, beside `pods`: all pods of the claim's namespace.
///
/// A pod counts from the moment it has a node until it has ended, also while it is being deleted.
#[must_use]
pub fn placement<'a>(claim: &PersistentVolumeClaim, pods: impl IntoIterator<Item = &'a Pod>) -> Placement {
    let asked = claim.spec.iter().flat_map(|spec| spec.access_modes.iter().flatten());
    // What the volume can do, which may be more than what was asked for.
    let given = claim.status.iter().flat_map(|status| status.access_modes.iter().flatten());
    let (asked, given): (BTreeSet<_>, BTreeSet<_>) =
        (asked.map(String::as_str).collect(), given.map(String::as_str).collect());
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let users = pods.into_iter().filter(|pod| uses(pod, name));
    if asked.contains(ONE_POD) {
        let names = users.filter(|pod| node(pod).is_some()).filter_map(|pod| pod.metadata.name.clone());
        return names.min().map_or(Placement::Anywhere, |pod| Placement::InUse { pod });
    }
    if MANY_NODES.iter().any(|mode| given.contains(mode) || asked.contains(mode)) {
        return Placement::Anywhere;
    }
    let nodes: BTreeSet<_> = users.filter_map(node).map(str::to_owned).collect();
    if nodes.is_empty() { Placement::Anywhere } else { Placement::Nodes(nodes) }
}

/// Whether a Job is bound to nodes of which none can have the claim's volume any more. Its template cannot change, so only
/// another Job can run.
#[must_use]
pub fn is_misplaced(job: &Job, placement: &Placement) -> bool {
    let bound_to = nodes_of(job);
    let possible = match placement {
        Placement::Anywhere => false,
        Placement::Nodes(nodes) => bound_to.iter().any(|node| nodes.contains(*node)),
        // Whoever uses the claim, this Job is not to blame for waiting.
        Placement::InUse { .. } => true,
    };
    !bound_to.is_empty() && !possible
}

/// The nodes that a Job is bound to by name. Empty: it is not.
#[must_use]
pub fn nodes_of(job: &Job) -> BTreeSet<&str> {
    let affinity = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()?.affinity.as_ref());
    let required = affinity.and_then(|affinity| {
        affinity.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()
    });
    required
        .into_iter()
        .flat_map(|selector| &selector.node_selector_terms)
        .flat_map(|term| term.match_fields.iter().flatten())
        .filter(|field| field.key == NODE_NAME && field.operator == "In")
        .flat_map(|field| field.values.iter().flatten())
        .map(String::as_str)
        .collect()
}

fn uses(pod: &Pod, claim: &str) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut claims = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
    !matches!(phase, Some("Succeeded" | "Failed")) && claims.any(|source| source.claim_name == claim)
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(asked: &[&str], given: &[&str]) -> PersistentVolumeClaim {
        serde_json::from_value(json!({
            "metadata": { "name": "weights" }, "spec": { "accessModes": asked }, "status": { "accessModes": given },
        }))
        .unwrap()
    }

    fn pod(name: &str, node: Option<&str>, phase: &str, claim: &str) -> Pod {
        let volume = json!({ "name": "v", "persistentVolumeClaim": { "claimName": claim } });
        serde_json::from_value(json!({
            "metadata": { "name": name, "deletionTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "nodeName": node, "containers": [], "volumes": [{ "name": "tmp", "emptyDir": {} }, volume] },
            "status": { "phase": phase },
        }))
        .unwrap()
    }

    fn nodes(names: &[&str]) -> Placement {
        Placement::Nodes(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_claim_of_one_node_is_where_its_pods_are() {
        let once = claim(&["ReadWriteOnce"], &["ReadWriteOnce"]);
        let used = |pods: &[Pod]| placement(&once, pods);
        assert_eq!(used(&[]), Placement::Anywhere);
        assert_eq!(used(&[pod("a", Some("n1"), "Running", "weights")]), nodes(&["n1"]));
        let several = [pod("a", Some("n2"), "Pending", "weights"), pod("b", Some("n1"), "Running", "weights")];
        assert_eq!(used(&several), nodes(&["n1", "n2"]));
        for (case, other) in [
            ("another claim", pod("a", Some("n1"), "Running", "other")),
            ("no node yet", pod("a", None, "Pending", "weights")),
            ("ended well", pod("a", Some("n1"), "Succeeded", "weights")),
            ("ended badly", pod("a", Some("n1"), "Failed", "weights")),
        ] {
            assert_eq!(used(&[other]), Placement::Anywhere, "{case}");
        }
    }

    #[test]
    fn a_claim_of_many_nodes_is_everywhere_and_one_of_one_pod_is_taken() {
        let user = [pod("b", Some("n1"), "Running", "weights"), pod("a", Some("n1"), "Running", "weights")];
        for (asked, given) in [
            (&["ReadWriteMany"], &["ReadWriteMany"][..]),
            (&["ReadOnlyMany"], &[]),
            (&["ReadWriteOnce"], &["ReadWriteOnce", "ReadWriteMany"]),
        ] {
            assert_eq!(placement(&claim(asked, given), &user), Placement::Anywhere, "{asked:?} {given:?}");
        }
        let one_pod = claim(&["ReadWriteOncePod"], &["ReadWriteOncePod"]);
        assert_eq!(placement(&one_pod, &user), Placement::InUse { pod: "a".to_owned() });
        assert_eq!(placement(&one_pod, &[pod("a", None, "Pending", "weights")]), Placement::Anywhere);
    }
}
