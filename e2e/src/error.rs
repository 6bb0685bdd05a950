//! What can go wrong between this machine and the cluster.

use std::path::{Path, PathBuf};

use crate::command::CommandError;

/// Why something could not be built, deployed or seen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program could not be run, or failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file or directory of this machine.
    #[error("could not {doing} {}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The API server refused or could not be reached.
    #[error("could not {doing}")]
    Api {
        /// What was being done.
        doing: String,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// A kubeconfig that cannot be used.
    #[error("could not use the kubeconfig {}: {reason}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The webhook's certificate could not be made.
    #[error("could not make the webhook's certificate")]
    Certificates(#[source] Box<model_webhook::certificates::Error>),
    /// The node did not start, or does not take an image.
    #[error(transparent)]
    Node(#[from] dev_cluster::Error),
    /// Something did not happen in time. The report is what a person would look at next.
    #[error("{what} within {seconds} s; {report}")]
    Timeout {
        /// What was waited for, as "did not …".
        what: String,
        /// How long.
        seconds: u64,
        /// The objects, events and logs that tell why.
        report: String,
    },
    /// A condition that can never come true any more.
    #[error("{what}; {report}")]
    Unexpected {
        /// What happened in its place.
        what: String,
        /// The objects, events and logs that tell why.
        report: String,
    },
}

impl Error {
    /// For `map_err` on an operation with a file.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }

    pub(crate) fn certificates(source: model_webhook::certificates::Error) -> Self {
        Self::Certificates(Box::new(source))
    }

    /// For `map_err` on a request to the API server.
    pub(crate) fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Api { doing, source: Box::new(source) }
    }
}
