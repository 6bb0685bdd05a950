//! From a Model to what can be mounted of it, now or later.

use model_core::api::{Content, Model, ModelStatus, Phase};
use model_core::names::{claim_name, shared_volume_name};
use model_core::persisted::wanted_content_id;

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
    /// Name of the pod's volume: that of the Model's own claim, as the specification has it. A claim that Models share has
    /// one volume for all of them.
    #[must_use]
    pub fn volume_name(&self) -> String {
        let own = claim_name(&self.name);
        if self.claim_name == own { own } else { shared_volume_name(&self.claim_name) }
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
            let claim_name = model.spec.storage.claim_name(name);
            Ok(ReadyModel { name: name.to_owned(), claim_name, content: content.clone() })
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

/// Where downloads put their files on a claim: what the images that the controller starts do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentPlace {
    /// At the claim's root, as stock images do.
    #[default]
    Root,
    /// In a directory for each content id, as the loader does.
    Revisions,
}

/// What will be mounted of a Model that is not Ready: the content that its spec asks for now.
///
/// A pod's mounts never change, so they name the content before it is there. That takes a Model: of one that does not
/// exist nothing is known, and its pods are denied.
///
/// # Errors
/// When there is no such Model, or when it is being deleted.
pub fn awaited_model(
    name: &str,
    namespace: &str,
    model: Option<&Model>,
    place: ContentPlace,
) -> Result<ReadyModel, Denial> {
    let Some(model) = model.filter(|model| model.metadata.deletion_timestamp.is_none()) else {
        return ready_model(name, namespace, model);
    };
    let id = wanted_content_id(model);
    let revision = match place {
        ContentPlace::Root => None,
        ContentPlace::Revisions => Some(id.as_str()),
    };
    let path = model.spec.storage.content_path(namespace, name, revision);
    let mut content = Content::new(id, path, model.spec.source.clone());
    content.version.clone_from(&model.spec.version);
    Ok(ReadyModel { name: name.to_owned(), claim_name: model.spec.storage.claim_name(name), content })
}
