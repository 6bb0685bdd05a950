//! A full node: the control plane, the kubelet, a container runtime, cluster DNS and storage.

mod config;
mod images;
mod kubelet;
mod network;
mod packages;

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

pub use images::BUSYBOX_IMAGE;
use kubelet::Kubelet;
pub(crate) use kubelet::RUNTIME_SOCKETS;
use network::Cable;

use crate::{
    Binaries, Cluster, Error, Size, cgroups,
    command::{output, run},
    control_plane::{certificates, kubectl, start_apiserver, start_etcd, wait_for_apiserver},
    directories,
    pki::Authority,
    supervisor::Supervisor,
};

const APISERVER_PORT: u16 = 6443;
const ETCD_PORTS: (u16, u16) = (2379, 2380);

/// How a node is started.
#[derive(Debug, Clone, Default)]
pub struct NodeOptions {
    /// The cluster's and the node's name: up to 32 lower-case letters, digits and hyphens. `None` takes a free one.
    pub name: Option<String>,
    /// A second kubelet in the same cluster, `NAME-2`, with a container runtime, directories and cgroups of its own. It
    /// shares the first one's network, so pods of both reach each other. Only pods that tolerate the taint
    /// [`WORKER_TAINT`] are put there. Costs some ten seconds and 200 MiB of memory.
    pub worker: bool,
}

/// Key of the taint, `NoSchedule`, of the [second kubelet's node](NodeOptions::worker).
pub const WORKER_TAINT: &str = "dev-cluster/worker";

/// A node with everything, in PID, mount and network namespaces of its own. Ends when dropped or when its process dies.
#[derive(Debug)]
pub struct Node {
    supervisor: Supervisor,
    binaries: Binaries,
    kubeconfig: PathBuf,
    host_ip: Ipv4Addr,
}

impl Node {
    /// Starts a node and waits until it is ready, cluster DNS and the default storage class included. Blocks for some
    /// twenty seconds; the first time on a machine it builds the programs before, which takes minutes.
    ///
    /// # Errors
    /// Without root, without the packages it needs, or when a component does not come up; the error then shows its log.
    pub fn start(options: &NodeOptions) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        packages::check()?;
        let binaries = Binaries::node()?;
        let archives = images::ensure(&binaries)?;
        let (cluster, lock) = Cluster::create(options.name.as_deref(), Size::Node)?;
        let kubelets: &[Kubelet] = if options.worker { &[Kubelet::First, Kubelet::Second] } else { &[Kubelet::First] };
        for kubelet in kubelets {
            cgroups::create(&kubelet.cgroup(&cluster))?;
        }
        let mut supervisor = Supervisor::spawn(cluster, &lock, &binaries)?;
        drop(lock);
        let pid_namespace = format!("/proc/{}/ns/pid_for_children", supervisor.pid());
        let pid_namespace = fs::read_link(&pid_namespace).map_err(Error::io(format!("read {pid_namespace}")))?;
        supervisor.cluster().write("pid-namespace", &pid_namespace.to_string_lossy())?;
        hide_host_directories(supervisor.pid(), &[supervisor.cluster().dir(), binaries.dir()])?;
        let cable = Cable::plug(supervisor.cluster(), supervisor.pid())?;
        configure(supervisor.cluster(), &binaries, cable, kubelets)?;

