//! etcd and the API server: enough for objects, schemas, admission and watches.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{Binaries, Cluster, Error, Size, command, pki::Authority, supervisor::Supervisor};

/// The first address of the service range: the API server as pods see it.
pub(crate) const KUBERNETES_SERVICE_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

const SERVICE_RANGE: &str = "10.96.0.0/16";

/// An API server with its etcd on loopback, without nodes and controllers. Ends when dropped or when its process dies.
///
/// Needs no root. Nothing runs pods, collects garbage, fills service accounts or finishes the deletion of namespaces.
#[derive(Debug)]
pub struct ControlPlane {
    supervisor: Supervisor,
    binaries: Binaries,
    kubeconfig: PathBuf,
}

impl ControlPlane {
    /// Starts a control plane with a name of its own and waits until it answers. Blocks for some seconds; the first
    /// time on a machine it builds the programs before.
    ///
    /// # Errors
    /// When the programs cannot be built or a component does not come up; the error then shows its log.
    pub fn start() -> Result<Self, Error> {
        Self::start_named(None)
    }

    /// Like [`ControlPlane::start`], with a chosen name.
    ///
    /// # Errors
    /// As [`ControlPlane::start`], and when the name is taken.
    pub fn start_named(name: Option<&str>) -> Result<Self, Error> {
        let binaries = Binaries::control_plane()?;
        let mut attempts = 1;
        loop {
            match Self::start_once(name, &binaries) {
                // Between being found free and being used, a port can be taken by somebody else.
                Err(Error::ComponentEnded { log, .. }) if attempts < 3 && log.contains("address already in use") => {
                    attempts += 1;
                }
                result => return result,
            }
        }
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The cluster's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.supervisor.cluster().name()
    }

    /// The cluster's place on disk.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        self.supervisor.cluster()
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

    /// Lets the control plane run on after this process. [`Cluster::end`] ends it.
    ///
    /// # Errors
    /// When its supervisor is gone.
    pub fn detach(self) -> Result<Cluster, Error> {
        self.supervisor.detach()
    }

    fn start_once(name: Option<&str>, binaries: &Binaries) -> Result<Self, Error> {
        let (cluster, lock) = Cluster::create(name, Size::ControlPlane)?;
        let mut supervisor = Supervisor::spawn(cluster, &lock, binaries)?;
        drop(lock);
        let cluster = supervisor.cluster().clone();
        let [client, peer, secure] = free_ports().map_err(Error::io("find free ports on loopback"))?;
        let address = Ipv4Addr::LOCALHOST;
        certificates(&Authority::new(&cluster)?, address, secure)?;
        start_etcd(&mut supervisor, binaries, client, peer)?;
        // Nobody fills service accounts here, and the plugin would refuse every pod.
        let alone = ["--disable-admission-plugins=ServiceAccount".to_owned()];
        start_apiserver(&mut supervisor, binaries, address, secure, client, &alone)?;
        wait_for_apiserver(&mut supervisor, binaries)?;
        Ok(Self { supervisor, binaries: binaries.clone(), kubeconfig: cluster.kubeconfig() })
    }
}

/// The certificates that every size needs; the administrator's kubeconfig among them.
pub(crate) fn certificates(authority: &Authority, address: Ipv4Addr, port: u16) -> Result<(), Error> {
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let addresses = [address, Ipv4Addr::LOCALHOST, KUBERNETES_SERVICE_IP].map(IpAddr::V4);
    authority.server("kube-apiserver", &names, &addresses)?;
    authority.service_account_key()?;
    authority.kubeconfig("admin", "admin", Some("system:masters"), &format!("https://{address}:{port}"))
}

pub(crate) fn start_etcd(
    supervisor: &mut Supervisor,
    binaries: &Binaries,
    client: u16,
    peer: u16,
) -> Result<(), Error> {
    let args = [
        format!("--data-dir={}/etcd", supervisor.cluster().dir().display()),
        format!("--listen-client-urls=http://127.0.0.1:{client}"),
        format!("--advertise-client-urls=http://127.0.0.1:{client}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
        // The data lives no longer than the cluster: no need to wait for the disk.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    supervisor.start("etcd", &binaries.path("etcd"), &args)
}

pub(crate) fn start_apiserver(
    supervisor: &mut Supervisor,
    binaries: &Binaries,
    address: Ipv4Addr,
    port: u16,
    etcd: u16,
    more: &[String],
) -> Result<(), Error> {
    let dir = supervisor.cluster().dir().display().to_string();
    let mut args = vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        format!("--bind-address={address}"),
        format!("--advertise-address={address}"),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={dir}/kube-apiserver.crt"),
        format!("--tls-private-key-file={dir}/kube-apiserver.key"),
        format!("--client-ca-file={dir}/ca.crt"),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={dir}/service-account.pub"),
        format!("--service-account-signing-key-file={dir}/service-account.key"),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        // The second as on OpenShift: who makes children that block their owner's deletion needs a right to it.
        "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement".to_owned(),
        "--allow-privileged=true".to_owned(),
    ];
    args.extend_from_slice(more);
    supervisor.start("kube-apiserver", &binaries.path("kube-apiserver"), &args)
}

pub(crate) fn wait_for_apiserver(supervisor: &mut Supervisor, binaries: &Binaries) -> Result<(), Error> {
    let cluster = supervisor.cluster().clone();
    supervisor.wait("kube-apiserver", "its /readyz", Duration::from_secs(90), || {
        let mut probe = kubectl(binaries, &cluster);
        command::output("ask for /readyz", probe.args(["get", "--raw", "/readyz"])).is_ok()
    })
}

/// `kubectl` as the cluster's administrator. Its cache goes with the cluster.
pub(crate) fn kubectl(binaries: &Binaries, cluster: &Cluster) -> Command {
    let mut command = Command::new(binaries.path("kubectl"));
    command.env("KUBECONFIG", cluster.kubeconfig());
    command.env("KUBECACHEDIR", cluster.dir().join("kubectl-cache"));
    command
}

/// Three ports nobody listens on. Bound together, so they differ.
fn free_ports() -> io::Result<[u16; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let bound = [bind()?, bind()?, bind()?];
    let [a, b, c] = bound.each_ref().map(|listener| listener.local_addr().map(|address| address.port()));
    Ok([a?, b?, c?])
}
