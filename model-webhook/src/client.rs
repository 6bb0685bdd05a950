//! The client of the API server.

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Longer than any watch call lasts, so that only a dead connection reaches it.
const READ_TIMEOUT: Duration = Duration::from_secs(90);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The named file is no usable kubeconfig.
    #[error("could not use the kubeconfig {path}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong.
        source: Box<kube::config::KubeconfigError>,
    },
    /// Neither a kubeconfig nor a service account was found.
    #[error("could not find a cluster: name a kubeconfig with --kubeconfig or KUBECONFIG, or run in a pod")]
    NoCluster(#[source] Box<kube::config::InferConfigError>),
    /// The cluster's address or certificates cannot be used.
    #[error("could not make a client for the API server")]
    Client(#[source] Box<kube::Error>),
}

/// A client of the cluster that the file names, or else of the one that environment, home directory or service account
/// name.
///
/// # Errors
/// When no cluster is found or its description cannot be used. The API server itself is not asked yet.
pub async fn client(kubeconfig: Option<&Path>) -> Result<Client, Error> {
    let mut config = match kubeconfig {
        Some(path) => from_file(path)
            .await
            .map_err(|source| Error::Kubeconfig { path: path.display().to_string(), source: Box::new(source) })?,
        None => Config::infer().await.map_err(|source| Error::NoCluster(Box::new(source)))?,
    };
    config.read_timeout = Some(READ_TIMEOUT);
    Client::try_from(config).map_err(|source| Error::Client(Box::new(source)))
}

async fn from_file(path: &Path) -> Result<Config, kube::config::KubeconfigError> {
    Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &KubeConfigOptions::default()).await
}