        start_etcd(&mut supervisor, &binaries, ETCD_PORTS.0, ETCD_PORTS.1)?;
        start_node_apiserver(&mut supervisor, &binaries, cable)?;
        for kubelet in kubelets {
            kubelet.start_runtime(&mut supervisor, &binaries)?;
        }
        for archive in &archives {
            supervisor.cluster().load_image(archive)?;
        }
        wait_for_apiserver(&mut supervisor, &binaries)?;
        start_controllers(&mut supervisor, &binaries)?;
        for kubelet in kubelets {
            kubelet.start(&mut supervisor, &binaries, cable)?;
        }
        apply_addons(supervisor.cluster(), &binaries)?;
        wait_for_node(&mut supervisor, &binaries, kubelets)?;
        let kubeconfig = supervisor.cluster().kubeconfig();
        Ok(Self { supervisor, binaries, kubeconfig, host_ip: cable.host })
    }

    /// The administrator's kubeconfig; its server is reached from this machine.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The cluster's name, also the node's.
    #[must_use]
    pub fn name(&self) -> &str {
        self.supervisor.cluster().name()
    }

    /// This machine's address as seen from the node and its pods. A server for pods listens on it, or on 0.0.0.0.
    #[must_use]
    pub fn host_ip(&self) -> IpAddr {
        self.host_ip.into()
    }

    /// The cluster's place on disk; it also loads images.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        self.supervisor.cluster()
    }

    /// Loads an image archive (OCI layout or `docker save`) into the node's container runtime.
    ///
    /// # Errors
    /// When the runtime refuses the archive.
    pub fn load_image(&self, archive: &Path) -> Result<(), Error> {
        self.cluster().load_image(archive)
    }

    /// `kubectl` for this cluster, ready for arguments.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        kubectl(&self.binaries, self.cluster())
    }

    /// Where the programs are, `kubectl` among them.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Lets the node run on after this process. [`Cluster::end`] ends it.
    ///
    /// # Errors
    /// When its supervisor is gone.
    pub fn detach(self) -> Result<Cluster, Error> {
        self.supervisor.detach()
    }
}

/// Gives the node directories of its own where components write whatever they are told. They go with its namespace.
fn hide_host_directories(supervisor: u32, keep: &[&Path]) -> Result<(), Error> {
    let hidden = |dir: &&str| keep.iter().all(|kept| !kept.starts_with(dir));
    // /run: shims, pods' network namespaces. /var/lib: CNI's results. /var/log: links to pods' logs.
    let dirs: Vec<&str> = ["/run", "/var/lib", "/var/log"].into_iter().filter(hidden).collect();
    // Shared among the node's own mounts only: volumes may ask for propagation.
    let script = "mount --make-rshared / && for dir; do mount -t tmpfs -o mode=0755 dev-cluster \"$dir\" || exit; done";
    let pid = supervisor.to_string();
    let mut args = vec!["--target", &pid, "--mount", "sh", "-c", script, "sh"];
    args.extend(dirs);
    run("mount the node's own directories", "nsenter", &args).map(drop)
}

/// Writes every certificate and configuration file.
fn configure(cluster: &Cluster, binaries: &Binaries, cable: Cable, kubelets: &[Kubelet]) -> Result<(), Error> {
    let authority = Authority::new(cluster)?;
    let server = format!("https://{}:{APISERVER_PORT}", cable.node);
    certificates(&authority, cable.node, APISERVER_PORT)?;
    authority.client("kubelet-client", "kube-apiserver-kubelet-client", Some("system:masters"))?;
    for component in ["kube-controller-manager", "kube-scheduler", "kube-proxy"] {
        authority.kubeconfig(component, &format!("system:{component}"), None, &server)?;
    }
    config::pod_network(cluster)?;
    for kubelet in kubelets {
        let user = format!("system:node:{}", kubelet.node_name(cluster));
        authority.kubeconfig(&kubelet.own("kubelet"), &user, Some("system:nodes"), &server)?;
        config::containerd(cluster, *kubelet)?;
        config::kubelet(cluster, *kubelet)?;
    }
    config::kube_proxy(cluster)?;
    cluster.write("host-ip", &cable.host.to_string())?;
    cluster.write("ctr", &binaries.path("ctr").to_string_lossy()).map(drop)
}

fn start_node_apiserver(supervisor: &mut Supervisor, binaries: &Binaries, cable: Cable) -> Result<(), Error> {
    let dir = supervisor.cluster().dir().display().to_string();
    let args = [
        // For `kubectl logs` and `exec`, which the API server passes on to the kubelet.
        format!("--kubelet-client-certificate={dir}/kubelet-client.crt"),
        format!("--kubelet-client-key={dir}/kubelet-client.key"),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
    ];
    start_apiserver(supervisor, binaries, cable.node, APISERVER_PORT, ETCD_PORTS.0, &args)
}

