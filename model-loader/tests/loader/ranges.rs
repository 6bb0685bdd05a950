//! Models whose large files are fetched in parts: right bytes, and hardly a byte twice, whatever goes wrong.

use std::{fs, time::Duration};

use model_core::reason::Reason;
use model_loader::{Meter, Network, Wanted, pull};
use test_hub::{Fault, Origin, Rule, fixtures};

use crate::world::{Files, World, assert_published, printed, reason, wanted};

/// The kinds of source, each with large files. The last has one file without a digest.
const SOURCES: [(&str, &str); 3] =
    [("hf://acme/big", "hf/acme/big"), ("s3://models/big/", "s3/models/big"), ("files/big.gguf", "files")];

/// Answers that hold parts of large files.
fn large(fault: Fault) -> Rule {
    Rule::new(fault).path("*big*.{safetensors,gguf}").method("GET").skip(1)
}

fn source(world: &World, source: &str) -> Wanted {
    match source.strip_prefix("files/") {
        Some(file) => wanted(&format!("{}/files/{file}", world.hub.url())),
        None => wanted(source),
    }
}

fn served(world: &World, folder: &str) -> Files {
    let mut files = world.served(folder);
    if folder == "files" {
        files.retain(|name, _| name == "big.gguf");
    }
    files
}

fn bytes(files: &Files) -> u64 {
    files.values().map(|bytes| bytes.len() as u64).sum()
}

/// Pulls every kind of source with these faults, and compares bytes and how many of them were sent.
async fn survives(name: &str, faults: impl Fn() -> Vec<Rule>) {
    survives_with(name, Network::default().stall_timeout, faults).await;
}

