//! The files that configure a node's components.

use serde_json::json;

use super::{WORKER_TAINT, kubelet::Kubelet, network::POD_RANGE, packages};
use crate::{Cluster, Error};

/// The sandbox of each pod.
pub(crate) const PAUSE_IMAGE: &str = "dev-cluster.local/pause:1";

/// Writes the configuration of a kubelet's container runtime.
pub(crate) fn containerd(cluster: &Cluster, kubelet: Kubelet) -> Result<(), Error> {
    let name = kubelet.own("containerd");
    let dir = cluster.dir().display();
    let cni = packages::CNI_PLUGINS;
    let runc = packages::find("runc").unwrap_or_default();
    let runc = runc.display();
    let toml = format!(
        r#"version = 3
root = "{dir}/{name}"
# In the node's own /run: shims make sockets below it whose long names must fit in 108 bytes.
state = "/run/{name}"
# The first would create /opt/containerd; nobody uses the second.
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]

[grpc]
address = "{dir}/{name}.sock"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
# Where this machine may not lower oom_score_adj every sandbox would fail with "can't get final child's PID from pipe".
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{cni}"]
conf_dir = "{dir}/cni"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false
"#
    );
    cluster.write(&format!("{name}.toml"), &toml).map(drop)
}

/// Writes the CNI configuration. All kubelets of a cluster share it, so that no address is given twice.
pub(crate) fn pod_network(cluster: &Cluster) -> Result<(), Error> {
    let dir = cluster.dir().display();
    // Point to point and not bridged: between two pods on one bridge the answers from a Service would bypass the
    // address translation unless the br_netfilter module is loaded.
    let network = json!({
        "cniVersion": "1.0.0",
        "name": "dev-cluster",
        "plugins": [{
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "dataDir": format!("{dir}/cni-addresses"),
                "ranges": [[{"subnet": POD_RANGE}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    std::fs::create_dir_all(cluster.dir().join("cni")).map_err(Error::io("create the CNI directory"))?;
    cluster.write("cni/10-dev-cluster.conflist", &network.to_string()).map(drop)
}

/// Writes a kubelet's configuration and the `resolv.conf` of pods that do not use cluster DNS.
pub(crate) fn kubelet(cluster: &Cluster, kubelet: Kubelet) -> Result<(), Error> {
    let dir = cluster.dir().display();
    let taints = match kubelet {
        Kubelet::First => json!([]),
        Kubelet::Second => json!([{"key": WORKER_TAINT, "value": "true", "effect": "NoSchedule"}]),
    };
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": format!("{dir}/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": format!("unix://{dir}/{}.sock", kubelet.own("containerd")),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", kubelet.cgroup(cluster)),
        "port": kubelet.port(),
        // The supervisor sees a kubelet that ends.
        "healthzPort": 0,
        "registerWithTaints": taints,
        "failCgroupV1": false,
        "failSwapOn": false,
        // kube-proxy's nftables mode needs none of them, and this machine may have no iptables.
        "makeIPTablesUtilChains": false,
        // The disk is this machine's: the node must not tidy up because somebody else filled it.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%", "nodefs.inodesFree": "1%",
            "imagefs.available": "1%", "imagefs.inodesFree": "1%",
        },
        // Loaded images cannot be pulled again.
        "imageGCHighThresholdPercent": 100,
        "podLogsDir": format!("{dir}/{}", kubelet.own("pod-logs")),
        "resolvConf": format!("{dir}/resolv.conf"),
        "volumePluginDir": format!("{dir}/volume-plugins"),
        // Pods of a test come and go fast.
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
    });
    cluster.write("resolv.conf", "# No names but the cluster's.\n")?;
    cluster.write(&format!("{}.json", kubelet.own("kubelet")), &config.to_string()).map(drop)
}

/// Writes `kube-proxy.json`.
pub(crate) fn kube_proxy(cluster: &Cluster) -> Result<(), Error> {
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": cluster.dir().join("kube-proxy.kubeconfig")},
        "clusterCIDR": POD_RANGE,
        "hostnameOverride": cluster.name(),
        "mode": "nftables",
        // The limits belong to the whole machine and are not the node's to set.
        "conntrack": {"maxPerCore": 0, "min": 0},
    });
    cluster.write("kube-proxy.json", &config.to_string()).map(drop)
}
