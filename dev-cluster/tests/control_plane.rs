//! A control plane alone: it answers, two do not meet, and none outlives its owner.

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use dev_cluster::{Binaries, Cluster, ControlPlane};
use support::{eventually, kill_9, output, processes};

fn dev_cluster() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dev-cluster"))
}

#[test]
fn two_stand_side_by_side_and_a_killed_one_leaves_nothing() {
    let first = ControlPlane::start().expect("the first starts");
    let second = ControlPlane::start().expect("the second starts");
    output(first.kubectl().args(["create", "configmap", "mine", "--from-literal=a=b"]));
    let seen = |cluster: &ControlPlane| output(cluster.kubectl().args(["get", "configmaps", "-o", "name"]));
    assert!(seen(&first).contains("configmap/mine"));
    assert!(!seen(&second).contains("configmap/mine"), "each has its own objects");

    let dir = first.cluster().dir().to_owned();
    assert!(processes(&dir).len() > 2, "etcd and kube-apiserver run");
    kill_9(first.cluster().supervisor_pid().expect("it runs"));
    eventually("its components end with the supervisor", || processes(&dir).is_empty());
    // Another test that starts a process at this moment holds the lock until that runs.
    eventually("it counts as gone", || Cluster::find(first.name()).is_err());

    let third = ControlPlane::start().expect("a third starts");
    assert!(!dir.exists(), "the next start sweeps what the killed one left");
    let dirs = [&second, &third].map(|cluster| cluster.cluster().dir().to_owned());
    drop((second, third));
    for dir in dirs {
        assert!(!dir.exists(), "one that ends in order leaves nothing to sweep");
        eventually("no process is left", || processes(&dir).is_empty());
    }
}

#[test]
fn a_component_comes_back_after_it_was_taken_away() {
    let plane = ControlPlane::start().expect("it starts");
    output(plane.kubectl().args(["create", "configmap", "kept", "--from-literal=a=b"]));
    for component in ["kube-apiserver", "etcd"] {
        plane.cluster().take_away(component, Duration::from_secs(1)).expect("it runs");
        eventually("it answers again", || {
            let asked =
                plane.kubectl().args(["get", "configmap", "kept", "-o", "name"]).output().expect("kubectl runs");
            !plane.cluster().is_away(component) && String::from_utf8_lossy(&asked.stdout).contains("configmap/kept")
        });
    }
    assert!(plane.cluster().take_away("kubelet", Duration::ZERO).is_err(), "there is none");
}

#[test]
fn it_ends_with_a_killed_owner() {
    let mut owner = dev_cluster()
        .args(["run", "--control-plane", "--", "sh", "-c", "echo $KUBECONFIG; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("dev-cluster starts");
    let mut kubeconfig = String::new();
    BufReader::new(owner.stdout.take().expect("piped")).read_line(&mut kubeconfig).expect("the command runs");
    let kubeconfig = PathBuf::from(kubeconfig.trim());
    let dir = kubeconfig.parent().expect("it lies in the cluster's directory");
    assert!(!processes(dir).is_empty());
    kill_9(owner.id());
    eventually("the cluster ends with its owner", || processes(dir).is_empty());
    owner.wait().expect("it was ours");
}

#[test]
fn run_returns_the_commands_exit_code() {
    let status = dev_cluster()
        .args(["run", "--control-plane", "--", "sh", "-c", "kubectl get --raw /readyz && exit 42"])
        .status()
        .expect("dev-cluster starts");
    assert_eq!(status.code(), Some(42));
}

#[test]
fn a_component_that_fails_is_named_and_quoted() {
    let real = Binaries::control_plane().expect("the programs are there");
    let home = tempfile::tempdir().expect("a directory");
    for program in ["etcd", "kubectl"] {
        symlink(real.path(program), home.path().join(program)).expect("a link");
    }
    let broken = home.path().join("kube-apiserver");
    fs::write(&broken, "#!/bin/sh\necho 'unknown flag: --frobnicate'\nexit 7\n").expect("a script");
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).expect("a mode");
    let out = dev_cluster()
        .args(["up", "--control-plane", "broken"])
        .envs([("KUBEBUILDER_ASSETS", home.path()), ("XDG_STATE_HOME", home.path())])
        .output()
        .expect("dev-cluster starts");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success());
    assert!(said.contains("kube-apiserver ended with exit status 7"), "{said}");
    assert!(said.contains("unknown flag: --frobnicate"), "{said}");
    let left: Vec<_> = fs::read_dir(home.path().join("model-platform/dev-cluster")).expect("a directory").collect();
    assert_eq!(left.len(), 1, "only the lock file is left: {left:?}");
}
