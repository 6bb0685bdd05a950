//! Flags, each also an environment variable.

use std::path::PathBuf;

/// How the webhook runs.
#[derive(Clone, Debug, clap::Args)]
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
}
