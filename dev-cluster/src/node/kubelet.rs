//! The kubelets of a cluster, each with a container runtime of its own: two on one runtime remove each other's pods.

use std::{net::Ipv4Addr, time::Duration};

use super::network::Cable;
use crate::{Binaries, Cluster, Error, cgroups, command::run, supervisor::Supervisor};

/// Sockets of the container runtimes in a cluster's directory. The second is there with the second kubelet only.
pub(crate) const RUNTIME_SOCKETS: [&str; 2] = ["containerd.sock", "containerd-2.sock"];

/// One of a cluster's kubelets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kubelet {
    First,
    Second,
}

impl Kubelet {
    /// Its own name of something that every kubelet has: `kubelet` or `kubelet-2`.
    pub(crate) fn own(self, name: &str) -> String {
        match self {
            Self::First => name.to_owned(),
            Self::Second => format!("{name}-2"),
        }
    }

    pub(crate) fn node_name(self, cluster: &Cluster) -> String {
        self.own(cluster.name())
    }

    /// Where it keeps its pods, below the root of each cgroup hierarchy. One each: two kubelets in the same cgroup
    /// remove each other's pods.
    pub(crate) fn cgroup(self, cluster: &Cluster) -> String {
        let root = cgroups::root(cluster.name());
        match self {
            Self::First => root,
            Self::Second => root.join("worker"),
        }
        .to_string_lossy()
        .into_owned()
    }

    /// Where the API server asks it. Both listen on every address of the network namespace that they share.
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::First => 10250,
            Self::Second => 10251,
        }
    }

    const fn address(self, cable: Cable) -> Ipv4Addr {
        match self {
            Self::First => cable.node,
            Self::Second => cable.worker,
        }
    }

    /// Starts its container runtime and waits until that answers.
    pub(crate) fn start_runtime(self, supervisor: &mut Supervisor, binaries: &Binaries) -> Result<(), Error> {
        let name = self.own("containerd");
        let dir = supervisor.cluster().dir().to_owned();
        let config = dir.join(format!("{name}.toml")).display().to_string();
        supervisor.start(&name, &binaries.path("containerd"), &["--config".to_owned(), config])?;
        let socket = dir.join(format!("{name}.sock")).display().to_string();
        let ctr = binaries.path("ctr").display().to_string();
        supervisor.wait(&name, "an answer on its socket", Duration::from_secs(30), || {
            run("ask containerd for its version", &ctr, &["-a", &socket, "version"]).is_ok()
        })
    }

    pub(crate) fn start(self, supervisor: &mut Supervisor, binaries: &Binaries, cable: Cable) -> Result<(), Error> {
        let cluster = supervisor.cluster();
        let dir = cluster.dir().display();
        let name = self.own("kubelet");
        let args = [
            format!("--kubeconfig={dir}/{name}.kubeconfig"),
            format!("--config={dir}/{name}.json"),
            format!("--root-dir={dir}/{name}"),
            format!("--cert-dir={dir}/{name}-pki"),
            format!("--hostname-override={}", self.node_name(cluster)),
            // Not a loopback address: the kubelet refuses those.
            format!("--node-ip={}", self.address(cable)),
        ];
        supervisor.start(&name, &binaries.path("kubelet"), &args)
    }
}
