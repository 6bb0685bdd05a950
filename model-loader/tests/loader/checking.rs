//! What a later check of a published directory finds, and what it tells on the way.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use model_core::report::{CheckedFile, FileState, Outcome, Progress, Verified};
use model_loader::{FaultKind, Meter, verify};

use crate::world::{LARGE, World, binary, copy_binary, outcome, printed, write};

#[tokio::test]
async fn every_byte_is_read_again_and_counted() {
    let world = World::new();
    // More files than threads.
    for number in 0..40 {
        write(&world.root.path().join(format!("hf/acme/tiny/many/{number}.json")), format!("{number}").as_bytes());
    }
    let published = world.pull("hf://acme/tiny").await.unwrap();
    let meter = Meter::default();
    let found = verify(&world.target(), &meter).unwrap();
    assert_eq!(found.faults, []);
    let progress = meter.progress();
    assert_eq!((progress.files, progress.total_files, progress.percent()), (45, Some(45), Some(100)));
    assert_eq!(meter.totals().verified_bytes, published.bytes);

    let file = world.target().join("model.safetensors");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let meter = Meter::default();
    let found = verify(&world.target(), &meter).unwrap();
    assert_eq!(found.faults.iter().map(|fault| fault.kind).collect::<Vec<_>>(), [FaultKind::Changed]);
    assert_eq!(meter.totals().verified_bytes, published.bytes - LARGE);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named_and_the_others_are_checked() {
    let world = World::new();
    world.pull("hf://acme/tiny").await.unwrap();
    let dir = world.target();
    fs::set_permissions(dir.join("model.safetensors"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(dir.join("onnx"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(dir.join("onnx/model.onnx")).unwrap();
    let program = world.volume().join("model-loader");
    copy_binary(&program);
    let mut command = Command::new("setpriv");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid=65532", "--regid=65532", "--clear-groups"]);
    }
    let run = command.arg(program).arg("verify").arg(&dir).output().unwrap();
    assert_eq!(run.status.code(), Some(2), "{}", printed(&run));
    let faults = String::from_utf8_lossy(&run.stdout).into_owned();
    assert_eq!(faults, "unreadable model.safetensors\nmissing onnx/model.onnx\n", "{}", printed(&run));
    assert!(printed(&run).contains("Permission denied"), "{}", printed(&run));
}

/// What a Job's log and termination message hold.
#[tokio::test]
async fn every_file_is_a_line_for_programs_and_the_sums_are_left_behind() {
    let world = World::new();
    let published = world.pull("hf://acme/tiny").await.unwrap();
    let log = world.root.path().join("termination-log");
    let check = |code: i32| {
        let mut command = binary();
        command.args(["verify", "--json"]).arg(world.target()).arg(format!("--termination-log={}", log.display()));
        let run = command.output().unwrap();
        assert_eq!(run.status.code(), Some(code), "{}", printed(&run));
        let text = String::from_utf8(run.stdout).unwrap();
        let files: Vec<CheckedFile> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let Outcome::Verified(verified) = outcome(&log) else { panic!("{}", fs::read_to_string(&log).unwrap()) };
        (Progress::newest_in(&text).unwrap(), files, verified)
    };
    let (progress, files, verified) = check(0);
    assert_eq!((progress.percent(), files.len()), (Some(100), 5));
    assert!(files.iter().all(|file| file.state == FileState::Ok && file.bytes.is_some()), "{files:?}");
    let whole = Verified { bytes: published.bytes, files: 5, fault_count: 0, faults: Vec::new() };
    assert_eq!(verified, whole);

    let dir = world.target();
    for path in [dir.clone(), dir.join("onnx")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::remove_file(dir.join("onnx/model.onnx")).unwrap();
    fs::write(dir.join("zzz"), "x").unwrap();
    let (_, files, verified) = check(2);
    let states: Vec<_> = files.iter().filter(|file| file.state != FileState::Ok).cloned().collect();
    assert_eq!(
        states.iter().map(|file| (file.file.as_str(), file.state)).collect::<Vec<_>>(),
        [("onnx/model.onnx", FileState::Missing), ("zzz", FileState::Extra)]
    );
    assert_eq!(verified, Verified { fault_count: 2, faults: states, ..whole });

    fs::remove_file(&log).unwrap();
    let run =
        binary().arg("verify").arg(world.root.path()).arg(format!("--termination-log={}", log.display())).output();
    assert_eq!(run.unwrap().status.code(), Some(64));
    assert!(matches!(outcome(&log), Outcome::Failed(_)));
}
