//! The operator at work: the controller of Models, and beside it one of Assistants.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::FutureExt;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use model_controller::DownloadSettings;
use model_core::api::Model;

use crate::Assistant;
use crate::children::{self, ChildError};

/// Under which name this operator's fields are applied.
const FIELD_MANAGER: &str = "assistant-operator";
/// Waits after a pass that failed.
const AFTER_AN_ERROR: Duration = Duration::from_secs(5);

/// Why a pass failed. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or did not answer.
    #[error("could not apply the children of an Assistant")]
    Api(#[from] kube::Error),
    /// A child cannot be built.
    #[error(transparent)]
    Child(#[from] ChildError),
}

/// Serves the Assistants of the client's own namespace, and the Models of the cluster, until `stop` resolves.
///
/// # Errors
/// Never at present: only a controller that elects a leader can lose its lease.
pub async fn run(
    client: Client,
    downloads: DownloadSettings,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> Result<(), model_controller::LeaseLost> {
    let stop = stop.shared();
    let models = model_controller::controller(client.clone(), downloads).run_until(stop.clone());
    let assistants = Controller::new(Api::<Assistant>::default_namespaced(client.clone()), watcher::Config::default())
        .owns(Api::<Model>::default_namespaced(client.clone()), watcher::Config::default())
        .owns(Api::<Deployment>::default_namespaced(client.clone()), watcher::Config::default())
        .graceful_shutdown_on(stop)
        .run(reconcile, |_, _, _| Action::requeue(AFTER_AN_ERROR), Arc::new(client))
        .for_each(|_| std::future::ready(()));
    tokio::join!(models, assistants).0
}

/// One pass: the Model first. The Deployment follows once the files are there, and a change of the Model makes a new pass.
async fn reconcile(assistant: Arc<Assistant>, client: Arc<Client>) -> Result<Action, Error> {
    let (name, namespace) = (assistant.name_any(), assistant.namespace().unwrap_or_default());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let models: Api<Model> = Api::namespaced(Client::clone(&client), &namespace);
    let model = models.patch(&name, &params, &Patch::Apply(children::model(&assistant))).await?;
    match children::deployment(&assistant, Some(&model)) {
        Ok(deployment) => {
            let deployments: Api<Deployment> = Api::namespaced(Client::clone(&client), &namespace);
            deployments.patch(&name, &params, &Patch::Apply(deployment)).await?;
        }
        // Not an error: it is waited for.
        Err(ChildError::Model(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Action::await_change())
}
