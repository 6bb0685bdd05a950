//! A deterministic simulation: thousands of seeded histories of API events, crashes, stale caches, races and wrong clocks
//! are driven through `decide` and the builders, against a model of the API server and of who works in a cluster.
//!
//! The same seed gives the same histories. A history that fails is shrunk, and printed in its shortest form. `SIMULATION_SEED`
//! takes another seed, `PROPTEST_CASES` another number of histories.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod controller;
mod history;
mod server;
mod world;

use jiff::{SignedDuration, Timestamp};
use model_core::api::{Phase, VerificationResult};
use model_core::persisted::{Downloader, verify_request, wanted_content_id};
use model_resources::DownloadSettings;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use controller::{End, undisturbed};
use history::{Happening, happening, others_do_their_part, with_wrong_clocks};
use world::{Work, World};

/// Rounds in which a kind world comes to rest.
const ROUNDS: usize = 400;

/// Rounds after which nobody asks for newer content any more, which would never come to an end, and what is published is
/// read again.
const CHECKED: usize = 5;

/// Looks of both controllers that change nothing, after which nothing will.
const QUIET: usize = 6;

/// Nobody has to wait for longer, whatever the clocks had said.
const LONGEST: SignedDuration = SignedDuration::from_hours(3 * 24);

fn loader() -> DownloadSettings {
    DownloadSettings::new(Downloader::Loader { image: "loader".to_owned() })
}

/// Everybody does their part, and nothing goes wrong any more, until nobody has anything to do.
fn comes_to_rest(world: &mut World) -> Result<(), TestCaseError> {
    world.clocks = [SignedDuration::ZERO; 2];
    world.refuses = false;
    Happening::ModelIsCreated.happens(world);
    // Who waits for a person gets one.
    Happening::JobIsDeleted(0).happens(world);
    let mut dues: [Option<Timestamp>; 2] = [Some(world.now); 2];
    let mut seen = [0, 0];
    let mut quiet = 0;
    for round in 0..ROUNDS {
        if round == CHECKED {
            Happening::Checks(false).happens(world);
            Happening::VerifyIsAsked(u8::MAX).happens(world);
        }
        let version = world.server.version();
        if world.server.claims.values().any(|claim| claim.metadata.deletion_timestamp.is_some()) {
            // It waits for the last of them.
            Happening::UserPodGoes(0).happens(world);
        }
        others_do_their_part(world);
        for who in 0..2 {
            // Nothing but a change of what is watched, or the time it had asked for, brings a controller on.
            let is_due = dues[who].is_some_and(|due| due <= world.now);
            if seen[who] != world.server.version() || is_due {
                seen[who] = world.server.version();
                world.caches[who] = world.server.clone();
                dues[who] = match undisturbed(world, who) {
                    End::Done(again) => again,
                    End::Again | End::Died => Some(world.now),
                };
                world.check();
            }
        }
        quiet = if version == world.server.version() { quiet + 1 } else { 0 };
        if quiet > 0 && round > CHECKED {
            // The next that happens is that somebody's time has come.
            let dues = dues.iter().flatten().copied().chain(world.ttls());
            let Some(due) = dues.min() else { return Ok(()) };
            if quiet > QUIET {
                return Ok(());
            }
            let wait = due.duration_since(world.now);
            prop_assert!(wait < LONGEST, "nothing happens before {due}, and it is {}: {world:#?}", world.now);
            world.time_passes(wait.max(SignedDuration::from_secs(1)));
        }
    }
    Err(TestCaseError::fail(format!("it does not come to rest: {world:#?}")))
}

/// What a user may expect once all is quiet.
fn is_fine(world: &World) -> Result<(), TestCaseError> {
    let model = world.server.model.as_ref().expect("there is one");
    let status = model.status.clone().unwrap_or_default();
    let content = status.content.as_ref().map(|content| content.id.clone());
    prop_assert_eq!(status.phase, Some(Phase::Ready), "{:#?}", world);
    prop_assert_eq!(content, Some(wanted_content_id(model)), "{:#?}", world);
    let claim = world.server.claims.values().next().and_then(|claim| claim.metadata.uid.clone());
    prop_assert_eq!(&status.claim_uid, &claim, "{:#?}", world);
    prop_assert!(world.waiting_users().is_empty(), "{:?} wait for ever: {world:#?}", world.waiting_users());
    let disk = claim.and_then(|claim| world.disks.get(&claim).cloned()).unwrap_or_default();
    // An older copy of what is in its place stays for as long as a pod names that.
    let is_away = |path: &String| !disk.placed.contains_key(path);
    prop_assert!(!disk.aside.keys().any(is_away), "something was set aside and forgotten: {world:#?}");
    if let Some(request) = verify_request(model) {
        let answer = status.verification.as_ref().filter(|known| known.request == request);
        let is_answered = answer.is_some_and(|known| known.result != VerificationResult::Running);
        prop_assert!(is_answered, "{request} is not answered: {world:#?}");
    }
    Ok(())
}

fn simulate(settings: &DownloadSettings, happenings: impl Strategy<Value = Happening>) {
    let seed = std::env::var("SIMULATION_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let histories = proptest::collection::vec(happenings, 0..80);
    let outcome = runner.run(&histories, |history| {
        let mut world = World::new(settings.clone());
        for happening in &history {
            happening.happens(&mut world);
        }
        comes_to_rest(&mut world)?;
        is_fine(&world)
    });
    outcome.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
}

#[test]
fn with_the_loader_whatever_happens_ends_well() {
    simulate(&loader(), happening());
}

#[test]
fn with_stock_images_whatever_happens_ends_well() {
    simulate(&DownloadSettings::default(), happening());
}

/// Not one of the histories above, because it takes nine steps in this order: the pod of a Job that was deleted works on, and
/// what it writes lies where the next download's files do.
#[test]
fn a_stock_image_that_outlives_its_job_writes_over_nothing() {
    let mut world = World::new(DownloadSettings::default());
    let looks = |world: &mut World| {
        world.caches[0] = world.server.clone();
        undisturbed(world, 0);
    };
    looks(&mut world);
    Happening::JobController.happens(&mut world);
    Happening::PodStarts(0).happens(&mut world);
    Happening::SourceChanges(1).happens(&mut world);
    for _ in 0..3 {
        looks(&mut world);
        Happening::Collector.happens(&mut world);
    }
    Happening::JobController.happens(&mut world);
    Happening::PodStarts(0).happens(&mut world);
    Happening::PodWorks(1, Work::All).happens(&mut world);
    Happening::JobController.happens(&mut world);
    looks(&mut world);
    Happening::PodWorks(0, Work::Half).happens(&mut world);
    comes_to_rest(&mut world).unwrap();
    is_fine(&world).unwrap();
}

#[test]
fn with_clocks_that_jump_whatever_happens_ends_well() {
    simulate(&loader(), with_wrong_clocks());
}
