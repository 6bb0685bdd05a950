//! Volumes as clusters have them: small, read-only, mounted at the target, owned by somebody else.
//!
//! Mounts are made in a mount namespace of their own, so nothing is left on this machine. Without root that needs user
//! namespaces.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use model_core::{
    reason::Reason,
    report::{Failure, Outcome},
};
use test_hub::{Fault, Rule, fixtures};

use crate::world::{World, entries, outcome, printed, wait_until};

/// Runs a shell script in a mount namespace. `$0` is a directory to mount at, `$1` the termination log, and the rest the
/// loader's command line.
fn with_mounts(world: &World, source: &str, target: &str, script: &str) -> Output {
    let volume = world.root.path().join("volume");
    fs::create_dir_all(&volume).unwrap();
    let root = rustix::process::geteuid().is_root();
    let mut command = Command::new("unshare");
    command.env_clear().envs(world.env()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.args(if root { &["--mount"][..] } else { &["--mount", "--map-root-user"] });
    command.args(["sh", "-euc", script]).arg(&volume).arg(log(world)).arg(env!("CARGO_BIN_EXE_model-loader"));
    command
        .args(["pull", "--source", source, "--to"])
        .arg(volume.join(target))
        .arg("--termination-log")
        .arg(log(world));
    command.output().unwrap()
}

fn log(world: &World) -> std::path::PathBuf {
    world.root.path().join("termination-log")
}

fn failure(world: &World) -> Failure {
    match outcome(&log(world)) {
        Outcome::Failed(failure) => failure,
        other => panic!("it did not fail: {other:?}"),
    }
}

/// Runs the loader on a file system of so many KiB and looks what is left there.
fn on_a_small_volume(world: &World, source: &str, kib: u32) -> Output {
    let script = format!(
        "mount -t tmpfs -o size={kib}k none \"$0\"; shift; code=0; \"$@\" || code=$?; cd \"$0\"; find . -type f; exit $code"
    );
    with_mounts(world, source, "m", &script)
}

#[test]
fn a_model_that_does_not_fit_is_refused_before_a_byte_is_fetched() {
    let world = World::new();
    let run = on_a_small_volume(&world, "hf://acme/tiny", 1024);
    assert_eq!(run.status.code(), Some(1), "{}", printed(&run));
    let failure = failure(&world);
    assert_eq!(failure.reason, Reason::DiskFull);
    assert!(
        failure.message.contains("bytes are needed") && failure.message.contains("are free"),
        "{}",
        failure.message
    );
    assert_eq!(world.hub.stats().containing("/resolve/").requests, 0);
}

/// The refresh has the same bytes with other digests, so that nothing can be linked.
#[test]
fn a_refresh_that_does_not_fit_takes_nothing_away() {
    let world = World::new();
    let script = "mount -t tmpfs -o size=3500k none \"$0\"; shift; loader=$1; code=0; \
                  \"$loader\" pull --source hf://acme/tiny --to \"$0/revisions/old\" >&2; \"$@\" || code=$?; \
                  \"$loader\" verify \"$0/revisions/old\" >&2; cd \"$0/revisions\"; ls -A; exit $code";
    let run = with_mounts(&world, "s3://models/tiny", "revisions/new", script);
    assert_eq!(run.status.code(), Some(1), "{}", printed(&run));
    let failure = failure(&world);
    assert_eq!(failure.reason, Reason::DiskFull);
    assert!(failure.message.contains("bytes are needed"), "{}", failure.message);
    assert!(printed(&run).contains("as published, 0 faults"), "{}", printed(&run));
    assert!(String::from_utf8_lossy(&run.stdout).ends_with(".new.partial\nold\n"), "{}", printed(&run));
    assert_eq!(world.hub.stats().containing("s3 /models/tiny/model.safetensors").bytes, 0);
}

#[test]
fn a_volume_that_runs_full_is_said_to_be_full() {
    let world = World::new();
    // Without ranges and Content-Length nobody knows the size before.
    world.hub.set_faults(vec![Rule::new(Fault::Truncate { after: u64::MAX }), Rule::new(Fault::IgnoreRange)]).unwrap();
    let run = on_a_small_volume(&world, &format!("{}/files/model.gguf", world.hub.url()), 1024);
    assert_eq!(run.status.code(), Some(1), "{}", printed(&run));
    assert_eq!(failure(&world).reason, Reason::DiskFull);
    assert!(!printed(&run).contains("model.gguf\n"), "nothing is published: {}", printed(&run));
}

/// Every file of a hub comes from another address, which may be asked for anew, but not for this.
#[test]
fn a_volume_that_somebody_else_fills_ends_the_download_and_costs_nothing() {
    let world = World::new();
    // One part, so that nothing else ends it.
    fixtures::random_file(&world.root.path().join("hf/acme/one/model.safetensors"), 7, 6 << 20).unwrap();
    world.hub.refresh();
    world.hub.set_faults(vec![Rule::new(Fault::Rate { bytes_per_second: 1 << 20 })]).unwrap();
    let script = "mount -t tmpfs -o size=16m none \"$0\"; shift; code=0; \"$@\" & loader=$!; \
                  until [ -n \"$(find \"$0\" -name '*.chunks' -size +0)\" ]; do sleep 0.1; done; \
                  cat /dev/zero >\"$0/filler\" || :; wait $loader || code=$?; \
                  [ $code != 0 ] && find \"$0\" -name '*.chunks' -size +0; rm \"$0/filler\"; exit $code";
    let run = with_mounts(&world, "hf://acme/one", "m", script);
    assert_eq!(run.status.code(), Some(1), "{}", printed(&run));
    let failure = failure(&world);
    assert_eq!(failure.reason, Reason::DiskFull, "{}", failure.message);
    assert!(failure.message.contains("No space left on device"), "{}", failure.message);
    assert!(String::from_utf8_lossy(&run.stdout).contains(".chunks"), "a later run goes on: {}", printed(&run));
}

#[test]
fn a_read_only_volume_is_a_failure_with_a_name() {
    let world = World::new();
    let script = "mount -t tmpfs -o ro none \"$0\"; shift; exec \"$@\"";
    let run = with_mounts(&world, "hf://acme/tiny", "m", script);
    assert_eq!(run.status.code(), Some(1), "{}", printed(&run));
    let failure = failure(&world);
    assert_eq!(failure.reason, Reason::VolumeNotWritable);
    assert!(failure.message.contains("Read-only file system"), "{}", failure.message);
    assert!(printed(&run).contains("fsGroup"), "says what to do: {}", printed(&run));
}

#[test]
fn a_volume_of_another_user_is_a_failure_with_a_name() {
    let world = World::new();
    if !rustix::process::geteuid().is_root() {
        // Without root there is no other user: a directory that its owner may not write stands for his.
        set_mode(world.volume(), 0o555);
    }
    let mut run = world.binary("hf://acme/tiny");
    if rustix::process::geteuid().is_root() {
        run = as_nobody(&world, "hf://acme/tiny");
        set_mode(world.volume(), 0o755);
    }
    let elsewhere = tempfile::tempdir().unwrap();
    set_mode(elsewhere.path(), 0o777);
    let log = elsewhere.path().join("termination-log");
    let run = run.arg("--termination-log").arg(&log).output().unwrap();
    set_mode(world.volume(), 0o777);
    assert_eq!(run.status.code(), Some(1), "{}", printed(&run));
    let Outcome::Failed(failure) = outcome(&log) else { panic!("it succeeded: {}", printed(&run)) };
    assert_eq!(failure.reason, Reason::VolumeNotWritable);
    assert!(failure.message.contains("Permission denied"), "{}", failure.message);
    world.assert_nothing_published();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn a_mount_point_is_filled_in_place() {
    let world = World::new();
    let copy = world.root.path().join("copy");
    let script = format!(
        "mount -t tmpfs none \"$0\"; mkdir \"$0/lost+found\"; shift; \"$@\"; \"$@\"; \"$1\" verify \"$0\"; \
         rmdir \"$0/lost+found\"; cp -a \"$0\" '{}'; chmod 555 '{}'",
        copy.display(),
        copy.display(),
    );
    let run = with_mounts(&world, "hf://acme/tiny", "", &script);
    assert_eq!(run.status.code(), Some(0), "{}", printed(&run));
    crate::world::assert_published(&copy, &world.served("hf/acme/tiny"));
}

#[test]
fn another_user_than_root_publishes_read_only_files_too() {
    let world = World::new();
    let mut run = world.binary("hf://acme/tiny");
    if rustix::process::geteuid().is_root() {
        run = as_nobody(&world, "hf://acme/tiny");
    }
    let first = run.output().unwrap();
    assert_eq!(first.status.code(), Some(0), "{}", printed(&first));
    world.assert_published(&world.served("hf/acme/tiny"));
    let second = run.output().unwrap();
    assert_eq!(second.status.code(), Some(0), "{}", printed(&second));
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(world.target()).unwrap());
    assert_ne!(owner, 0);
}

#[test]
fn a_file_that_was_made_read_only_by_a_killed_run_is_taken_up() {
    let world = World::big();
    let staging = world.target().with_file_name(".0123.partial");
    world.hub.set_faults(vec![Rule::new(Fault::Rate { bytes_per_second: 4 << 20 })]).unwrap();
    // Root may write to every file.
    let is_root = rustix::process::geteuid().is_root();
    let loader = || if is_root { as_nobody(&world, "hf://acme/big") } else { world.binary("hf://acme/big") };
    let mut child = loader().spawn().unwrap();
    wait_until("a part is recorded", || {
        let incoming = entries(&staging.join("incoming"));
        incoming.iter().any(|name| {
            name.ends_with(".chunks")
                && fs::metadata(staging.join("incoming").join(name)).is_ok_and(|file| file.len() > 0)
        })
    });
    child.kill().unwrap();
    child.wait().unwrap();
    for name in entries(&staging.join("incoming")).iter().filter(|name| !name.ends_with(".chunks")) {
        fs::set_permissions(staging.join("incoming").join(name), Permissions::from_mode(0o444)).unwrap();
    }
    world.hub.clear_faults();
    let run = loader().output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", printed(&run));
    world.assert_published(&world.served("hf/acme/big"));
}

#[test]
fn an_empty_root_file_system_is_enough() {
    let world = World::new();
    let root = world.root.path().join("image");
    crate::world::write(&root.join("etc/hosts"), b"127.0.0.1 hub.test\n");
    crate::world::copy_binary(&root.join("model-loader"));
    let mut command = Command::new("unshare");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.arg("--root").arg(&root).args(["/model-loader", "pull", "--source", "hf://acme/tiny", "--to", "/m"]);
    let run = command.env("HF_ENDPOINT", world.hub.url().replace("127.0.0.1", "hub.test")).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", printed(&run));
    crate::world::assert_published(&root.join("m"), &world.served("hf/acme/tiny"));
}

/// The loader under a user without any right of root.
fn as_nobody(world: &World, source: &str) -> Command {
    let loader = world.binary(source);
    // The build directory is not open to everybody.
    let program = world.volume().join("model-loader");
    crate::world::copy_binary(&program);
    let mut command = Command::new("setpriv");
    command.env_clear().envs(world.env()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.args(["--reuid=65532", "--regid=65532", "--clear-groups"]).arg(program).args(loader.get_args());
    command
}
