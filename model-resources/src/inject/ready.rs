//! From a Model to what can be mounted of it.

use model_core::api::{Content, Model, ModelStatus, Phase};
use model_core::names::claim_name;

use super::Denial;

/// A Model whose content can be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyModel {
    /// Name of the Model.
    pub name: String,
    /// Name of the claim with its files.
    pub claim_name: String,
    /// What is published on that claim.
    pub content: Content,
}

impl ReadyModel {
    /// Name of the pod's volume: that of the claim, as the specification has it.
    #[must_use]
    pub fn volume_name(&self) -> String {
        claim_name(&self.name)
    }
}

/// What can be mounted of the Model `name` in `namespace`, where `model` is what was found under that name.
///
/// A Model in phase Ready is mounted as its status says, also while newer content is being fetched.
///
/// # Errors
/// When there is no such Model, when it has no published content, or when it is being deleted.
pub fn ready_model(name: &str, namespace: &str, model: Option<&Model>) -> Result<ReadyModel, Denial> {
    let Some(model) = model else {
        return Err(Denial::ModelNotFound { name: name.to_owned(), namespace: namespace.to_owned() });
    };
    let not_ready = |state: String, advice: String| Denial::ModelNotReady { name: name.to_owned(), state, advice };
    if model.metadata.deletion_timestamp.is_some() {
        let advice = "wait until it is gone and create it again, or remove it from the pod's annotation";
        return Err(not_ready("is being deleted".to_owned(), advice.to_owned()));
    }
    let nothing = ModelStatus::default();
    let status = model.status.as_ref().unwrap_or(&nothing);
    let phase = status.phase.unwrap_or_default();
    let message = status.message.as_deref().filter(|message| !message.is_empty());
    let because = message.map(|message| format!(": {}", message.trim_end_matches('.'))).unwrap_or_default();
    let wait = format!(
        "wait for it with: kubectl wait --for=condition=Ready --timeout=1h --namespace {namespace} model/{name} (pods of a Deployment or a Job are tried again by themselves)"
    );
    match (phase, &status.content) {
        (Phase::Ready, Some(content)) => {
            Ok(ReadyModel { name: name.to_owned(), claim_name: claim_name(name), content: content.clone() })
        }
        (Phase::Ready, None) => {
            Err(not_ready("is Ready, but its status does not name its content yet".to_owned(), wait))
        }
        (Phase::Pending, _) => Err(not_ready(format!("is Pending{because}"), wait)),
        (Phase::Downloading, _) => {
            let progress = status.progress.map(|percent| format!(", {percent} %")).unwrap_or_default();
            Err(not_ready(format!("is Downloading{progress}"), wait))
        }
        (Phase::Failed, _) => {
            let look = format!("look at the cause with: kubectl describe --namespace {namespace} model/{name}");
            Err(not_ready(format!("is Failed{because}"), look))
        }
    }
}
