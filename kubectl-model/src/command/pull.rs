//! Creates a Model from the command line.

use kube::api::PostParams;
use model_core::api::{Model, ModelSpec, Storage};

use super::{FIELD_MANAGER, wait};
use crate::cluster::{Cluster, model_name, object_name};
use crate::error::Error;
use crate::source;
use crate::text::say;
use crate::wish::Pull;

/// Creates the Model, and waits for it unless that is not wanted. The same Model again is waited for as well.
pub(super) async fn pull(cluster: &Cluster, wish: &Pull) -> Result<bool, Error> {
    let (name, model) = model(wish)?;
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match cluster.api::<Model>().create(&params, &model).await {
        Ok(_) => {
            say(&format!("created Model {name} from {}", source::shown(&model.spec.source)))?;
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let there = cluster.model(&name).await?;
            if there.spec.source != model.spec.source {
                let what = format!("there is one of this name, from {}", source::shown(&there.spec.source));
                let advice = "choose another name with --name, or delete that Model";
                return Err(Error::cluster(&format!("create Model {name}"), what, advice));
            }
            say(&format!("Model {name} is there already, from this source"))?;
        }
        Err(error) => return Err(cluster.error(&format!("create Model {name}"), error)),
    }
    if wish.no_wait { Ok(true) } else { wait::wait(cluster, &name, None).await }
}

/// The Model that the command line asks for, and its name.
pub(super) fn model(wish: &Pull) -> Result<(String, Model), Error> {
    let source = source::parse(&wish.source, &wish.part)?;
    let name = match &wish.name {
        Some(name) => model_name(name)?.to_owned(),
        None => source::suggested_name(&source)?,
    };
    let mut storage = match &wish.storage.existing_claim {
        Some(claim) => Storage::existing(object_name("claim", claim)?),
        None => Storage::default(),
    };
    storage.size.clone_from(&wish.storage.size);
    storage.storage_class.clone_from(&wish.storage.storage_class);
    if !wish.storage.access_mode.is_empty() {
        storage.access_modes.clone_from(&wish.storage.access_mode);
    }
    let mut spec = ModelSpec::new(source, storage);
    spec.credentials_secret =
        wish.secret.as_deref().map(|secret| object_name("secret", secret)).transpose()?.map(str::to_owned);
    spec.version.clone_from(&wish.version);
    spec.preflight = wish.preflight;
    spec.node_selector = wish.node_selector();
    spec.check_interval.clone_from(&wish.check_interval);
    spec.keep_revisions = wish.keep_revisions;
    spec.deletion_policy = wish.deletion_policy;
    Ok((name.clone(), Model::new(&name, spec)))
}
