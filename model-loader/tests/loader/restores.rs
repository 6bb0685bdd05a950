//! Content that was published before and is offered again: on a volume from a backup, or after its record was lost.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Output};

use model_core::{
    reason::Reason,
    report::{Failure, Outcome},
};
use model_loader::{Meter, Totals, pull};

use crate::world::{World, assert_published, binary, entries, outcome, printed, wanted};

fn recheck(world: &World, log: &Path) -> Output {
    world.binary("hf://acme/tiny").arg("--recheck").arg("--termination-log").arg(log).output().unwrap()
}

/// Turns one bit, as a disk may, or a pod that mounts the content writable.
fn damage(file: &Path) {
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = fs::read(file).unwrap();
    bytes[1000] ^= 1;
    fs::write(file, bytes).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o444)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_checked_and_not_downloaded_again() {
    let world = World::new();
    let first = world.pull("hf://acme/tiny").await.unwrap();
    world.hub.reset_stats();
    let log = world.root.path().join("termination-log");
    let run = recheck(&world, &log);
    assert_eq!(run.status.code(), Some(0), "{}", printed(&run));
    assert_eq!(outcome(&log), Outcome::Succeeded(first.clone()));
    assert_eq!(world.hub.stats().total().requests, 0);
    let last: serde_json::Value =
        serde_json::from_slice(run.stdout.trim_ascii().rsplit(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert_eq!((&last["downloadedBytes"], &last["totalBytes"]), (&first.bytes.into(), &first.bytes.into()));
    let totals: Totals = serde_json::from_value(last["totals"].clone()).unwrap();
    assert_eq!(totals.verified_bytes, first.bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_and_a_refresh_fetches_no_more_than_what_is_damaged() {
    let world = World::new();
    world.pull("hf://acme/tiny").await.unwrap();
    damage(&world.target().join("onnx/model.onnx"));
    let log = world.root.path().join("termination-log");
    let run = recheck(&world, &log);
    assert_eq!(run.status.code(), Some(2), "a retry finds the same: {}", printed(&run));
    let Outcome::Failed(Failure { reason, message }) = outcome(&log) else { panic!("it succeeded") };
    assert_eq!(reason, Reason::ContentDamaged);
    assert!(message.contains("changed onnx/model.onnx"), "{message}");
    assert!(printed(&run).contains("kubectl model refresh"), "{}", printed(&run));

    world.hub.reset_stats();
    let fresh = world.volume().join("revisions/fresh");
    pull(&wanted("hf://acme/tiny"), &fresh, &world.network(), &Meter::default()).await.unwrap();
    assert_published(&fresh, &world.served("hf/acme/tiny"));
    let large = world.hub.stats().containing("model.safetensors").bytes;
    assert_eq!(large, 0, "what is whole is linked");
    assert!(world.hub.stats().containing("model.onnx").bytes >= 200_000);
}

/// The record of what lies on the volume can be made anew from what each download tells.
#[tokio::test(flavor = "multi_thread")]
async fn what_else_is_published_is_told_and_pruned_by_name() {
    let world = World::new();
    let revisions = world.volume().join("revisions");
    for name in ["other", "aside"] {
        pull(&wanted("hf://acme/tiny"), &revisions.join(name), &world.network(), &Meter::default()).await.unwrap();
    }
    fs::create_dir_all(revisions.join("no-model")).unwrap();
    let prune = |arguments: &[&str]| {
        let log = world.root.path().join("termination-log");
        let mut run = binary();
        run.args(["prune", "--dir"]).arg(&revisions).args(arguments).arg("--termination-log").arg(&log);
        (run.output().unwrap(), log)
    };
    let (run, _) = prune(&["--set-aside=aside", "--set-aside=absent"]);
    assert_eq!(run.status.code(), Some(0), "{}", printed(&run));
    for _ in 0..2 {
        assert_eq!(world.pull("hf://acme/tiny").await.unwrap().others, ["aside", "other"]);
    }
    let (run, _) = prune(&["--put-back=aside", "--delete=other"]);
    assert_eq!(run.status.code(), Some(0), "{}", printed(&run));
    assert_eq!(entries(&revisions), ["0123", "aside", "no-model", "other"], "what is published is never deleted");
    prune(&["--set-aside=other"]);
    prune(&["--delete=other"]);
    assert_eq!(entries(&revisions), ["0123", "aside", "no-model"]);
    for name in ["0123", "aside"] {
        assert_published(&revisions.join(name), &world.served("hf/acme/tiny"));
    }
    let (run, log) = prune(&["--delete=../x"]);
    assert_eq!(run.status.code(), Some(64), "{}", printed(&run));
    let Outcome::Failed(Failure { reason, .. }) = outcome(&log) else { panic!("it succeeded") };
    assert_eq!(reason, Reason::WrongUse);
}
