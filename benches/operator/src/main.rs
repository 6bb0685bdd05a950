//! Measures controller and webhook against a real etcd and kube-apiserver: CPU, memory, time to answer, and what they ask
//! the API server.
//!
//! Both are processes of their own, built for release. The bench plays what a cluster has around them: an API server that
//! asks the webhook, and the nodes that run Jobs. It prints Markdown. Beside each figure stands that of an operator of the
//! same specification in Go (controller-runtime, without the client's own rate limit, 10 workers), measured once, on another
//! machine with 2 cores, by the same kind of driver. So that machines do not matter, `--peer` measures one of `peer/` in
//! turns with our controller: also on controller-runtime and tuned alike, but made for this bench, with nothing in it that
//! the bench does not ask for.
//!
//! A quick look: `bench-operator --models 100 --requests 1000 --overload 5`.

mod cluster;
mod controller;
mod http;
mod process;
mod report;
mod webhook;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::controller::Operator;

/// Measures controller and webhook against a real API server. Prints Markdown tables.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// What to measure. Both by default.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Program>,
    /// Numbers of Models that the controller is measured with, each on a cluster of its own.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000, 3000, 10_000])]
    models: Vec<usize>,
    /// Requests of each kind to the webhook; memory is looked at again after ten times as many.
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    requests: usize,
    /// Connections that ask the webhook at once.
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    connections: usize,
    /// Seconds of overload.
    #[arg(long, default_value_t = 60)]
    overload: u64,
    /// Folder of the binaries. By default that of this program.
    #[arg(long)]
    binaries: Option<PathBuf>,
    /// Also measure this program, built from `benches/operator/peer`, in turns with our controller.
    #[arg(long)]
    peer: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Program {
    Webhook,
    Controller,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "must be a whole number above 0".to_owned())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("another crypto provider is installed already");
    }
    let beside = || std::env::current_exe().map(|program| program.with_file_name(""));
    let binaries = cli.binaries.map_or_else(beside, Ok)?;
    let wants = |program| cli.only.is_empty() || cli.only.contains(&program);
    if wants(Program::Webhook) {
        let plan = webhook::Plan {
            requests: cli.requests,
            connections: cli.connections,
            overload: Duration::from_secs(cli.overload),
        };
        let findings = webhook::measure(&binaries.join("model-webhook"), &plan).await?;
        println!("{}", report::webhook(&findings, cli.connections));
    }
    if wants(Program::Controller) {
        let (mut ours, mut of_peer) = (Vec::new(), Vec::new());
        let program = binaries.join("model-controller");
        for models in cli.models {
            ours.push(controller::measure(&Operator::Ours(&program), models).await?);
            if let Some(peer) = &cli.peer {
                of_peer.push(controller::measure(&Operator::Peer(peer), models).await?);
            }
        }
        println!("{}", report::controller("Controller: Models from creation to Ready", &ours));
        if !of_peer.is_empty() {
            println!("{}", report::controller("The same by the peer", &of_peer));
        }
    }
    println!("{}", report::machine());
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
