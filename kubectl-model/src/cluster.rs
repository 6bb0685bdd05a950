//! The way to the cluster: kubeconfig, client, and errors that say what to do.

use std::fmt::Debug;
use std::time::Duration;

use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::{NamespaceResourceScope, Status};
use kube::{Client, Config, Resource, ResourceExt};
use model_core::api::Model;
use model_core::names::{MAX_MODEL_NAME, is_model_name};
use serde::de::DeserializeOwned;

use crate::cli::Place;
use crate::error::Error;
use crate::suggest::nearest;

/// A person does not wait longer for a cluster that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than the API server lets a watch last, so that only a dead connection reaches this.
const READ_TIMEOUT: Duration = Duration::from_secs(320);

/// A cluster, and the namespace that is meant where none is named.
pub(crate) struct Cluster {
    client: Client,
    /// The namespace of the command line, else that of the context.
    pub namespace: String,
    address: String,
}

impl Cluster {
    /// Sets up the client as kubectl does. Nothing is asked of the cluster yet.
    pub async fn connect(place: &Place) -> Result<Self, Error> {
        let mut config = config(place).await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        let namespace = place.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        if !is_label(&namespace, 63) {
            let advice = "write a name that `kubectl get namespaces` lists";
            return Err(Error::wrong_use(format!("{namespace:?} is no name of a namespace"), advice));
        }
        let address = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| {
            let advice = "check the user of this context in the kubeconfig: kubectl config view --minify";
            Error::cluster("set up the client of the cluster", causes(&error), advice)
        })?;
        Ok(Self { client, namespace, address })
    }

    /// Objects of one kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Objects of one kind in the namespace, or in all.
    pub fn api_in<K>(&self, all_namespaces: bool) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        if all_namespaces { self.api_all() } else { self.api() }
    }

    /// Objects of one kind in the whole cluster.
    pub fn api_all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// The Model of this name. Where there is none, the error names one that may have been meant.
    pub async fn model(&self, name: &str) -> Result<Model, Error> {
        let doing = format!("read Model {name}");
        let found = self.api::<Model>().get_opt(name).await.map_err(|error| self.error(&doing, error))?;
        match found {
            Some(model) => Ok(model),
            None => Err(self.no_such_model(name).await?),
        }
    }

    /// The error for a Model that does not exist.
    pub async fn no_such_model(&self, name: &str) -> Result<Error, Error> {
        // That no Model is found by name also happens where the cluster knows no Models at all: the list tells.
        let models = self.list(&self.api::<Model>(), "list Models", &ListParams::default()).await?;
        let names: Vec<String> = models.iter().map(ResourceExt::name_any).collect();
        let advice = match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None => "`kubectl model list -A` shows the Models of all namespaces".to_owned(),
        };
        let what = format!("there is no Model of this name in namespace {}", self.namespace);
        Ok(Error::cluster(&format!("find Model {name}"), what, advice))
    }

    /// All objects of a list.
    pub async fn list<K>(&self, api: &Api<K>, doing: &str, params: &ListParams) -> Result<Vec<K>, Error>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        Ok(api.list(params).await.map_err(|error| self.error(doing, error))?.items)
    }

    /// What to tell about an answer of the API server, or about none.
    pub fn error(&self, doing: &str, error: kube::Error) -> Error {
        let (what, advice) = match error {
            kube::Error::Api(status) => self.refusal(&status),
            kube::Error::SerdeError(error) => (
                format!("the cluster's answer does not read as expected: {error}"),
                "plugin and operator may be of different versions: compare `kubectl model --version`".to_owned(),
            ),
            other => (
                format!("{} does not answer: {}", self.address, causes(&other)),
                "check the address in the kubeconfig, the network and a VPN; `kubectl version` must answer".to_owned(),
            ),
        };
        Error::cluster(doing, what, advice)
    }

    fn refusal(&self, status: &Status) -> (String, String) {
        match status.code {
            // The API server answers plain text where it knows no such kind.
            404 if status.details.is_none() => (
                format!("{} knows no Models: the operator is not installed there", self.address),
                "install its CRD and operator (`make install`, `kubectl apply -k config/`), or choose another --context".to_owned(),
            ),
            401 => (
                format!("{} does not know you: {}", self.address, status.message),
                "sign in again: the credentials of this context are missing or have expired".to_owned(),
            ),
            403 if status.message.contains("because it is being terminated") => {
                (status.message.clone(), "choose another namespace".to_owned())
            }
            403 => (
                status.message.clone(),
                format!("ask for that right in namespace {}; `kubectl auth can-i --list` shows what you have", self.namespace),
            ),
            409 => (status.message.clone(), "somebody else was faster: try again".to_owned()),
            _ => (status.message.clone(), String::new()),
        }
    }
}

/// A Model's name from the command line.
pub(crate) fn model_name(name: &str) -> Result<&str, Error> {
    if is_model_name(name) {
        return Ok(name);
    }
    let advice = format!("a name is of a-z, 0-9 and -, no dots, at most {MAX_MODEL_NAME} characters");
    Err(Error::wrong_use(format!("no Model can be called {name:?}"), advice))
}

/// The name of a pod or a secret from the command line: labels with dots between them.
pub(crate) fn object_name<'a>(kind: &str, name: &'a str) -> Result<&'a str, Error> {
    if name.len() <= 253 && name.split('.').all(|label| is_label(label, 253)) {
        return Ok(name);
    }
    Err(Error::wrong_use(format!("no {kind} can be called {name:?}"), "a name is of a-z, 0-9, - and ."))
}

fn is_label(label: &str, longest: usize) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=longest).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
}

async fn config(place: &Place) -> Result<Config, Error> {
    let doing = "read the kubeconfig";
    let kubeconfig = match &place.kubeconfig {
        Some(file) => Kubeconfig::read_from(file),
        None => Kubeconfig::read(),
    };
    let kubeconfig = match kubeconfig {
        Ok(kubeconfig) => kubeconfig,
        Err(error) => {
            // In a pod there is no file, but a service account.
            if place.kubeconfig.is_none()
                && place.context.is_none()
                && let Ok(config) = Config::incluster()
            {
                return Ok(config);
            }
            let advice = "name a file that exists with --kubeconfig or KUBECONFIG";
            return Err(Error::cluster(doing, causes(&error), advice));
        }
    };
    let contexts: Vec<String> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    let options = KubeConfigOptions { context: place.context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| match error {
        KubeconfigError::LoadContext(wanted) => {
            let advice = match nearest(&wanted, contexts.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None if contexts.is_empty() => {
                    "name a kubeconfig with contexts by --kubeconfig or KUBECONFIG".to_owned()
                }
                None => format!("it has the contexts {}", contexts.join(", ")),
            };
            Error::cluster(doing, format!("it has no context {wanted:?}"), advice)
        }
        KubeconfigError::CurrentContextNotSet => {
            Error::cluster(doing, "it sets no current context", "name one with --context")
        }
        other => Error::cluster(doing, causes(&other), "correct it: `kubectl config view` shows what it holds"),
    })
}

/// An error with what caused it, each once.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}
