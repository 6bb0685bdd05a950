//! What a later check of a published directory finds, and what it tells on the way.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use model_loader::{FaultKind, Meter, verify};

use crate::world::{LARGE, World, copy_binary, printed, write};

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
