//! Mounts models into a pod that asks for them by annotation.
//!
//! Three pure steps: [`parse`] reads the pod's annotations, [`ready_model`] turns each wanted Model into what can be
//! mounted, or says why it cannot, and [`inject`] computes the JSON Patch. The patch is computed on the raw JSON of
//! the pod and only adds, so nothing that this crate does not know is dropped or moved.
//!
//! A pod that may wait gets what [`awaited_model`] says in place of a Model that is not Ready, and [`inject_and_gate`];
//! [`crate::gate`] then tells when it may be scheduled.
//!
//! ```
//! use model_resources::inject::{inject, parse};
//! use serde_json::json;
//!
//! let pod = json!({
//!     "metadata": { "annotations": { "models.main-currents.news/inject": "llama-3-8b" } },
//!     "spec": { "containers": [{ "name": "app", "image": "myapp:latest" }] }
//! });
//! let wish = parse(&pod)?.expect("the pod asks for a model");
//! assert_eq!(wish.models, ["llama-3-8b"]);
//!
//! // With no Model looked up there is nothing to mount; the patch marks the pod as done.
//! let patch = inject(&pod, &wish, &[])?;
//! assert_eq!(patch.0.len(), 2);
//! # Ok::<(), model_resources::inject::Denial>(())
//! ```

mod container;
mod denial;
mod edit;
mod env;
mod gate;
mod mount;
mod ready;
mod wish;

use json_patch::Patch;
use model_core::labels::WRITABLE;
use model_core::labels::inject::{INJECTED, INJECTED_CONTAINERS};
use serde_json::{Value, json};

pub use denial::Denial;
pub use ready::{ContentPlace, ReadyModel, awaited_model, ready_model};
pub use wish::{Containers, UnknownWord, WhenNotReady, Wish, asks_for, parse, writes_to};

use container::Target;
use edit::Edit;

/// Computes the patch that mounts `models` into `pod` as `wish` says.
///
/// The patch is empty when everything is there already: a second pass adds nothing and moves nothing, also with a
/// container put in front since the first. The label that marks a pod as done is no proof of that by itself. A pod that
/// gets a writable mount is marked with a second label, [`WRITABLE`]. One that has our scheduling gate, as a copy of a
/// waiting pod does, also gets what [`inject_and_gate`] adds, or nobody would ever take the gate off.
///
/// # Errors
/// When a wanted container does not exist, when a name or a path is taken, or when the pod is not one that the API
/// server could have sent.
pub fn inject(pod: &Value, wish: &Wish, models: &[ReadyModel]) -> Result<Patch, Denial> {
    if gate::is_gated(pod) {
        return inject_and_gate(pod, wish, models);
    }
    Ok(mounts(pod, wish, models)?.into_patch())
}

/// Computes the patch of [`inject`] for a pod that has to wait: with the scheduling gate [`GATE`] after any others, the
/// label [`GATED`] that the controller finds it by, and the content ids that it waits for in [`WAITS_FOR`].
///
/// `models` are all that the pod asks for, also those that are Ready already. A second pass adds nothing.
///
/// # Errors
/// As [`inject`]; and when the pod names its node, because the API server lets no such pod have a gate.
///
/// [`GATE`]: model_core::labels::GATE
/// [`GATED`]: model_core::labels::GATED
/// [`WAITS_FOR`]: model_core::labels::WAITS_FOR
pub fn inject_and_gate(pod: &Value, wish: &Wish, models: &[ReadyModel]) -> Result<Patch, Denial> {
    let mut edit = mounts(pod, wish, models)?;
    gate::gate(pod, models, &mut edit)?;
    Ok(edit.into_patch())
}

fn mounts(pod: &Value, wish: &Wish, models: &[ReadyModel]) -> Result<Edit, Denial> {
    let label = format!("{}/{INJECTED}", wish.prefix);
    let record = format!("{}/{INJECTED_CONTAINERS}", wish.prefix);
    let targets = Target::choose(pod, wish, &record)?;
    let marked = member(pod, "labels", &label) == Some("true");

    let mut edit = Edit::default();
    for volume in mount::volumes(pod, wish, models)? {
        edit.append(pod, &["spec", "volumes"], volume)?;
    }
    for target in &targets {
        for model in models {
            if let Some(mount) = mount::mount(target, wish, model, marked)? {
                edit.append(pod, &target.path("volumeMounts"), mount)?;
            }
        }
        for variable in env::variables(target, wish, models) {
            edit.append(pod, &target.path("env"), variable)?;
        }
    }
    if !marked {
        edit.insert(pod, &["metadata", "labels"], &label, json!("true"))?;
    }
    if !wish.read_only && !models.is_empty() && member(pod, "labels", WRITABLE) != Some("true") {
        edit.insert(pod, &["metadata", "labels"], WRITABLE, json!("true"))?;
    }
    let chosen: Vec<_> = targets.iter().map(|target| target.name).collect();
    let chosen = chosen.join(",");
    if member(pod, "annotations", &record) != Some(chosen.as_str()) {
        edit.insert(pod, &["metadata", "annotations"], &record, json!(chosen))?;
    }
    Ok(edit)
}

/// The value of a label or an annotation.
fn member<'a>(pod: &'a Value, map: &str, key: &str) -> Option<&'a str> {
    pod.get("metadata")?.get(map)?.get(key)?.as_str()
}

/// The elements of a list that may be absent.
fn list<'a>(of: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    of.get(field).and_then(Value::as_array).into_iter().flatten()
}
