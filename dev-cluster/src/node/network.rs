//! The node's only way out: a cable between its network namespace and this machine.

use std::{fs, net::Ipv4Addr};

use crate::{Cluster, Error, command::run};

/// Where pods live. It is seen inside the node's namespace only, so every node can use the same.
pub(crate) const POD_RANGE: &str = "10.244.0.0/24";

/// Nodes that can run side by side: 198.18.0.0/16 (set apart for benches by RFC 2544) in blocks of four.
const BLOCKS: u16 = 1 << 14;

/// The two ends of a node's cable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cable {
    /// This machine, as pods see it.
    pub host: Ipv4Addr,
    /// The node, as this machine sees it.
    pub node: Ipv4Addr,
    /// A second kubelet's node. Known inside the namespace only.
    pub worker: Ipv4Addr,
}

impl Cable {
    /// Connects the network namespace of process `pid`. Creating the interface also reserves its addresses: the kernel
    /// refuses a second one of that name, and removes it when the namespace goes.
    pub(crate) fn plug(cluster: &Cluster, pid: u32) -> Result<Self, Error> {
        let pid = pid.to_string();
        let mut block = 0;
        let interface = loop {
            let name = format!("dev-cluster{block}");
            let made = run(
                "connect the node to this machine",
                "ip",
                &["link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &pid],
            );
            match made {
                Err(Error::Command { output, .. }) if output.contains("File exists") && block + 1 < BLOCKS => {
                    block += 1;
                }
                made => break made.map(|_| name)?,
            }
        };
        // For the cluster's end, by whichever process.
        let index = format!("/sys/class/net/{interface}/ifindex");
        let index = fs::read_to_string(&index).map_err(Error::io(format!("read {index}")))?;
        cluster.write("cable", &format!("{interface} {index}"))?;
        let [high, low] = (block * 4).to_be_bytes();
        let cable = Self {
            host: Ipv4Addr::new(198, 18, high, low + 1),
            node: Ipv4Addr::new(198, 18, high, low + 2),
            worker: Ipv4Addr::new(198, 19, high, low + 2),
        };
        let Self { host, node, worker } = cable;
        let here = format!("ip address add {host}/30 dev {interface} && ip link set {interface} up");
        run("set up this machine's end of the cable", "sh", &["-c", &here])?;
        // Pods' addresses mean nothing to this machine, so they leave under the node's.
        let there = format!(
            "ip link set lo up && ip address add {node}/30 dev eth0 && ip link set eth0 up &&
            ip address add {worker}/32 dev eth0 &&
            ip route add default via {host} && echo 1 >/proc/sys/net/ipv4/ip_forward &&
            nft 'table ip dev-cluster {{
                chain out {{
                    type nat hook postrouting priority srcnat
                    ip saddr {POD_RANGE} oifname eth0 masquerade
                }}
            }}'"
        );
        // Not `ip netns exec`: that mounts a new /sys, which hides the cgroups from the kubelet.
        run("set up the node's end of the cable", "nsenter", &["--target", &pid, "--net", "sh", "-c", &there])?;
        Ok(cable)
    }
}
