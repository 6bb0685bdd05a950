//! What is published, who may publish where, and what a later look says.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use model_core::reason::Reason;
use model_loader::{Fault as Damage, FaultKind, Meter, verify};
use test_hub::{Fault, Rule};

use crate::world::{World, binary, entries, printed, reason, write};

#[tokio::test]
async fn a_second_run_ends_at_once_without_the_source() {
    let world = World::new();
    let first = world.pull("hf://acme/tiny").await.unwrap();
    world.hub.reset_stats();
    let second = world.pull("hf://acme/tiny").await.unwrap();
    assert_eq!(second, first);
    assert_eq!(world.hub.stats().total().requests, 0);
    world.assert_published(&world.served("hf/acme/tiny"));
}

#[tokio::test]
async fn an_empty_directory_is_taken_and_a_full_one_is_left_alone() {
    let world = World::new();
    fs::create_dir_all(world.target()).unwrap();
    world.pull("hf://acme/tiny").await.unwrap();
    world.assert_published(&world.served("hf/acme/tiny"));
    let error = world.pull("hf://acme/tiny@refs/pr/1").await.unwrap_err();
    assert_eq!((error.reason(), error.exit_code()), (Reason::WrongUse, 64), "other content is published there");
    world.assert_published(&world.served("hf/acme/tiny"));

    let world = World::new();
    write(&world.target().join("mine.txt"), b"precious");
    assert_eq!(reason(world.pull("hf://acme/tiny").await), Reason::WrongUse);
    assert_eq!(entries(&world.target()), ["mine.txt"]);
    assert_eq!(entries(world.target().parent().unwrap()), ["0123"]);
    let file = world.target().join("mine.txt");
    let run = binary().args(["pull", "--source", "hf://acme/tiny", "--to"]).arg(file).output().unwrap();
    assert_eq!(run.status.code(), Some(64), "{}", printed(&run));
}

#[tokio::test]
async fn damage_to_what_was_published_is_noticed_and_named() {
    let world = World::new();
    world.pull("hf://acme/tiny").await.unwrap();
    let dir = world.target();
    let check = || binary().arg("verify").arg(&dir).output().unwrap();
    let well = check();
    assert_eq!(well.status.code(), Some(0), "{}", printed(&well));
    assert!(well.stdout.is_empty());

    for opened in [dir.clone(), dir.join("onnx"), dir.join("model.safetensors")] {
        fs::set_permissions(opened, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut bytes = fs::read(dir.join("model.safetensors")).unwrap();
    bytes[1000] ^= 1;
    fs::write(dir.join("model.safetensors"), bytes).unwrap();
    fs::write(dir.join("onnx/extra.onnx"), b"").unwrap();
    let damage = |path: &str, kind| Damage { path: path.to_owned(), kind };
    let mut want = vec![damage("model.safetensors", FaultKind::Changed), damage("onnx/extra.onnx", FaultKind::Extra)];
    assert_eq!(verify(&dir, &Meter::default()).unwrap().faults, want);
    world.pull("hf://acme/tiny").await.expect("sizes are as published");

    fs::remove_file(dir.join("config.json")).unwrap();
    want.insert(0, damage("config.json", FaultKind::Missing));
    assert_eq!(verify(&dir, &Meter::default()).unwrap().faults, want);
    let ill = check();
    assert_eq!(ill.status.code(), Some(2));
    let lines = String::from_utf8(ill.stdout).unwrap();
    assert_eq!(lines, "missing config.json\nchanged model.safetensors\nextra onnx/extra.onnx\n");
    assert_eq!(reason(world.pull("hf://acme/tiny").await), Reason::ChecksumMismatch);
    let nothing = binary().arg("verify").arg(world.root.path()).output().unwrap();
    assert_eq!(nothing.status.code(), Some(64));
}

#[test]
fn two_loaders_at_one_directory_take_turns() {
    let world = World::new();
    let slow = Fault::Rate { bytes_per_second: 4 << 20 };
    world.hub.set_faults(vec![Rule::new(slow).path("*model.safetensors")]).unwrap();
    let start = || world.binary("hf://acme/tiny").spawn().unwrap();
    let runs = [start(), start(), start()].map(|child| child.wait_with_output().unwrap());
    for run in &runs {
        assert_eq!(run.status.code(), Some(0), "{}", printed(run));
    }
    world.assert_published(&world.served("hf/acme/tiny"));
    let cdn = world.hub.stats().containing("cdn ");
    assert_eq!(cdn.requests, 2, "each large file is fetched once");
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    for umask in ["000", "077"] {
        let world = World::new();
        let loader = world.binary("hf://acme/tiny");
        let mut shell = Command::new("sh");
        shell.env_clear().envs(world.env()).args(["-c", "umask $0; exec \"$@\"", umask]);
        let run = shell.arg(loader.get_program()).args(loader.get_args()).output().unwrap();
        assert_eq!(run.status.code(), Some(0), "{}", printed(&run));
        world.assert_published(&world.served("hf/acme/tiny"));
    }
}

#[test]
fn wrong_command_lines_are_wrong_use() {
    let world = World::new();
    let target = world.target();
    let target = target.to_str().unwrap();
    let url = format!("{}/files/model.gguf", world.hub.url());
    for args in [
        &["pull"][..],
        &["pull", "--source", "hf://acme/tiny"],
        &["pull", "--source", "nowhere", "--to", target],
        &["pull", "--source", &url, "--sha256", "abc", "--to", target],
        &["pull", "--source", "hf://acme/tiny", "--sha256", &"0".repeat(64), "--to", target],
        &["pull", "--source", "hf://acme/tiny", "--to", "/"],
        &["pull", "--source", "hf://acme/tiny", "--to", target, "--stall-timeout", "0"],
        &["push"],
        &[],
    ] {
        let run = binary().envs(world.env()).args(args).output().unwrap();
        assert_eq!(run.status.code(), Some(64), "{args:?} {}", printed(&run));
    }
    world.assert_nothing_published();
    for args in [&["--help"][..], &["--version"], &["pull", "--help"]] {
        assert_eq!(binary().args(args).output().unwrap().status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn each_flag_is_an_environment_variable_too() {
    let world = World::new();
    let log = world.root.path().join("log");
    let run = binary()
        .envs(world.env())
        .arg("pull")
        .env("MODEL_LOADER_SOURCE", "hf://acme/tiny")
        .env("MODEL_LOADER_TO", world.target())
        .env("MODEL_LOADER_INCLUDE", "*.json\nonnx/")
        .env("MODEL_LOADER_EXCLUDE", "onnx/*")
        .env("MODEL_LOADER_SHA256", "")
        .env("MODEL_LOADER_STALL_TIMEOUT", "5")
        .env("MODEL_LOADER_TERMINATION_LOG", &log)
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", printed(&run));
    assert!(log.exists());
    let mut want = world.served("hf/acme/tiny");
    want.retain(|path, _| path == "config.json");
    world.assert_published(&want);
}

#[test]
fn hostile_arguments_stay_data() {
    let world = World::new();
    for value in ["--to=/tmp/elsewhere", "$(touch /tmp/x)", "'; ls", "{{x}}", "-x"] {
        let run = world.binary("hf://acme/tiny").arg(format!("--include={value}")).output().unwrap();
        assert_eq!(run.status.code(), Some(2), "no file has that name: {}", printed(&run));
        world.assert_nothing_published();
    }
}
