//! The webhook's binary: flags, a client, the library.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use model_webhook::{Certificates, Options, Server, client};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Admission of pods that ask for models.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Write a certificate for the webhook (`tls.crt`, `tls.key`) and the authority that the API server has to trust
    /// (`ca.crt`), valid for ten years. For clusters without cert-manager.
    Certificates {
        /// Directory to write to. Created if need be.
        #[arg(long)]
        out: PathBuf,
        /// DNS name or IP address that the API server calls. May be repeated.
        #[arg(long, default_value = "model-webhook.model-system.svc")]
        host: Vec<String>,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(Command::Certificates { out, host }) = cli.command {
        return Ok(Certificates::generate(&host)?.write(&out)?);
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).init();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("another crypto provider is installed already");
    }
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let client = client(cli.options.kubeconfig.as_deref()).await?;
    let server = Server::bind(&cli.options).await?;
    let stop = async move {
        tokio::select! { _ = term.recv() => (), _ = interrupt.recv() => () }
    };
    server.run(client, stop).await.context("the webhook ended")
}
