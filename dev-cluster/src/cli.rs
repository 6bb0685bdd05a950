//! The command line.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::{Args, Parser, Subcommand};
use dev_cluster::{Binaries, Cluster, ControlPlane, Node, NodeOptions};

use crate::run::run;

/// A real Kubernetes on this machine, without Docker.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster that runs until `down`
    Up {
        #[command(flatten)]
        size: SizeArgs,
        /// Its name: up to 32 lower-case letters, digits and hyphens
        #[arg(default_value = "dev")]
        name: String,
    },
    /// End a cluster and remove everything it left
    Down {
        #[arg(default_value = "dev")]
        name: String,
    },
    /// List the clusters that run: name, size, kubeconfig
    Status,
    /// Print the path of a cluster's kubeconfig
    Kubeconfig {
        #[arg(default_value = "dev")]
        name: String,
    },
    /// Load an image archive (OCI layout or `docker save`) into a node
    LoadImage {
        archive: PathBuf,
        #[arg(default_value = "dev")]
        name: String,
    },
    /// Build the cluster's programs, for a node Helm too, if they are not there yet
    Build(SizeArgs),
    /// Start a cluster, run a command with KUBECONFIG, `DEV_CLUSTER_NAME` and, for a node,
    /// `DEV_CLUSTER_HOST_IP` (this machine as pods see it) set, end the cluster; exits as the command
    Run {
        #[command(flatten)]
        size: SizeArgs,
        /// The command and its arguments
        #[arg(required = true, last = true)]
        command: Vec<String>,
    },
}

#[derive(Args, Clone, Copy)]
struct SizeArgs {
    /// etcd and the API server only: no root, no containers, seconds to start
    #[arg(long)]
    control_plane: bool,
    /// A second kubelet, node NAME-2, for pods that tolerate the taint dev-cluster/worker
    #[arg(long, conflicts_with = "control_plane")]
    worker: bool,
}

/// Does what the command line asks and returns the exit code.
pub fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Up { size, name } => {
            let start = Instant::now();
            let cluster = up(size, name)?;
            eprintln!("dev-cluster: {} is ready after {} s; to use it:", cluster.name(), start.elapsed().as_secs());
            println!("export KUBECONFIG={}", cluster.kubeconfig().display());
        }
        Command::Down { name } => {
            let found = Cluster::find(&name);
            Cluster::sweep()?;
            found?.end()?;
        }
        Command::Status => {
            for cluster in Cluster::running()? {
                println!("{}\t{}\t{}", cluster.name(), cluster.size().as_str(), cluster.kubeconfig().display());
            }
        }
        Command::Kubeconfig { name } => println!("{}", Cluster::find(&name)?.kubeconfig().display()),
        Command::LoadImage { archive, name } => Cluster::find(&name)?.load_image(&archive)?,
        Command::Build(size) => {
            let binaries = if size.control_plane { Binaries::control_plane()? } else { Binaries::node()? };
            println!("{}", binaries.dir().display());
            if !size.control_plane {
                println!("{}", dev_cluster::helm()?.display());
            }
        }
        Command::Run { size, command } => return run(size.control_plane, size.worker, &command),
    }
    Ok(ExitCode::SUCCESS)
}

fn up(size: SizeArgs, name: String) -> Result<Cluster, dev_cluster::Error> {
    if size.control_plane {
        ControlPlane::start_named(Some(&name))?.detach()
    } else {
        Node::start(&NodeOptions { name: Some(name), worker: size.worker })?.detach()
    }
}
