//! How the binary ends: a result in the termination message, whatever happens.

use std::{os::unix::process::ExitStatusExt as _, process::Command};

use model_core::{
    reason::Reason,
    report::{Failure, MAX_OUTCOME_BYTES, Outcome, Progress},
};

use crate::world::{World, binary, copy_binary, outcome, printed};

fn failure(file: &std::path::Path) -> Failure {
    assert!(std::fs::metadata(file).unwrap().len() <= MAX_OUTCOME_BYTES as u64);
    match outcome(file) {
        Outcome::Failed(failure) => failure,
        other => panic!("it did not fail: {other:?}"),
    }
}

#[test]
fn the_last_line_has_the_totals() {
    let world = World::new();
    let run = world.binary("hf://acme/tiny").output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", printed(&run));
    let text = String::from_utf8(run.stdout.clone()).unwrap();
    let last = text.lines().last().unwrap();
    assert_eq!(Progress::parse(last).unwrap().percent(), Some(100));
    let json: serde_json::Value = serde_json::from_str(last).unwrap();
    for field in ["receivedBytes", "receivedAgainBytes", "verifiedBytes"] {
        assert!(json["totals"][field].is_u64(), "{field} in {last}");
    }
    for field in ["planSeconds", "fetchSeconds", "publishSeconds"] {
        assert!(json["totals"][field].is_f64(), "{field} in {last}");
    }
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(said.contains("done: 5 files, 2.19 MiB in ") && said.contains(" s, all verified"), "{said}");
}

#[test]
fn a_wrong_command_line_leaves_a_result_too() {
    let world = World::new();
    let log = world.root.path().join("termination-log");
    let log_text = log.to_str().unwrap();
    let given = format!("--termination-log={log_text}");
    for (args, env) in [
        (vec!["pull", &given, "--sorce", "hf://o/r"], ""),
        (vec!["pull", "--termination-log", log_text], ""),
        (vec!["pull", "--to", "/x", "https://u:s3cret@host/m?sig=s3cret"], log_text),
        (vec!["pull", "--to", "/x", "--source", "ftp://u:s3cret@host/m"], log_text),
        (vec![], log_text),
        (vec!["pull", &given, "--to", "/x", "--source", "hf://o/r", "--stall-timeout", &"9".repeat(9000)], ""),
    ] {
        let mut command = binary();
        if !env.is_empty() {
            command.env("MODEL_LOADER_TERMINATION_LOG", env);
        }
        let run = command.args(&args).output().unwrap();
        assert_eq!(run.status.code(), Some(64), "{args:?}: {}", printed(&run));
        let failure = failure(&log);
        assert_eq!(failure.reason, Reason::WrongUse, "{args:?}");
        assert!(!failure.message.is_empty(), "{args:?}");
        assert!(!printed(&run).contains("s3cret") && !failure.message.contains("s3cret"), "{}", printed(&run));
        std::fs::remove_file(&log).unwrap();
    }
    let help = binary().args(["--help"]).env("MODEL_LOADER_TERMINATION_LOG", &log).output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    assert!(!log.exists(), "to ask for help is no failure");
}

/// Without a single thread the runtime panics.
#[test]
fn a_panic_leaves_a_result_and_may_be_tried_again() {
    let world = World::new();
    let log = world.volume().join("termination-log");
    let mut loader = world.binary("hf://acme/tiny");
    loader.arg("--termination-log").arg(&log);
    let mut command = Command::new("setpriv");
    command.env_clear().envs(world.env()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    if rustix::process::geteuid().is_root() {
        // The limit does not hold for root; and the build directory is not open to everybody.
        command.args(["--reuid=64123", "--regid=64123", "--clear-groups"]);
    }
    let program = world.volume().join("model-loader");
    copy_binary(&program);
    command.args(["prlimit", "--nproc=1:1"]).arg(&program).args(loader.get_args());
    let run = command.output().unwrap();
    assert_eq!(run.status.signal(), None, "{}", printed(&run));
    assert_eq!(run.status.code(), Some(1), "{}", printed(&run));
    let failure = failure(&log);
    assert_eq!(failure.reason, Reason::DownloadFailed);
    assert!(failure.message.contains("thread"), "{}", failure.message);
    world.assert_nothing_published();
}

/// Whoever reads the output may go away: no reason to stop a download.
#[test]
fn output_that_nobody_takes_does_not_matter() {
    let world = World::new();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = world.binary("hf://acme/tiny").stdout(full()).stderr(full()).output().unwrap();
    assert_eq!(run.status.code(), Some(0));
    world.assert_published(&world.served("hf/acme/tiny"));
    let check = binary().arg("verify").arg(world.target()).stdout(full()).stderr(full()).output().unwrap();
    assert_eq!(check.status.code(), Some(0));
    let wrong = binary().arg("pull").stdout(full()).stderr(full()).output().unwrap();
    assert_eq!(wrong.status.code(), Some(64));
}
