//! The controller's binary: flags, a client, the library.

use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use model_controller::{Options, health, metrics};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Longer than a watch call lasts, so that only a dead connection reaches this.
const READ_TIMEOUT: Duration = Duration::from_secs(90);

/// What is logged, unless `RUST_LOG` says otherwise. Without the library's span around each pass: no line shows it.
const LOG: &str = "info,kube_runtime=warn";

/// Downloads the files of every Model once, and keeps its status.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

/// How long the thread rests when there is nothing to do, before it waits for more. To wake up costs it more than what it then
/// does about one answer or change (docs/performance.md). So it takes up together what comes within a moment.
const REST: Duration = Duration::from_millis(5);

// One thread: passes wait for the API server, and handing each small step from thread to thread costs more than the step.
fn main() -> anyhow::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().on_thread_park(|| thread::sleep(REST)).build()?.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let options = Cli::parse().options;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter);
    log.with_current_span(false).with_span_list(false).init();
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let client = client(&options).await?;
    let controller = options.controller(client);
    health::serve(options.health_port, controller.readiness()).await.context("could not open the health port")?;
    metrics::serve(options.metrics_port, controller.metrics()).await.context("could not open the metrics port")?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
    let stop = async move {
        tokio::select! { _ = term.recv() => (), _ = interrupt.recv() => () }
    };
    controller.run_until(stop).await?;
    tracing::info!("stopped");
    Ok(())
}

async fn client(options: &Options) -> anyhow::Result<Client> {
    let mut config = match &options.kubeconfig {
        Some(file) => {
            let read = Kubeconfig::read_from(file).with_context(|| format!("could not read {}", file.display()))?;
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?
        }
        None => Config::infer().await.context("no cluster: give --kubeconfig, or set KUBECONFIG")?,
    };
    config.read_timeout = Some(READ_TIMEOUT);
    Client::try_from(config).context("could not set up the client of the cluster")
}
