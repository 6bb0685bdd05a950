//! The cluster's programs: built once from pinned Go modules into a cache, then only looked up.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use sha2::{Digest as _, Sha256};

use crate::{Error, directories};

/// The Kubernetes version that is built. The version in `binaries/kubernetes/go.mod` is the same one.
pub const KUBERNETES_VERSION: &str = "v1.36.3";

/// Files of Go modules by path: embedded, so that the cache key and what is compiled cannot differ.
type Sources = [(&'static str, &'static str)];

/// The cluster's own modules.
const CLUSTER: &Sources = &[
    ("containerd/go.mod", include_str!("../binaries/containerd/go.mod")),
    ("containerd/go.sum", include_str!("../binaries/containerd/go.sum")),
    ("kubernetes/go.mod", include_str!("../binaries/kubernetes/go.mod")),
    ("kubernetes/go.sum", include_str!("../binaries/kubernetes/go.sum")),
    ("kubernetes/coredns/main.go", include_str!("../binaries/kubernetes/coredns/main.go")),
];

/// Helm stands alone: what it shares with Kubernetes it wants in other versions, and its update rebuilds no cluster.
const HELM: &Sources = &[
    ("helm/go.mod", include_str!("../binaries/helm/go.mod")),
    ("helm/go.sum", include_str!("../binaries/helm/go.sum")),
];

/// cert-manager, of which only the module is to be had that its commands are put together from.
const CERT_MANAGER: &Sources = &[
    ("cert-manager/go.mod", include_str!("../binaries/cert-manager/go.mod")),
    ("cert-manager/go.sum", include_str!("../binaries/cert-manager/go.sum")),
    ("cert-manager/main.go", include_str!("../binaries/cert-manager/main.go")),
];

/// The kubelet and `kubectl version` report what the linker put here.
const KUBERNETES_LDFLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 \
     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36";

/// The left-out snapshotters need C headers or are of no use here.
const CONTAINERD_TAGS: &str = "-tags=no_aufs,no_btrfs,no_devmapper,no_zfs";

/// Nothing from outside of the pinned modules.
const GO: [(&str, &str); 3] = [("CGO_ENABLED", "0"), ("GOWORK", "off"), ("GOFLAGS", "-mod=readonly")];

