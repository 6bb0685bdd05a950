//! Flags, each also an environment variable.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use model_resources::inject::{ContentPlace, WhenNotReady};
use model_watch::Namespaces;

use crate::admission::Defaults;

/// How the webhook runs.
#[derive(Clone, Debug, clap::Args)]
#[non_exhaustive]
pub struct Options {
    /// Kubeconfig file. Absent: that of `KUBECONFIG` or of the home directory, else the pod's service account.
    #[arg(long, env = "MODEL_WEBHOOK_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    // Kubernetes itself sets MODEL_WEBHOOK_PORT, to something else, where a Service is called model-webhook.
    /// Port for the API server's requests, TLS.
    #[arg(long, env = "MODEL_WEBHOOK_TLS_PORT", default_value_t = 9443)]
    pub port: u16,
    /// Directory with `tls.crt` and `tls.key`. They are read again when they change.
    #[arg(long, env = "MODEL_WEBHOOK_CERT_DIR", default_value = "/etc/model-webhook/tls")]
    pub cert_dir: PathBuf,
    /// Port of `/healthz` and `/readyz`, plain HTTP.
    #[arg(long, env = "MODEL_WEBHOOK_HEALTH_PORT", default_value_t = 8081)]
    pub health_port: u16,
    /// Port of `/metrics` for Prometheus, plain HTTP.
    #[arg(long, env = "MODEL_WEBHOOK_METRICS_PORT", default_value_t = 8080)]
    pub metrics_port: u16,
    /// Namespaces whose Models are known, separated by commas: the same as the controller's. Absent: all. Pods of other
    /// namespaces that ask for models are denied.
    #[arg(long, env = "MODEL_WEBHOOK_WATCH_NAMESPACES", value_delimiter = ',', value_name = "NAMESPACES")]
    pub watch_namespaces: Vec<String>,
    /// What becomes of a pod whose Model is not Ready: denied, or admitted with a scheduling gate that the controller
    /// takes off once the files are there. The pod's annotation when-not-ready wins.
    #[arg(long, env = "MODEL_WEBHOOK_WHEN_NOT_READY", default_value = "deny",
        value_parser = PossibleValuesParser::new(["deny", "wait"]).try_map(|word| word.parse::<WhenNotReady>()))]
    pub when_not_ready: WhenNotReady,
    /// What the controller downloads with: loader where it has a --loader-image, else stock. It tells where the files of
    /// a Model that is not Ready will lie.
    #[arg(long, env = "MODEL_WEBHOOK_DOWNLOADER", default_value = "stock", value_name = "DOWNLOADER",
        value_parser = PossibleValuesParser::new(["stock", "loader"]).map(|word| content_place(&word)))]
    pub downloader: ContentPlace,
}

impl Options {
    /// The namespaces that the flags name.
    #[must_use]
    pub fn namespaces(&self) -> Namespaces {
        Namespaces::new(self.watch_namespaces.iter().cloned())
    }

    /// What the flags say about pods.
    #[must_use]
    pub const fn defaults(&self) -> Defaults {
        Defaults { when_not_ready: self.when_not_ready, content_place: self.downloader }
    }
}

fn content_place(downloader: &str) -> ContentPlace {
    if downloader == "loader" { ContentPlace::Revisions } else { ContentPlace::Root }
}