fn start_controllers(supervisor: &mut Supervisor, binaries: &Binaries) -> Result<(), Error> {
    let dir = supervisor.cluster().dir().display().to_string();
    let kubeconfig = |component: &str| format!("--kubeconfig={dir}/{component}.kubeconfig");
    let args = [
        kubeconfig("kube-controller-manager"),
        "--bind-address=127.0.0.1".to_owned(),
        // There is no second one: an election only costs time.
        "--leader-elect=false".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={dir}/service-account.key"),
        format!("--root-ca-file={dir}/ca.crt"),
        format!("--cluster-signing-cert-file={dir}/ca.crt"),
        format!("--cluster-signing-key-file={dir}/ca.key"),
        format!("--flex-volume-plugin-dir={dir}/volume-plugins"),
    ];
    supervisor.start("kube-controller-manager", &binaries.path("kube-controller-manager"), &args)?;
    let args = [kubeconfig("kube-scheduler"), "--bind-address=127.0.0.1".to_owned(), "--leader-elect=false".to_owned()];
    supervisor.start("kube-scheduler", &binaries.path("kube-scheduler"), &args)?;
    let config = format!("--config={dir}/kube-proxy.json");
    supervisor.start("kube-proxy", &binaries.path("kube-proxy"), &[config])
}

fn apply_addons(cluster: &Cluster, binaries: &Binaries) -> Result<(), Error> {
    let volumes = cluster.dir().join("volumes");
    fs::create_dir_all(&volumes).map_err(Error::io("create the directory of volumes"))?;
    let storage = include_str!("node/local-path.yaml").replace("@VOLUMES@", &volumes.to_string_lossy());
    let manifests = format!("{}---\n{storage}", include_str!("node/coredns.yaml"));
    let doing = "install cluster DNS and the storage class";
    let mut apply = kubectl(binaries, cluster);
    apply.args(["apply", "--server-side", "-f", "-"]).stdin(Stdio::piped());
    let mut child = apply.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(Error::io(doing))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(manifests.as_bytes()).map_err(Error::io(doing))?;
    }
    let out = child.wait_with_output().map_err(Error::io(doing))?;
    if out.status.success() {
        return Ok(());
    }
    let output = directories::last_lines(&String::from_utf8_lossy(&out.stderr), 20);
    Err(Error::Command { doing: doing.to_owned(), output })
}

/// Waits for the node, cluster DNS, and the account that pods run as.
fn wait_for_node(supervisor: &mut Supervisor, binaries: &Binaries, kubelets: &[Kubelet]) -> Result<(), Error> {
    let cluster = supervisor.cluster().clone();
    let nodes: Vec<_> = kubelets
        .iter()
        .map(|kubelet| (kubelet.own("kubelet"), format!("node/{}", kubelet.node_name(&cluster))))
        .collect();
    let nodes = nodes.iter().map(|(kubelet, node)| {
        (kubelet.as_str(), "the node to be Ready", ["default", node.as_str()], "condition=Ready")
    });
    let parts = [
        ("kubelet", "pods' service account", ["default", "serviceaccount/default"], "create"),
        ("kubelet", "cluster DNS", ["kube-system", "deployment/coredns"], "condition=Available"),
        ("kubelet", "storage", ["local-path-storage", "deployment/local-path-provisioner"], "condition=Available"),
    ];
    for (component, waiting_for, target, condition) in nodes.chain(parts) {
        supervisor.wait(component, waiting_for, Duration::from_secs(120), || {
            let mut wait = kubectl(binaries, &cluster);
            wait.args(["wait", "-n", target[0], target[1], "--timeout=1s", &format!("--for={condition}")]);
            output(waiting_for, &mut wait).is_ok()
        })?;
    }
    Ok(())
}
