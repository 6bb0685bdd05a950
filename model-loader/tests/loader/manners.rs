//! How the loader behaves towards sources: when it comes back, and what it tells to whom.

use std::time::{Duration, Instant};

use model_core::reason::Reason;
use model_loader::{Network, RetryPolicy};
use test_hub::{Fault, Origin, Rule};

use crate::world::World;

fn busy(retry_after: Option<u64>, rate_limit_reset: Option<u64>) -> Rule {
    Rule::new(Fault::Status { code: 429, retry_after, rate_limit_reset, html: false })
}

/// Waits of its own would be over at once.
fn patient(world: &World, longest_wait: Duration, longest_waits: Duration) -> Network {
    let retry = RetryPolicy { tries: 5, first_wait: Duration::from_millis(1), longest_wait, longest_waits };
    Network { retry, ..world.network() }
}

#[tokio::test]
async fn the_hubs_window_is_waited_out() {
    for (retry_after, reset, seconds) in
        [(None, Some(1), 1), (Some(1), None, 1), (Some(2), Some(1), 2), (Some(0), Some(2), 2)]
    {
        let world = World::new();
        world.hub.set_faults(vec![busy(retry_after, reset).origin(Origin::Hub).count(1)]).unwrap();
        let network = patient(&world, Duration::from_secs(60), Duration::from_secs(60));
        let start = Instant::now();
        world.pull_with("hf://acme/tiny", &network).await.unwrap();
        assert!(start.elapsed() >= Duration::from_secs(seconds), "{retry_after:?} {reset:?}: {:?}", start.elapsed());
        world.assert_published(&world.served("hf/acme/tiny"));
    }
}

#[tokio::test]
async fn a_source_that_asks_for_longer_than_is_waited_is_given_up() {
    let world = World::new();
    world.hub.set_faults(vec![busy(Some(86_400), Some(280))]).unwrap();
    let network = patient(&world, Duration::from_secs(3600), Duration::from_secs(60));
    let error = world.pull_with("hf://acme/tiny", &network).await.unwrap_err();
    assert_eq!((error.reason(), error.exit_code()), (Reason::RateLimited, 1));
    let message = error.failure().message;
    assert!(message.contains("no more than 60 s may be waited in all"), "{message}");
    assert_eq!(world.hub.stats().total().requests, 1, "not asked a second time before it is time");
    world.assert_nothing_published();
}

#[tokio::test]
async fn a_redirect_to_another_origin_carries_no_credentials_of_a_url() {
    let world = World::new();
    let file = "resolve/main/model.safetensors";
    for (repo, credentials) in [
        ("private", &[("TOKEN", "hf_test_token"), ("HF_TOKEN", "")][..]),
        ("tiny", &[("TOKEN", "hf_test_token"), ("HF_TOKEN", "")]),
    ] {
        let source = format!("{}/acme/{repo}/{file}", world.hub.url());
        world.hub.reset_stats();
        let target = world.target().join(repo);
        let wanted = crate::world::wanted(&source);
        let network = world.network_with(credentials);
        model_loader::pull(&wanted, &target, &network, &model_loader::Meter::default()).await.unwrap();
        let stats = world.hub.stats();
        let (hub, cdn) = (stats.origin(Origin::Hub), stats.origin(Origin::Cdn));
        assert_eq!((hub.with_credentials, cdn.with_credentials), (hub.requests, 0), "{repo}");
        assert!(cdn.requests > 0, "{repo}: the file comes from another origin");
    }
}

/// The hub takes no password, so a web server in front of it does.
#[tokio::test]
async fn a_redirect_to_another_origin_carries_no_password_of_a_url() {
    let world = World::new();
    let elsewhere = format!("{}/files/model.gguf", world.hub.url());
    let front = crate::proxy::Redirector::start(elsewhere);
    let network = world.network_with(&[("TOKEN", ""), ("USERNAME", "user"), ("PASSWORD", "password")]);
    world.pull_with(&format!("{}/model.gguf", front.url()), &network).await.unwrap();
    world.assert_published(&world.served("files"));
    assert!(front.heads().iter().all(|head| head.contains("authorization: basic ")), "{:?}", front.heads());
    let hub = world.hub.stats().origin(Origin::Hub);
    assert!(hub.requests > 0);
    assert_eq!(hub.with_credentials, 0);
}

#[tokio::test]
async fn redirects_without_end_end_with_credentials_too() {
    let world = World::new();
    world.hub.set_faults(vec![Rule::new(Fault::RedirectLoop)]).unwrap();
    let source = format!("{}/private/model.gguf", world.hub.url());
    for credentials in
        [&[("TOKEN", "hf_test_token")][..], &[("TOKEN", ""), ("USERNAME", "user"), ("PASSWORD", "password")]]
    {
        world.hub.reset_stats();
        let error = world.pull_with(&source, &world.network_with(credentials)).await.unwrap_err();
        assert_eq!(error.reason(), Reason::SourceInvalid, "{error}");
        assert!(world.hub.stats().total().requests < 20, "{:?}", world.hub.stats().total());
    }
}

/// What a Model's author, or a hub that redirects, could otherwise have read: the node's own identity.
#[tokio::test]
async fn metadata_servers_are_asked_by_no_source_and_by_no_redirect() {
    let world = World::new();
    let metadata = "http://169.254.169.254/latest/meta-data/iam/security-credentials/";
    let front = crate::proxy::Redirector::start(metadata.to_owned());
    let mapped = crate::proxy::Redirector::start("http://[::ffff:a9fe:a9fe]/token".to_owned());
    let network = world.network();
    let bucket = world.network_with(&[("AWS_ENDPOINT_URL", "http://169.254.169.254")]);
    let endpoint = world.network_with(&[("HF_ENDPOINT", "http://169.254.169.254")]);
    for (source, network) in [
        (metadata, &network),
        ("http://2852039166/latest", &network),
        ("http://[fd00:ec2::254]/latest", &network),
        (&format!("{}/model.gguf", front.url()), &network),
        (&format!("{}/model.gguf", mapped.url()), &network),
        ("s3://models/tiny", &bucket),
        ("hf://acme/tiny", &endpoint),
    ] {
        let error = world.pull_with(source, network).await.unwrap_err();
        assert_eq!((error.reason(), error.exit_code()), (Reason::ForbiddenAddress, 2), "{source}: {error}");
        let message = error.failure().message;
        assert!(message.contains("is link-local or a metadata server"), "{source}: {message}");
        world.assert_nothing_published();
    }
    assert_eq!(front.heads().len(), 1, "a refusal is no reason to ask again");
}
