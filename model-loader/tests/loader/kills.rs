//! The loader is stopped in the middle, and the next run finishes the work.

use std::{fs, path::Path, process::Child};

use model_core::{
    reason::Reason,
    report::{Failure, Outcome},
};
use test_hub::{Fault, Origin, Rule};

use crate::world::{Files, LARGE, World, assert_published, binary, entries, outcome, printed, wait_until};

/// A loader that has completed the small files and is in the middle of the large one.
fn in_the_middle(world: &World, arguments: &[&str]) -> Child {
    let silence = Rule::new(Fault::Stall { after: LARGE / 2, seconds: 600.0 }).path("*model.safetensors");
    world.hub.set_faults(vec![silence]).unwrap();
    let child = world.binary("hf://acme/tiny").args(["--stall-timeout", "600"]).args(arguments).spawn().unwrap();
    let staging = world.target().with_file_name(".0123.partial");
    // Entries come and go while the loader works, so what is not there when looked at is not there.
    let large = || {
        let incoming = staging.join("incoming");
        let size = |name: &String| fs::metadata(incoming.join(name)).map_or(0, |found| found.len());
        entries(&incoming).iter().map(size).max().unwrap_or(0)
    };
    let small = ["config.json", "empty.txt", "a folder/notes with space.txt", "onnx/model.onnx"];
    wait_until("the small files are complete and the large one is begun", || {
        large() >= LARGE / 4 && small.iter().all(|name| staging.join("tree").join(name).exists())
    });
    child
}

/// The next run, without faults: right bytes, nothing left over, nothing fetched twice.
fn finishes(world: &World) {
    world.hub.clear_faults();
    world.hub.reset_stats();
    let run = world.binary("hf://acme/tiny").output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", printed(&run));
    world.assert_published(&world.served("hf/acme/tiny"));
    let stats = world.hub.stats();
    assert_eq!(stats.origin(Origin::Cdn).requests, 1, "only the large file is fetched again");
    assert_eq!(stats.containing("/resolve/").requests, 1);
}

#[test]
fn a_killed_run_is_taken_up() {
    let world = World::new();
    let mut child = in_the_middle(&world, &[]);
    child.kill().unwrap();
    child.wait().unwrap();
    world.assert_nothing_published();
    finishes(&world);
}

#[test]
fn a_terminated_run_says_so_and_is_taken_up() {
    let world = World::new();
    let log = world.root.path().join("termination-log");
    let child = in_the_middle(&world, &["--termination-log", log.to_str().unwrap()]);
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let run = child.wait_with_output().unwrap();
    assert_eq!(run.status.code(), Some(1), "{}", printed(&run));
    let Outcome::Failed(Failure { reason, message }) = outcome(&log) else { panic!("it did not succeed") };
    assert_eq!(reason, Reason::DownloadFailed);
    assert!(message.contains("SIGTERM"), "{message}");
    world.assert_nothing_published();
    finishes(&world);
}

#[test]
fn what_is_left_of_another_version_does_not_get_in_the_way() {
    let world = World::new();
    let mut child = in_the_middle(&world, &[]);
    child.kill().unwrap();
    child.wait().unwrap();
    // In the new version a directory has become a file, a file a directory, one is gone, one is new.
    let repo = world.root.path().join("hf/acme/tiny");
    fs::remove_dir_all(repo.join("a folder")).unwrap();
    fs::write(repo.join("a folder"), b"a file now").unwrap();
    fs::remove_file(repo.join("empty.txt")).unwrap();
    fs::create_dir(repo.join("empty.txt")).unwrap();
    fs::write(repo.join("empty.txt/inside"), b"x").unwrap();
    fs::remove_dir_all(repo.join("onnx")).unwrap();
    world.hub.refresh();
    world.hub.clear_faults();
    let run = world.binary("hf://acme/tiny").output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", printed(&run));
    world.assert_published(&world.served("hf/acme/tiny"));
}

