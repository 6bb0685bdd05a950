//! Faults of source and network: right bytes, or the reason and nothing published.

use model_core::reason::Reason;
use model_loader::{Meter, Wanted, pull};
use test_hub::{Fault, Origin, Rule};

use crate::world::{LARGE, World, reason, sha256, wanted};

const HALF: u64 = LARGE / 2;

/// The three kinds of source, each with a file of two MiB.
fn sources(world: &World) -> [(String, &'static str); 3] {
    [
        ("hf://acme/tiny".to_owned(), "hf/acme/tiny"),
        ("s3://models/tiny/".to_owned(), "s3/models/tiny"),
        (format!("{}/files/model.gguf", world.hub.url()), "files"),
    ]
}

/// Bodies of the large file, without the look that a URL gets before.
fn large(fault: Fault) -> Rule {
    Rule::new(fault).path("*model.{safetensors,gguf}").method("GET")
}

/// How many of its answers are spent before the large file is fetched.
fn looks(source: &str) -> u32 {
    u32::from(source.starts_with("http"))
}

#[tokio::test]
async fn a_connection_that_is_cut_is_resumed_at_the_byte() {
    for reset in [false, true] {
        let world = World::new();
        for (number, (source, folder)) in sources(&world).into_iter().enumerate() {
            let target = world.target().join(number.to_string());
            world.hub.reset_stats();
            let cut = Fault::Close { after: HALF, reset };
            world.hub.set_faults(vec![large(cut).skip(looks(&source)).count(1)]).unwrap();
            pull(&wanted(&source), &target, &world.network(), &Meter::default()).await.unwrap();
            assert_eq!(world.hub.faults()[0].hits, 1, "{source}");
            crate::world::assert_published(&target, &world.served(folder));
            let stats = world.hub.stats();
            let ranges = u64::from(1 + looks(&source));
            assert_eq!(stats.total().statuses.get(&206), Some(&ranges), "{source}: the rest is asked for by range");
        }
    }
}

#[tokio::test]
async fn many_cuts_with_progress_in_between_are_no_failure() {
    let world = World::new();
    // More cuts than tries without progress.
    world.hub.set_faults(vec![large(Fault::Close { after: LARGE / 10, reset: false }).origin(Origin::Cdn)]).unwrap();
    world.pull("hf://acme/tiny").await.unwrap();
    world.assert_published(&world.served("hf/acme/tiny"));
    assert!(world.hub.faults()[0].hits > 8);
}

#[tokio::test]
async fn a_source_without_ranges_starts_over() {
    let world = World::new();
    let cut = large(Fault::Close { after: HALF, reset: false }).count(2);
    world.hub.set_faults(vec![cut, large(Fault::IgnoreRange)]).unwrap();
    world.pull("hf://acme/tiny").await.unwrap();
    world.assert_published(&world.served("hf/acme/tiny"));
}

#[tokio::test]
async fn a_cut_always_at_the_same_byte_ends() {
    let world = World::new();
    let cut = large(Fault::Close { after: HALF, reset: false });
    world.hub.set_faults(vec![cut, large(Fault::IgnoreRange)]).unwrap();
    assert_eq!(reason(world.pull("hf://acme/tiny").await), Reason::NetworkError);
    world.assert_nothing_published();
}

#[tokio::test]
async fn a_flipped_byte_is_fetched_again_or_stops_everything() {
    let world = World::new();
    for (number, (source, folder)) in sources(&world).into_iter().enumerate() {
        let target = world.target().join(number.to_string());
        let sha256 = source.starts_with("http").then(|| {
            let digest = sha256(&world.served(folder)["model.gguf"]);
            format!("sha256:{digest}").parse().unwrap()
        });
        let wanted = Wanted { sha256, ..wanted(&source) };
        let flip = large(Fault::Flip { offset: HALF });
        world.hub.set_faults(vec![flip.clone()]).unwrap();
        let error = pull(&wanted, &target, &world.network(), &Meter::default()).await.unwrap_err();
        assert_eq!((error.reason(), error.exit_code()), (Reason::ChecksumMismatch, 1), "{source}");
        assert!(error.to_string().contains("model."), "names the file: {error}");
        assert!(!target.exists(), "{source}");
        world.hub.set_faults(vec![flip.count(1)]).unwrap();
        pull(&wanted, &target, &world.network(), &Meter::default()).await.unwrap();
        assert_eq!(world.hub.faults()[0].hits, 1, "{source}");
        crate::world::assert_published(&target, &world.served(folder));
    }
}

#[tokio::test]
async fn a_small_file_is_verified_too() {
    let world = World::new();
    world.hub.set_faults(vec![Rule::new(Fault::Flip { offset: 0 }).path("*config.json")]).unwrap();
    let error = world.pull("hf://acme/tiny").await.unwrap_err();
    assert_eq!(error.reason(), Reason::ChecksumMismatch);
    assert!(error.to_string().contains("config.json") && error.to_string().contains("git-sha1"), "{error}");
    world.assert_nothing_published();
}

#[tokio::test]
async fn a_digest_that_the_user_got_wrong_stops_everything() {
    let world = World::new();
    let digest = format!("sha256:{}", sha256(b"something else"));
    let source = format!("{}/files/model.gguf", world.hub.url());
    let wanted = Wanted { sha256: Some(digest.parse().unwrap()), ..wanted(&source) };
    let result = pull(&wanted, &world.target(), &world.network(), &Meter::default()).await;
    assert_eq!(reason(result), Reason::ChecksumMismatch);
    world.assert_nothing_published();
}

#[tokio::test]
async fn content_that_is_too_short_is_never_a_file() {
    for (fault, want) in [
        (Fault::ContentLength { delta: -1000 }, Reason::SourceInvalid),
        (Fault::ContentLength { delta: 1000 }, Reason::SourceInvalid),
        (Fault::Truncate { after: 0 }, Reason::NetworkError),
        (Fault::Close { after: 0, reset: false }, Reason::NetworkError),
    ] {
        let world = World::new();
        for (source, _) in sources(&world) {
            world.hub.set_faults(vec![large(fault.clone()).skip(looks(&source))]).unwrap();
            assert_eq!(reason(world.pull(&source).await), want, "{source} {fault:?}");
            world.assert_nothing_published();
        }
    }
    // What ends early but neatly is continued, as every other cut is.
    let world = World::new();
    for (number, (source, folder)) in sources(&world).into_iter().enumerate() {
        let target = world.target().join(number.to_string());
        world.hub.set_faults(vec![large(Fault::Truncate { after: HALF + 1 }).skip(looks(&source))]).unwrap();
        pull(&wanted(&source), &target, &world.network(), &Meter::default()).await.unwrap();
        crate::world::assert_published(&target, &world.served(folder));
    }
    // Where nobody tells the size, the digest does.
    let world = World::new();
    let digest = format!("sha256:{}", sha256(&world.served("files")["model.gguf"]));
    let source = format!("{}/files/model.gguf", world.hub.url());
    let wanted = Wanted { sha256: Some(digest.parse().unwrap()), ..wanted(&source) };
    world.hub.set_faults(vec![large(Fault::Truncate { after: HALF }), large(Fault::IgnoreRange)]).unwrap();
    let result = pull(&wanted, &world.target(), &world.network(), &Meter::default()).await;
    assert_eq!(reason(result), Reason::ChecksumMismatch);
    world.assert_nothing_published();
}

#[tokio::test]
async fn too_many_requests_are_waited_out_for_a_while() {
    let busy = |code| Fault::Status { code, retry_after: Some(0), rate_limit_reset: None, html: false };
    for code in [408, 429, 500, 503] {
        let world = World::new();
        for (number, (source, folder)) in sources(&world).into_iter().enumerate() {
            let target = world.target().join(number.to_string());
            world.hub.set_faults(vec![Rule::new(busy(code)).count(3)]).unwrap();
            pull(&wanted(&source), &target, &world.network(), &Meter::default()).await.unwrap();
            crate::world::assert_published(&target, &world.served(folder));
        }
    }
    for (code, want) in [(429, Reason::RateLimited), (503, Reason::NetworkError)] {
        let world = World::new();
        for (source, _) in sources(&world) {
            for rule in [Rule::new(busy(code)), large(busy(code)).skip(looks(&source))] {
                world.hub.set_faults(vec![rule]).unwrap();
                assert_eq!(reason(world.pull(&source).await), want, "{source} {code}");
                world.assert_nothing_published();
            }
        }
    }
}

#[tokio::test]
async fn a_silent_connection_is_given_up_and_not_the_download() {
    let world = World::new();
    let silence = large(Fault::Stall { after: HALF, seconds: 30.0 });
    world.hub.set_faults(vec![silence.clone().count(1)]).unwrap();
    world.pull_with("hf://acme/tiny", &world.impatient()).await.unwrap();
    world.assert_published(&world.served("hf/acme/tiny"));

    let world = World::new();
    let silence = vec![large(Fault::Stall { after: 0, seconds: 30.0 })];
    world.hub.set_faults(silence).unwrap();
    assert_eq!(reason(world.pull_with("hf://acme/tiny", &world.impatient()).await), Reason::Stalled);
    world.assert_nothing_published();

    let world = World::new();
    let source = format!("{}/files/model.gguf", world.hub.url());
    world.hub.set_faults(vec![Rule::new(Fault::Latency { millis: 30_000 })]).unwrap();
    assert_eq!(reason(world.pull_with(&source, &world.impatient()).await), Reason::Stalled, "no answer at all");
}

#[tokio::test]
async fn redirects_without_end_end() {
    let world = World::new();
    for (source, _) in sources(&world) {
        world.hub.set_faults(vec![large(Fault::RedirectLoop)]).unwrap();
        assert_eq!(reason(world.pull(&source).await), Reason::SourceInvalid, "{source}");
        world.assert_nothing_published();
    }
}

#[tokio::test]
async fn a_file_that_changes_on_the_way_is_not_mixed() {
    let world = World::new();
    let source = format!("{}/files/model.gguf", world.hub.url());
    let cut = large(Fault::Close { after: HALF, reset: false }).skip(1).count(1);
    let changed = large(Fault::Etag { value: "another".to_owned() }).skip(2);
    world.hub.set_faults(vec![cut, changed]).unwrap();
    assert_eq!(reason(world.pull(&source).await), Reason::SourceInvalid);
    world.assert_nothing_published();
    // The next run sees one version from the beginning to the end.
    world.hub.clear_faults();
    world.pull(&source).await.unwrap();
    world.assert_published(&world.served("files"));
}

#[tokio::test]
async fn a_web_page_in_the_place_of_a_model_is_never_published() {
    let world = World::new();
    let page = |code| Fault::Status { code, retry_after: None, rate_limit_reset: None, html: true };
    for (source, _) in sources(&world) {
        for (code, want) in [(404, Reason::SourceNotFound), (403, Reason::AccessDenied), (502, Reason::NetworkError)] {
            world.hub.set_faults(vec![large(page(code)).skip(looks(&source))]).unwrap();
            assert_eq!(reason(world.pull(&source).await), want, "{source} {code}");
            world.assert_nothing_published();
        }
    }
    // A login page that answers 200 to everything is no hub.
    let network = world.network_with(&[("HF_ENDPOINT", &format!("{}/files/page.html?", world.hub.url()))]);
    crate::world::write(
        &world.root.path().join("files/page.html/api/models/acme/tiny/revision/main"),
        b"<html>Log in</html>",
    );
    assert_eq!(reason(world.pull_with("hf://acme/tiny", &network).await), Reason::SourceInvalid);
}
