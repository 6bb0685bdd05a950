//! A cluster as it lies on disk: found, ended and swept by any process.

use std::{
    fs,
    fs::File,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest as _, Sha256};

use crate::{Error, cgroups, command, directories, directories::hex, node::RUNTIME_SOCKETS, supervisor};

/// How much of Kubernetes a cluster runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// etcd and the API server, on loopback.
    ControlPlane,
    /// A node with everything, in namespaces of its own.
    Node,
}

impl Size {
    /// The word used on the command line and on disk.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Node => "node",
        }
    }
}

/// A cluster's directory: everything it wrote, and the lock that its processes hold.
#[derive(Debug, Clone)]
pub struct Cluster {
    name: String,
    dir: PathBuf,
}

impl Cluster {
    /// The clusters that run, by name. Dead ones are not listed.
    ///
    /// # Errors
    /// When the directory of clusters cannot be read.
    pub fn running() -> Result<Vec<Self>, Error> {
        Ok(Self::all()?.into_iter().filter(Self::is_running).collect())
    }

    /// The running cluster of that name.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when there is none.
    pub fn find(name: &str) -> Result<Self, Error> {
        let found = Self::running()?.into_iter().find(|cluster| cluster.name == name);
        found.ok_or_else(|| Error::NotRunning(name.to_owned()))
    }

    /// The cluster's name, also the node's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster's directory; logs lie in `logs/`. It goes with the cluster.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    /// Whether this is a node or a control plane alone.
    #[must_use]
    pub fn size(&self) -> Size {
        let node = fs::read_to_string(self.dir.join("size")).is_ok_and(|size| size == Size::Node.as_str());
        if node { Size::Node } else { Size::ControlPlane }
    }

    /// This machine's address as seen from the node and its pods. `None` for a control plane alone.
    #[must_use]
    pub fn host_ip(&self) -> Option<IpAddr> {
        fs::read_to_string(self.dir.join("host-ip")).ok()?.parse().ok()
    }

    /// The process that owns all others of the cluster: killing it ends the cluster.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when the cluster is gone.
    pub fn supervisor_pid(&self) -> Result<u32, Error> {
        let text = fs::read_to_string(self.dir.join("supervisor.pid")).unwrap_or_default();
        text.trim().parse().map_err(|_| Error::NotRunning(self.name.clone()))
    }

    /// Loads an image archive (OCI layout or `docker save`) into every container runtime of the cluster.
    ///
    /// # Errors
    /// When the cluster runs no containers, or the runtime refuses the archive.
    pub fn load_image(&self, archive: &Path) -> Result<(), Error> {
        if self.size() != Size::Node {
            return Err(Error::NoContainers(self.name.clone()));
        }
        let ctr = fs::read_to_string(self.dir.join("ctr")).map_err(Error::io("read the cluster's path of ctr"))?;
        let archive = archive.to_string_lossy();
        let doing = format!("load the image {archive}");
        for socket in RUNTIME_SOCKETS.map(|socket| self.dir.join(socket)).iter().filter(|socket| socket.exists()) {
            let socket = socket.to_string_lossy();
            command::run(&doing, &ctr, &["-a", &socket, "-n", "k8s.io", "images", "import", &archive])?;
        }
        Ok(())
    }

    /// Kills a component, as the files in `components/` name them (`etcd`, `kubelet`, `kubelet-2`), and has it started again
    /// after so long, in whole seconds. Does not wait for that.
    ///
    /// # Errors
    /// When no such component runs, or it cannot be killed.
    pub fn take_away(&self, component: &str, away: Duration) -> Result<(), Error> {
        let doing = || format!("kill {component}");
        let pid = self.process_of(component).map_err(Error::io(doing()))?;
        // First, so that its end is expected.
        self.write(&format!("away/{component}"), &away.as_secs().to_string())?;
        kill_process(pid, Signal::KILL).map_err(|error| Error::io(doing())(error.into()))
    }

    /// Whether a component that was taken away is not started again yet.
    #[must_use]
    pub fn is_away(&self, component: &str) -> bool {
        self.dir.join("away").join(component).exists()
    }

