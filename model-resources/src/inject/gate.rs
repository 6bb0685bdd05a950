//! The scheduling gate of a pod that waits for its models.

use model_core::labels::{GATE, GATED, WAITS_FOR};
use serde_json::{Value, json};

use super::edit::Edit;
use super::{Denial, ReadyModel, list, member};

/// Adds gate, label and record to a pod, unless they are there.
pub(super) fn gate(pod: &Value, models: &[ReadyModel], edit: &mut Edit) -> Result<(), Denial> {
    let node = pod.get("spec").and_then(|spec| spec.get("nodeName")?.as_str());
    if let Some(node) = node.filter(|node| !node.is_empty()) {
        return Err(Denial::CannotWait { node: node.to_owned() });
    }
    if !is_gated(pod) {
        edit.append(pod, &["spec", "schedulingGates"], json!({ "name": GATE }))?;
    }
    if member(pod, "labels", GATED) != Some("true") {
        edit.insert(pod, &["metadata", "labels"], GATED, json!("true"))?;
    }
    // What an earlier pass mounted stays, so what it recorded does, too.
    if member(pod, "annotations", WAITS_FOR).is_none() {
        let ids: Vec<_> = models.iter().map(|model| format!("{}={}", model.name, model.content.id)).collect();
        edit.insert(pod, &["metadata", "annotations"], WAITS_FOR, json!(ids.join(",")))?;
    }
    Ok(())
}

/// Whether the pod has our gate.
pub(super) fn is_gated(pod: &Value) -> bool {
    pod.get("spec").is_some_and(|spec| list(spec, "schedulingGates").any(|gate| gate["name"] == GATE))
}
