//! `dev-cluster run`: a cluster for the length of one command.

use std::{
    env,
    os::unix::process::ExitStatusExt as _,
    process::{ExitCode, ExitStatus},
};

use anyhow::Context as _;
use dev_cluster::{Binaries, Cluster, ControlPlane, Node, NodeOptions};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
};

/// Runs the command on a new cluster, ends the cluster and returns the command's exit code.
pub fn run(control_plane: bool, worker: bool, command: &[String]) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = if control_plane {
        let cluster = ControlPlane::start()?;
        runtime.block_on(execute(command, cluster.cluster(), cluster.binaries()))?
    } else {
        let node = Node::start(&NodeOptions { name: None, worker })?;
        runtime.block_on(execute(command, node.cluster(), node.binaries()))?
    };
    // As shells do: a signal's number above 128.
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// Runs the command to its end. Signals do not end this process before the command, so that the cluster is cleaned up.
async fn execute(command: &[String], cluster: &Cluster, binaries: &Binaries) -> anyhow::Result<ExitStatus> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut path = binaries.dir().as_os_str().to_owned();
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    let mut child = Command::new(&command[0]);
    child.args(&command[1..]).env("PATH", path).env("KUBECONFIG", cluster.kubeconfig());
    child.env("DEV_CLUSTER_NAME", cluster.name());
    if let Some(address) = cluster.host_ip() {
        child.env("DEV_CLUSTER_HOST_IP", address.to_string());
    }
    let mut child = child.spawn().with_context(|| format!("could not run {}", command[0]))?;
    loop {
        tokio::select! {
            status = child.wait() => return status.context("could not wait for the command"),
            // A terminal sends this one to the command as well.
            _ = interrupt.recv() => {}
            _ = terminate.recv() => forward(child.id()),
            _ = hangup.recv() => forward(child.id()),
        }
    }
}

fn forward(child: Option<u32>) {
    if let Some(pid) = child.and_then(|pid| Pid::from_raw(pid.cast_signed())) {
        let _already_gone = kill_process(pid, Signal::TERM);
    }
}
