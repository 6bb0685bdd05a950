//! `make demo`: a cluster, the operator, a Model, and a server that answers with it.

mod bar;
mod cluster;
mod hub;
mod phases;
mod similar;
mod story;

use std::path::Path;

use clap::{Parser, Subcommand, ValueEnum};

/// Shows the operator at work, from an empty machine to a server that answers with a model.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show it.
    Up {
        /// A node of its own on this machine, or the cluster of the current kubeconfig.
        #[arg(long, value_enum, default_value_t = Where::Node)]
        cluster: Where,
    },
    /// Take down the node that `up` left running.
    Down,
}

/// Where the demo runs.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Where {
    /// A node of its own on this machine.
    Node,
    /// The cluster of the current kubeconfig.
    Current,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match Cli::parse().command {
        Command::Up { cluster } => story::tell(&workspace, cluster).await,
        Command::Down => cluster::down(),
    }
}