/// What a killed loader has left of the large files of `acme/big`, in bytes: written, and recorded for the next run.
fn left(target: &Path, large: &Files) -> (u64, u64) {
    let staging = target.with_file_name(".m.partial");
    let (mut written, mut recorded) = (0, 0);
    for (name, bytes) in large {
        if target.join(name).exists() || staging.join("tree").join(name).exists() {
            written += bytes.len() as u64;
            recorded += bytes.len() as u64;
        }
    }
    let incoming = staging.join("incoming");
    for records in entries(&incoming).iter().filter(|name| name.ends_with(".chunks")) {
        // Absent: it was taken into the tree, and its records were not removed yet.
        let Ok(found) = fs::read(incoming.join(records.trim_end_matches(".chunks"))) else { continue };
        // The name does not tell which file it is, but random bytes do. Pages tell written bytes from holes.
        let pages = |bytes: &[u8]| bytes.chunks(4096).zip(found.chunks(4096)).filter(|(want, got)| want == got).count();
        written += 4096 * large.values().map(|bytes| pages(bytes) as u64).max().unwrap();
        let records = fs::read_to_string(incoming.join(records)).unwrap();
        recorded += records.lines().map(|line| line.split(' ').nth(1).unwrap().parse::<u64>().unwrap()).sum::<u64>();
    }
    (written, recorded)
}

/// Kills at seeded random moments of a download in parts. `MODEL_LOADER_KILLS` asks for more of them, and
/// `MODEL_LOADER_SEED` for others.
#[test]
fn a_kill_at_any_moment_costs_hardly_a_byte() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (rounds, mut random): (u64, u64) = (number("MODEL_LOADER_KILLS", 5), number("MODEL_LOADER_SEED", 1));
    let world = World::big();
    let want = world.served("hf/acme/big");
    let large: Files = want.clone().into_iter().filter(|(name, _)| name.starts_with("model-")).collect();
    let size: u64 = large.values().map(|bytes| bytes.len() as u64).sum();
    let sent = || world.hub.stats().origin(Origin::Cdn).bytes;
    let (mut interrupted, mut costs) = (0, Vec::new());
    for round in 0..rounds {
        world.hub.set_faults(vec![Rule::new(Fault::Rate { bytes_per_second: 3 << 20 })]).unwrap();
        world.hub.reset_stats();
        let target = world.volume().join(format!("{round}/m"));
        let loader = || {
            let mut command = binary();
            command.envs(world.env()).args(["pull", "--source", "hf://acme/big", "--to"]).arg(&target);
            command
        };
        let mut child = loader().spawn().unwrap();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(std::time::Duration::from_millis((random >> 33) % 3200));
        child.kill().unwrap();
        interrupted += u64::from(!child.wait().unwrap().success());
        let (written, recorded) = left(&target, &large);
        assert!(written <= recorded + size / 20, "round {round}: {recorded} of {written} bytes are recorded");
        let first = sent();
        world.hub.clear_faults();
        // Until nobody sends to the dead any more: a reset begins with what is being answered.
        wait_until("the killed loader is forgotten", || {
            world.hub.reset_stats();
            world.hub.stats().peak_in_flight == 0
        });
        let visible = entries(&target);
        assert!(visible.contains(&".model-loader".to_owned()) || visible.is_empty(), "round {round}: {visible:?}");
        let run = loader().output().unwrap();
        assert_eq!(run.status.code(), Some(0), "round {round}: {}", printed(&run));
        assert_published(&target, &want);
        assert_eq!(entries(target.parent().unwrap()), ["m"], "round {round}: staging is gone");
        assert_eq!(sent(), size - recorded, "round {round}: nothing that is recorded comes again");
        costs.push((first + sent()).saturating_sub(size));
    }
    assert!(interrupted > 0, "no kill came in the middle");
    // What is on its way at the kill is lost: at a common speed that is not much. A loader that had no time to receive
    // loses more, but not in most rounds.
    costs.sort_unstable();
    assert!(costs[costs.len() / 2] <= size / 20, "so many bytes were sent twice in each round: {costs:?}");
}

#[test]
fn kills_at_any_moment_leave_nothing_half() {
    let world = World::new();
    let slow = Fault::Rate { bytes_per_second: 20 << 20 };
    world.hub.set_faults(vec![Rule::new(slow)]).unwrap();
    for round in 0..12_u64 {
        let mut child = world.binary("hf://acme/tiny").spawn().unwrap();
        // Where the run is then does not matter: it is to be anywhere.
        std::thread::sleep(std::time::Duration::from_millis(round * 15));
        child.kill().unwrap();
        child.wait().unwrap();
        let visible = entries(&world.target());
        let whole = visible.contains(&".model-loader".to_owned());
        assert!(whole || visible.is_empty(), "half of it is visible: {visible:?}");
    }
    world.hub.clear_faults();
    let run = world.binary("hf://acme/tiny").output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", printed(&run));
    world.assert_published(&world.served("hf/acme/tiny"));
}