/// One program: its name, the module it is built in, its package.
type Program = (&'static str, &'static str, &'static str);

/// What a control plane alone needs; also what a `KUBEBUILDER_ASSETS` directory holds.
const CONTROL_PLANE: [Program; 3] = [
    ("etcd", "kubernetes", "go.etcd.io/etcd/server/v3"),
    ("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl"),
];

/// What a node needs besides the control plane.
const NODE: [Program; 9] = [
    ("kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    ("kube-scheduler", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler"),
    ("kubelet", "kubernetes", "k8s.io/kubernetes/cmd/kubelet"),
    ("kube-proxy", "kubernetes", "k8s.io/kubernetes/cmd/kube-proxy"),
    ("coredns", "kubernetes", "./coredns"),
    ("local-path-provisioner", "kubernetes", "github.com/rancher/local-path-provisioner"),
    ("containerd", "containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
    ("containerd-shim-runc-v2", "containerd", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
    ("ctr", "containerd", "github.com/containerd/containerd/v2/cmd/ctr"),
];

/// A directory that holds the programs.
#[derive(Debug, Clone)]
pub struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// The programs of a control plane alone: those in the directory `KUBEBUILDER_ASSETS` names, else built ones.
    ///
    /// # Errors
    /// As [`Binaries::node`].
    pub fn control_plane() -> Result<Self, Error> {
        match env::var_os("KUBEBUILDER_ASSETS") {
            Some(dir) => Self::given(dir.into()),
            None => Ok(Self { dir: built(CLUSTER, &CONTROL_PLANE)? }),
        }
    }

    /// All programs of a node. Builds those that are not in the cache yet and says so on standard error:
    /// about ten minutes and 0.7 GB the first time, on two cores.
    ///
    /// # Errors
    /// When there is no Go toolchain, a program does not compile, or the cache cannot be written.
    pub fn node() -> Result<Self, Error> {
        let all: Vec<Program> = CONTROL_PLANE.into_iter().chain(NODE).collect();
        Ok(Self { dir: built(CLUSTER, &all)? })
    }

    /// Where the programs are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of one program.
    #[must_use]
    pub fn path(&self, program: &str) -> PathBuf {
        self.dir.join(program)
    }

    fn given(dir: PathBuf) -> Result<Self, Error> {
        for (program, ..) in CONTROL_PLANE {
            let path = dir.join(program);
            fs::metadata(&path).map_err(Error::io(format!("use {} (from KUBEBUILDER_ASSETS)", path.display())))?;
        }
        Ok(Self { dir })
    }
}

/// The path of `helm`. Builds it if it is not in the cache yet: about a minute, on two cores.
///
/// # Errors
/// As [`Binaries::node`].
pub fn helm() -> Result<PathBuf, Error> {
    Ok(built(HELM, &[("helm", "helm", "helm.sh/helm/v4/cmd/helm")])?.join("helm"))
}

/// cert-manager, as a process beside a cluster.
#[derive(Debug, Clone)]
pub struct CertManager {
    /// The program: its one argument is a kubeconfig.
    pub program: PathBuf,
    /// The directory of its CRDs, which have to be applied before it starts.
    pub definitions: PathBuf,
}

/// cert-manager's controllers and its injector. Builds them if they are not in the cache yet: about five minutes, on two
/// cores.
///
/// # Errors
/// As [`Binaries::node`].
pub fn cert_manager() -> Result<CertManager, Error> {
    let bin = built(CERT_MANAGER, &[("cert-manager", "cert-manager", ".")])?;
    // Beside the program lie the sources that it was built from.
    let module = bin.with_file_name("src").join("cert-manager");
    let mut go = Command::new("go");
    go.args(["list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager"]).current_dir(module);
    let out = go.envs(GO).stdin(Stdio::null()).output().map_err(Error::NoGo)?;
    let folder = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    if !out.status.success() || folder.is_empty() {
        let output = directories::last_lines(&String::from_utf8_lossy(&out.stderr), 30);
        return Err(Error::Build { binary: "cert-manager", output });
    }
    Ok(CertManager { program: bin.join("cert-manager"), definitions: Path::new(&folder).join("deploy/crds") })
}

/// The directory with these programs, built if they are not in the cache yet.
fn built(sources: &Sources, programs: &[Program]) -> Result<PathBuf, Error> {
    let root = directories::cache()?.join(key(sources));
    let bin = root.join("bin");
    let missing =
        || -> Vec<Program> { programs.iter().copied().filter(|(name, ..)| !bin.join(name).exists()).collect() };
    if missing().is_empty() {
        return Ok(bin);
    }
    fs::create_dir_all(&bin).map_err(Error::io(format!("create {}", bin.display())))?;
    let lock = File::create(root.join("lock")).map_err(Error::io("create the build lock"))?;
    if lock.try_lock().is_err() {
        eprintln!("dev-cluster: another process builds the cluster's programs; waiting for it");
        lock.lock().map_err(Error::io("wait for the build lock"))?;
    }
    write_sources(sources, &root.join("src"))?;
    build_all(&root, &missing())?;
    Ok(bin)
}

/// Names the cache directory: any change of what is built, or how, gives another one.
fn key(sources: &Sources) -> String {
    let mut hash = Sha256::new();
    for (path, text) in sources {
        hash.update(format!("{path}\0{}\0{text}", text.len()));
    }
    hash.update(format!("{KUBERNETES_LDFLAGS}\0{CONTAINERD_TAGS}\0{}", env::consts::ARCH));
    directories::hex(&hash.finalize()[..8])
}

fn write_sources(sources: &Sources, dir: &Path) -> Result<(), Error> {
    for (path, text) in sources {
        let path = dir.join(path);
        let doing = format!("write {}", path.display());
        fs::create_dir_all(path.parent().unwrap_or(dir)).map_err(Error::io(&doing))?;
        fs::write(&path, text).map_err(Error::io(&doing))?;
    }
    Ok(())
}

fn build_all(root: &Path, missing: &[Program]) -> Result<(), Error> {
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|(name, ..)| *name).collect();
    eprintln!(
        "dev-cluster: building {} once, into {}; on two cores a few minutes, about ten for a whole node",
        names.join(", "),
        root.display(),
    );
    remove_unfinished(&root.join("bin"))?;
    let start = Instant::now();
    for (done, program) in missing.iter().enumerate() {
        eprintln!(
            "dev-cluster: [{:>2}/{}] {} ({} s so far)",
            done + 1,
            missing.len(),
            program.0,
            start.elapsed().as_secs()
        );
        build(root, *program)?;
    }
    eprintln!("dev-cluster: built in {} s", start.elapsed().as_secs());
    Ok(())
}

/// Removes what killed builds left. Called under the build lock.
fn remove_unfinished(bin: &Path) -> Result<(), Error> {
    let doing = "remove what a killed build left";
    for entry in fs::read_dir(bin).map_err(Error::io(doing))? {
        let entry = entry.map_err(Error::io(doing))?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            fs::remove_file(entry.path()).map_err(Error::io(doing))?;
        }
    }
    Ok(())
}

/// Builds one program beside its place and renames it there: a killed build leaves nothing that looks finished.
fn build(root: &Path, (binary, module, package): Program) -> Result<(), Error> {
    // With a number: a compiler whose parent was killed may still write its own.
    let unfinished = root.join("bin").join(format!(".{binary}.{}", std::process::id()));
    let mut go = Command::new("go");
    go.args(["build", "-trimpath", "-buildvcs=false", "-o"]).arg(&unfinished);
    match module {
        "containerd" => go.args(["-ldflags", "-s -w", CONTAINERD_TAGS]),
        "helm" | "cert-manager" => go.args(["-ldflags", "-s -w"]),
        _ => go.args(["-ldflags", KUBERNETES_LDFLAGS]),
    };
    let out = go
        .arg(package)
        .current_dir(root.join("src").join(module))
        .envs(GO)
        .stdin(Stdio::null())
        .output()
        .map_err(Error::NoGo)?;
    if !out.status.success() {
        let output = directories::last_lines(&String::from_utf8_lossy(&out.stderr), 30);
        return Err(Error::Build { binary, output });
    }
    let place = root.join("bin").join(binary);
    fs::rename(&unfinished, &place).map_err(Error::io(format!("put {} in place", place.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_told_is_the_version_built() {
        assert!(CLUSTER[2].1.contains(&format!("\tk8s.io/kubernetes {KUBERNETES_VERSION}\n")));
        assert!(KUBERNETES_LDFLAGS.contains(&format!("gitVersion={KUBERNETES_VERSION} ")));
    }
}