async fn survives_with(name: &str, stall_timeout: Duration, faults: impl Fn() -> Vec<Rule>) {
    let world = World::big();
    for (number, (text, folder)) in SOURCES.into_iter().enumerate() {
        let (target, want) = (world.volume().join(format!("{number}/m")), served(&world, folder));
        // What is on its way when a connection ends is lost. At a common speed that is not much.
        let slowly = Rule::new(Fault::Rate { bytes_per_second: 16 << 20 });
        world.hub.set_faults(faults().into_iter().chain([slowly]).collect()).unwrap();
        world.hub.reset_stats();
        let network = Network { stall_timeout, ..world.network() };
        pull(&source(&world, text), &target, &network, &Meter::default())
            .await
            .unwrap_or_else(|error| panic!("{name}, {text}: {:?}", error.failure()));
        assert_published(&target, &want);
        let (sent, size) = (world.hub.stats().containing("big").bytes, bytes(&want));
        // Beside the model the listing is sent, and the look at a URL is given up after its headers.
        assert!(sent <= size + size / 20, "{name}, {text}: {sent} bytes were sent of {size}");
        assert!(world.hub.faults().iter().all(|rule| rule.hits > 0), "{name}, {text}: {:?}", world.hub.faults());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_fetched_at_once() {
    let world = World::big();
    // Long enough for the last one to be asked before the first one is answered, however slow the machine is.
    world.hub.set_faults(vec![Rule::new(Fault::Latency { millis: 1000 })]).unwrap();
    world.pull("hf://acme/big").await.unwrap();
    world.assert_published(&world.served("hf/acme/big"));
    let stats = world.hub.stats();
    assert!(stats.peak_in_flight >= 30, "small files do not wait for each other: {}", stats.peak_in_flight);
    assert_eq!(stats.origin(Origin::Cdn).statuses.get(&206), Some(&5), "five parts of at most 8 MiB");
    let asked = stats.containing("/resolve/").requests;
    assert_eq!(asked, 42, "each file is asked for once: the address that a redirect led to serves for all its parts");
    assert_eq!(stats.origin(Origin::Cdn).with_credentials, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cuts_cost_nothing() {
    for reset in [false, true] {
        survives("cut", || {
            let cuts = [700_000, 3_000_001, 65_536, 1].into_iter().zip(0..);
            cuts.map(|(after, number)| large(Fault::Close { after, reset }).skip(1 + number).count(1)).collect()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_pass_cost_nothing() {
    let refusal = |code, retry_after| Fault::Status { code, retry_after, rate_limit_reset: None, html: false };
    survives("503", || vec![large(refusal(503, None)).count(3)]).await;
    survives("429", || vec![large(refusal(429, Some(0))).count(2)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_ends_one_connection_and_costs_nothing() {
    // What is on its way over the other connections is lost where they count as stalled too.
    let stall = || vec![large(Fault::Stall { after: 1_000_000, seconds: 600.0 }).count(1)];
    survives_with("stall", Duration::from_secs(3), stall).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_answers_cost_nothing() {
    survives("one answer without its range", || vec![large(Fault::IgnoreRange).count(1)]).await;
    survives("another tag once", || vec![large(Fault::Etag { value: "other".to_owned() }).count(1)]).await;
    survives("a length that is too small", || vec![large(Fault::ContentLength { delta: -1000 }).count(1)]).await;
    survives("a length that is too large", || vec![large(Fault::ContentLength { delta: 1000 }).count(1)]).await;
    survives("a neat early end", || vec![large(Fault::Truncate { after: 1_000_000 }).count(2)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_ranges_is_fetched_as_a_whole() {
    survives("no ranges", || vec![Rule::new(Fault::IgnoreRange).path("*big*").method("GET")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_stops_giving_ranges_starts_over_as_a_whole() {
    let world = World::big();
    world.hub.set_faults(vec![large(Fault::IgnoreRange)]).unwrap();
    world.pull("hf://acme/big").await.unwrap();
    world.assert_published(&world.served("hf/acme/big"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_drips_counts_as_stalled() {
    let world = World::big();
    world.hub.set_faults(vec![large(Fault::Rate { bytes_per_second: 100 })]).unwrap();
    assert_eq!(reason(world.pull("hf://acme/big").await), Reason::Stalled);
    world.assert_nothing_published();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_far_slower_than_the_others_is_replaced() {
    let world = World::big();
    let common = Rule::new(Fault::Rate { bytes_per_second: 1 << 20 }).path("*big*").origin(Origin::Cdn);
    let slow = large(Fault::Rate { bytes_per_second: 20_000 }).origin(Origin::Cdn).count(1);
    // The last rule that fits counts.
    world.hub.set_faults(vec![common, slow]).unwrap();
    world.pull("hf://acme/big").await.unwrap();
    world.assert_published(&world.served("hf/acme/big"));
    assert_eq!(world.hub.faults()[1].hits, 1);
    let stats = world.hub.stats().origin(Origin::Cdn);
    assert_eq!(stats.statuses.get(&206), Some(&6), "the slow one of five parts is asked for again");
    assert!(stats.bytes <= (37 << 20), "from the byte that was reached: {}", stats.bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_in_the_middle_is_never_mixed_with_the_old_one() {
    let world = World::big();
    let changed = || large(Fault::Etag { value: "a-new-version".to_owned() }).skip(2);
    for text in ["s3://models/big/", &format!("{}/files/big.gguf", world.hub.url())] {
        world.hub.set_faults(vec![changed()]).unwrap();
        assert_eq!(reason(world.pull(text).await), Reason::SourceInvalid, "{text}");
        world.assert_nothing_published();
    }
    // Of a file of the hub the SHA-256 is known before: it tells versions apart, and tags do not count.
    world.hub.set_faults(vec![changed()]).unwrap();
    world.pull("hf://acme/big").await.unwrap();
    world.assert_published(&world.served("hf/acme/big"));
}

#[test]
fn a_flipped_byte_costs_its_own_file_only_and_is_counted() {
    let world = World::big();
    let flip = Fault::Flip { offset: 10 << 20 };
    world.hub.set_faults(vec![Rule::new(flip).path("*model-00002.safetensors").count(1)]).unwrap();
    let run = world.binary("hf://acme/big").output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", printed(&run));
    let want = world.served("hf/acme/big");
    world.assert_published(&want);
    let (size, wrong) = (bytes(&want), (12 << 20) + 3);
    let stats = world.hub.stats();
    assert_eq!(stats.containing("model-00001").bytes, 24 << 20);
    assert_eq!(stats.containing("model-00002").bytes, 2 * wrong, "nobody knows which byte it was");
    let last: serde_json::Value =
        serde_json::from_slice(run.stdout.trim_ascii().rsplit(|byte| *byte == b'\n').next().unwrap()).unwrap();
    let totals: model_loader::Totals = serde_json::from_value(last["totals"].clone()).unwrap();
    assert_eq!(last["downloadedBytes"], size);
    assert_eq!(totals.received_bytes, size + wrong);
    assert_eq!((totals.received_again_bytes, totals.verified_bytes), (wrong, size));
    assert!(totals.plan_seconds > 0.0 && totals.fetch_seconds > 0.0 && totals.publish_seconds > 0.0, "{totals:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_revision_has_is_linked() {
    let world = World::big();
    let first = world.volume().join("revisions/old");
    pull(&wanted("hf://acme/big"), &first, &world.network(), &Meter::default()).await.unwrap();
    let repo = world.root.path().join("hf/acme/big");
    fs::remove_file(repo.join("model-00002.safetensors")).unwrap();
    fixtures::random_file(&repo.join("model-00002.safetensors"), 99, 12 << 20).unwrap();
    fs::rename(repo.join("small/39.json"), repo.join("small/moved.json")).unwrap();
    world.hub.refresh();
    world.hub.reset_stats();
    world.pull("hf://acme/big").await.unwrap();
    let want = world.served("hf/acme/big");
    assert_published(&world.target(), &want);
    assert_eq!(world.hub.stats().containing("/resolve/").requests, 1, "only the file that changed is asked for");
    assert_eq!(world.hub.stats().origin(Origin::Cdn).bytes, 12 << 20);
    let inode = |path: std::path::PathBuf| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let same = |name: &str| inode(first.join(name)) == inode(world.target().join(name));
    assert!(same("model-00001.safetensors") && !same("model-00002.safetensors"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_loaders_at_once_fetch_once() {
    let world = World::big();
    world.hub.set_faults(vec![Rule::new(Fault::Rate { bytes_per_second: 20 << 20 })]).unwrap();
    let (one, two) = tokio::join!(world.pull("hf://acme/big"), world.pull("hf://acme/big"));
    assert_eq!(one.unwrap(), two.unwrap());
    let want = world.served("hf/acme/big");
    world.assert_published(&want);
    assert_eq!(world.hub.stats().origin(Origin::Cdn).bytes, (36 << 20) + 3);
}