    /// The process that a component's script became. Kubelets differ in their arguments only, and all name their directory.
    fn process_of(&self, component: &str) -> io::Result<Pid> {
        let none = || io::Error::new(io::ErrorKind::NotFound, format!("no {component} runs in {}", self.dir.display()));
        let script = fs::read_to_string(self.dir.join("components").join(component)).map_err(|_| none())?;
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
            else {
                continue;
            };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            if supervisor::script(line.trim_end_matches('\0').split('\0')) == script {
                return Ok(pid);
            }
        }
        Err(none())
    }

    /// Ends the cluster and removes all that it left.
    ///
    /// # Errors
    /// When its processes do not end or its files cannot be removed.
    pub fn end(&self) -> Result<(), Error> {
        self.wait_until("end", || {
            if !self.is_running() {
                return Ok(true);
            }
            // The lock is held, so the process of this number is still the supervisor.
            if let Some(pid) = self.supervisor_pid().ok().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
                let _already_gone = kill_process(pid, Signal::KILL);
            }
            Ok(false)
        })?;
        let _creating = lock_clusters()?;
        // Another process may have swept it meanwhile and even started the next of this name.
        if self.is_running() { Ok(()) } else { self.clean() }
    }

    /// Removes what dead clusters left. Every start does it too.
    ///
    /// # Errors
    /// When the directory of clusters cannot be read or locked.
    pub fn sweep() -> Result<(), Error> {
        let _creating = lock_clusters()?;
        Self::sweep_locked()
    }

    /// Makes a directory for a new cluster, and its log, which is its lock, already held.
    /// Sweeps what dead clusters left.
    pub(crate) fn create(name: Option<&str>, size: Size) -> Result<(Self, File), Error> {
        let name = match name {
            Some(name) if is_name(name) => name.to_owned(),
            Some(name) => return Err(Error::InvalidName(name.to_owned())),
            None => random_name(),
        };
        let _creating = lock_clusters()?;
        Self::sweep_locked()?;
        let clusters = directories::clusters()?;
        let cluster = Self { dir: clusters.join(&name), name };
        let doing = format!("create {}", cluster.dir.display());
        match fs::create_dir(&cluster.dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(Error::NameTaken(cluster.name)),
            result => result.map_err(Error::io(&doing))?,
        }
        let log = File::create(cluster.lock_path()).map_err(Error::io(&doing))?;
        log.lock().map_err(Error::io(&doing))?;
        for part in ["away", "components", "logs"] {
            fs::create_dir(cluster.dir.join(part)).map_err(Error::io(&doing))?;
        }
        cluster.write("size", size.as_str())?;
        Ok((cluster, log))
    }

    fn sweep_locked() -> Result<(), Error> {
        for dead in Self::all()?.iter().filter(|cluster| !cluster.is_running()) {
            // Tried again at the next start; not a reason to refuse this one.
            if let Err(error) = dead.clean() {
                eprintln!("dev-cluster: {error:?}");
            }
        }
        Ok(())
    }

    /// Writes a file of the cluster, readable by its owner only: many hold keys.
    pub(crate) fn write(&self, file: &str, content: &str) -> Result<PathBuf, Error> {
        use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
        let path = self.dir.join(file);
        let doing = format!("write {}", path.display());
        let mut file = File::options();
        let mut out =
            file.write(true).create(true).truncate(true).mode(0o600).open(&path).map_err(Error::io(&doing))?;
        out.write_all(content.as_bytes()).map_err(Error::io(doing))?;
        Ok(path)
    }

    /// Waits for the last processes of a cluster whose supervisor is gone, and removes its cgroups and its directory.
    pub(crate) fn clean(&self) -> Result<(), Error> {
        // The lock goes with the supervisor, a moment before the kernel has ended everything below it.
        self.wait_until("end the last processes of", || Ok(!self.has_processes()))?;
        self.unplug()?;
        self.wait_until("remove the cgroups of", || Ok(cgroups::remove(&self.name)))?;
        self.wait_until("remove the files of", || match fs::remove_dir_all(&self.dir) {
            // A killed process may finish one last write while its directory is removed.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(true),
        })
    }

    fn wait_until(&self, doing: &str, mut done: impl FnMut() -> io::Result<bool>) -> Result<(), Error> {
        let doing = || format!("{doing} cluster {}", self.name);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done().map_err(Error::io(doing()))? {
            if Instant::now() > deadline {
                return Err(Error::io(doing())(io::ErrorKind::TimedOut.into()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Whether any process is left in a node's PID namespace.
    fn has_processes(&self) -> bool {
        let Ok(namespace) = fs::read_to_string(self.dir.join("pid-namespace")) else { return false };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut namespaces = processes.filter_map(|process| fs::read_link(process.path().join("ns/pid")).ok());
        namespaces.any(|found| found.as_os_str() == namespace.as_str())
    }

    /// Removes a node's cable. The kernel does it too, but only once the last unfinished TCP connection of the node has
    /// timed out, and until then its addresses are taken.
    fn unplug(&self) -> Result<(), Error> {
        let cable = fs::read_to_string(self.dir.join("cable")).unwrap_or_default();
        let Some((name, index)) = cable.split_once(' ') else { return Ok(()) };
        // By number too: another node may have taken the name since.
        match fs::read_to_string(format!("/sys/class/net/{name}/ifindex")) {
            Ok(now) if now == index => {
                let removed = command::run("remove the node's cable", "ip", &["link", "delete", name]);
                if Path::new("/sys/class/net").join(name).exists() { removed.map(drop) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn all() -> Result<Vec<Self>, Error> {
        let clusters = directories::clusters()?;
        let doing = format!("list {}", clusters.display());
        let entries = match fs::read_dir(&clusters) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Error::io(&doing))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::io(&doing))?;
            if let Ok(name) = entry.file_name().into_string()
                && is_name(&name)
            {
                all.push(Self { name, dir: entry.path() });
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Whether any process of the cluster's supervisor holds the lock. The kernel lets go of it however they end.
    pub(crate) fn is_running(&self) -> bool {
        File::open(self.lock_path()).is_ok_and(|log| log.try_lock().is_err())
    }

    fn lock_path(&self) -> PathBuf {
        self.dir.join("supervisor.log")
    }
}

/// Held while a cluster's directory is made or swept: between a directory and its lock a sweeper would take the newcomer
/// for dead.
fn lock_clusters() -> Result<File, Error> {
    let clusters = directories::clusters()?;
    fs::create_dir_all(&clusters).map_err(Error::io(format!("create {}", clusters.display())))?;
    let lock = File::create(clusters.join(".lock")).map_err(Error::io("create the lock of clusters"))?;
    lock.lock().map_err(Error::io("lock the directory of clusters"))?;
    Ok(lock)
}

/// Names become node names and parts of socket paths, which hold 108 bytes.
fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

fn random_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = format!("{} {:?} {now:?}", std::process::id(), thread::current().id());
    format!("t-{}", &hex(&Sha256::digest(seed))[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for (name, good) in [("dev", true), ("a-1", true), ("", false), ("-a", false), ("A", false), ("a.b", false)] {
            assert_eq!(is_name(name), good, "{name:?}");
        }
        assert!(is_name(&random_name()));
    }
}
