//! Runs the controller against a cluster.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use model_controller::{DownloadSettings, controller, health};
use model_core::persisted::Downloader;
use tokio::signal::unix::{SignalKind, signal};

/// Downloads the files of every Model once, and keeps its status.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Kubeconfig file. Absent: the pod's service account, else the usual kubeconfig.
    #[arg(long, env = "MODEL_CONTROLLER_KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Port of /healthz and /readyz.
    #[arg(long, env = "MODEL_CONTROLLER_HEALTH_PORT", default_value_t = 8081)]
    health_port: u16,
    /// Image of model-loader. Absent: the stock images of the specification, which verify nothing.
    #[arg(long, env = "MODEL_CONTROLLER_LOADER_IMAGE")]
    loader_image: Option<String>,
    /// Variable NAME=VALUE for every download container, for example a hub's address or a proxy. May be repeated.
    #[arg(long, env = "MODEL_CONTROLLER_DOWNLOAD_ENV", value_parser = variable, value_delimiter = '\n')]
    download_env: Vec<(String, String)>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().json().with_env_filter(filter).init();
    let client = client(flags.kubeconfig).await?;
    let downloader = flags.loader_image.map_or(Downloader::Stock, |image| Downloader::Loader { image });
    let settings = DownloadSettings { downloader, env: flags.download_env.into_iter().collect() };
    let controller = controller(client, settings);

    health::serve(flags.health_port, controller.models()).await.context("could not open the health port")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
    let stop = async move {
        tokio::select! { _ = terminate.recv() => (), _ = interrupt.recv() => () }
    };
    controller.run_until(stop).await;
    tracing::info!("stopped");
    Ok(())
}

async fn client(kubeconfig: Option<PathBuf>) -> anyhow::Result<Client> {
    let config = match kubeconfig {
        Some(file) => {
            let kubeconfig =
                Kubeconfig::read_from(&file).with_context(|| format!("could not read {}", file.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?
        }
        None => Config::infer().await.context("no cluster: give --kubeconfig, or set KUBECONFIG")?,
    };
    Client::try_from(config).context("could not set up the client of the cluster")
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    if name.is_empty() { Err("the name is empty".to_owned()) } else { Ok((name.to_owned(), value.to_owned())) }
}
