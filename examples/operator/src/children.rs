//! What an Assistant consists of. Pure: the Assistant in, objects out.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Resource, ResourceExt};
use model_core::api::{HuggingFaceSource, Model, ModelSpec, Source, Storage};
use model_resources::inject::{Denial, inject, parse, ready_model};
use serde_json::{Value, json};

use crate::Assistant;

/// Why a child cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The model cannot be mounted yet; the text says why and what to do.
    #[error(transparent)]
    Model(#[from] Denial),
    /// What was built is no object of its kind: a fault of this operator.
    #[error("could not build the child of an Assistant")]
    Build(#[from] serde_json::Error),
    /// The patch does not fit the pod that it was made for: a fault of this operator.
    #[error("could not mount the model into the pod")]
    Patch(#[from] json_patch::PatchError),
}

/// The Model, which has the Assistant's name and goes with it.
#[must_use]
pub fn model(assistant: &Assistant) -> Model {
    let source = Source::HuggingFace(HuggingFaceSource::new(&assistant.spec.repository));
    let mut model = Model::new(&assistant.name_any(), ModelSpec::new(source, Storage::of_size(&assistant.spec.size)));
    model.metadata.namespace = assistant.namespace();
    model.metadata.owner_references = Some(assistant.controller_owner_ref(&()).into_iter().collect());
    model
}

/// The servers, with the model's files mounted.
///
/// # Errors
/// [`ChildError::Model`] while the model's files are not there.
pub fn deployment(assistant: &Assistant, model: Option<&Model>) -> Result<Deployment, ChildError> {
    let labels = json!({ "assistant": assistant.name_any() });
    let pod = json!({
        // The annotation that users of the webhook write, too.
        "metadata": { "labels": labels, "annotations": { "models.main-currents.news/inject": assistant.name_any() } },
        "spec": { "containers": [{ "name": "server", "image": assistant.spec.image }] },
    });
    Ok(serde_json::from_value(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(assistant),
        "spec": {
            "replicas": assistant.spec.replicas,
            "selector": { "matchLabels": labels },
            "template": with_model(pod, assistant, model)?,
        },
    }))?)
}

/// The pod with its model mounted, as the webhook would have it.
fn with_model(mut pod: Value, assistant: &Assistant, model: Option<&Model>) -> Result<Value, ChildError> {
    let Some(wish) = parse(&pod)? else { return Ok(pod) };
    let ready = ready_model(&assistant.name_any(), &assistant.namespace().unwrap_or_default(), model)?;
    let patch = inject(&pod, &wish, &[ready])?;
    json_patch::patch(&mut pod, &patch)?;
    Ok(pod)
}

fn metadata(assistant: &Assistant) -> Value {
    json!({
        "name": assistant.name_any(),
        "namespace": assistant.namespace(),
        "ownerReferences": [assistant.controller_owner_ref(&())],
    })
}
