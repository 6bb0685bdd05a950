//! Flags, each also an environment variable.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::ArgAction;
use kube::Client;
use model_core::persisted::Downloader;
use model_resources::DownloadSettings;
use model_watch::Namespaces;

use crate::controller::LOG_READS;
use crate::{Controller, LeaderElection, WebhookCertificates, controller};

/// How the controller runs.
#[derive(Clone, Debug, clap::Args)]
#[non_exhaustive]
pub struct Options {
    /// Kubeconfig file. Absent: that of `KUBECONFIG` or of the home directory, else the pod's service account.
    #[arg(long, env = "MODEL_CONTROLLER_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Port of `/healthz` and `/readyz`, plain HTTP.
    #[arg(long, env = "MODEL_CONTROLLER_HEALTH_PORT", default_value_t = 8081)]
    pub health_port: u16,
    /// Port of `/metrics` for Prometheus, plain HTTP.
    #[arg(long, env = "MODEL_CONTROLLER_METRICS_PORT", default_value_t = 8080)]
    pub metrics_port: u16,
    /// Whether to act only while holding the lease `model-controller`, so that of several replicas one acts. Only a single
    /// process that nothing else runs beside may do without.
    #[arg(long, env = "MODEL_CONTROLLER_LEADER_ELECTION", default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    pub leader_election: bool,
    /// Namespace of the lease. Absent: that of the pod, or of the kubeconfig's context.
    #[arg(long, env = "MODEL_CONTROLLER_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Most downloads that run at once; 0: as many as there are. Other Models wait, oldest first, with the reason
    /// `Queued`.
    #[arg(long, env = "MODEL_CONTROLLER_MAX_CONCURRENT_DOWNLOADS", default_value_t = 0, value_name = "NUMBER")]
    pub max_concurrent_downloads: usize,
    /// Most downloads from one host that run at once; 0: as many as there are. Who waits for a busy host holds up nobody
    /// who asks another one.
    #[arg(
        long,
        env = "MODEL_CONTROLLER_MAX_CONCURRENT_DOWNLOADS_PER_HOST",
        default_value_t = 0,
        value_name = "NUMBER"
    )]
    pub max_concurrent_downloads_per_host: usize,
    /// Whether to make and renew the webhook's certificate: the Secret `model-webhook-tls` in the lease's namespace, and
    /// what the API server trusts the webhook by. Not where cert-manager or somebody else does.
    #[arg(long, env = "MODEL_CONTROLLER_WEBHOOK_CERTIFICATES", default_value_t = false, action = ArgAction::Set, value_name = "BOOL")]
    pub webhook_certificates: bool,
    /// Namespaces whose Models are looked after, separated by commas. Absent: all. With this, Roles in each of them are all
    /// that the controller needs beside the right to read storage classes.
    #[arg(long, env = "MODEL_CONTROLLER_WATCH_NAMESPACES", value_delimiter = ',', value_name = "NAMESPACES")]
    pub watch_namespaces: Vec<String>,
    /// Most logs that are read in a second for the progress of all downloads together. With more downloads than that, each
    /// is read less often.
    #[arg(long, env = "MODEL_CONTROLLER_MAX_LOG_READS_PER_SECOND", default_value_t = LOG_READS, value_name = "NUMBER")]
    pub max_log_reads_per_second: NonZeroU32,
    /// Image of model-loader. Absent: the stock images of the specification, which verify nothing.
    #[arg(long, env = "MODEL_CONTROLLER_LOADER_IMAGE")]
    pub loader_image: Option<String>,
    /// Variable `NAME=VALUE` for every download container, for example a hub's address or a proxy. May be repeated; in
    /// the environment one a line.
    #[arg(long, env = "MODEL_CONTROLLER_DOWNLOAD_ENV", value_parser = variable, value_delimiter = '\n')]
    pub download_env: Vec<(String, String)>,
    /// `ConfigMap` in each Model's namespace whose key `ca.crt` holds certificate authorities, PEM, that downloads trust
    /// beside the public ones. A download waits until it is there. With --loader-image only.
    #[arg(long, env = "MODEL_CONTROLLER_DOWNLOAD_CA_CONFIG_MAP", value_name = "NAME")]
    pub download_ca_config_map: Option<String>,
    /// Secret in each Model's namespace that download images are pulled with, beside those that a Model names. May be
    /// repeated; in the environment separated by commas.
    #[arg(
        long = "download-image-pull-secret",
        env = "MODEL_CONTROLLER_DOWNLOAD_IMAGE_PULL_SECRETS",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub download_image_pull_secrets: Vec<String>,
}

impl Options {
    /// The controller that the flags ask for.
    #[must_use]
    pub fn controller(&self, client: Client) -> Controller {
        let own_namespace = client.default_namespace().to_owned();
        let mut controller = controller(client, self.download_settings())
            .with_namespaces(self.namespaces())
            .with_max_concurrent_downloads(self.max_concurrent_downloads)
            .with_max_concurrent_downloads_per_host(self.max_concurrent_downloads_per_host)
            .with_max_log_reads_per_second(self.max_log_reads_per_second);
        if let Some(election) = self.election(&own_namespace) {
            controller = controller.with_leader_election(election);
        }
        if let Some(certificates) = self.certificates(&own_namespace) {
            controller = controller.with_webhook_certificates(certificates);
        }
        controller
    }

    /// The election that the flags ask for. `own_namespace` is where the lease lies unless they say.
    #[must_use]
    pub fn election(&self, own_namespace: &str) -> Option<LeaderElection> {
        let namespace = self.lease_namespace.as_deref().unwrap_or(own_namespace);
        self.leader_election.then(|| LeaderElection::new(namespace))
    }

    /// The certificates that the flags ask for. `own_namespace` is where the webhook runs unless they say.
    #[must_use]
    pub fn certificates(&self, own_namespace: &str) -> Option<WebhookCertificates> {
        let namespace = self.lease_namespace.as_deref().unwrap_or(own_namespace);
        self.webhook_certificates.then(|| WebhookCertificates::new(namespace))
    }

    /// The namespaces that the flags name.
    #[must_use]
    pub fn namespaces(&self) -> Namespaces {
        Namespaces::new(self.watch_namespaces.iter().cloned())
    }

    /// What the flags say about downloads.
    #[must_use]
    pub fn download_settings(&self) -> DownloadSettings {
        let image = self.loader_image.clone();
        let downloader = image.map_or(Downloader::Stock, |image| Downloader::Loader { image });
        let env = self.download_env.iter().cloned().collect();
        let mut settings = DownloadSettings::new(downloader);
        settings.env = env;
        settings.ca_config_map.clone_from(&self.download_ca_config_map);
        settings.image_pull_secrets.clone_from(&self.download_image_pull_secrets);
        settings
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    if name.is_empty() { Err("the name is empty".to_owned()) } else { Ok((name.to_owned(), value.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_a_name_and_any_value() {
        for (text, want) in [
            ("A=b", Ok(("A".to_owned(), "b".to_owned()))),
            ("A=", Ok(("A".to_owned(), String::new()))),
            ("A=b=c", Ok(("A".to_owned(), "b=c".to_owned()))),
            ("A", Err("must be NAME=VALUE".to_owned())),
            ("=b", Err("the name is empty".to_owned())),
        ] {
            assert_eq!(variable(text), want, "{text}");
        }
    }
}
