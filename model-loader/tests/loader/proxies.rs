//! Proxies, as the usual variables name them.

use std::process::Output;

use test_hub::HubConfig;

use crate::{
    proxy::Proxy,
    world::{World, printed},
};

/// Runs the binary with these variables besides the usual ones.
fn run(world: &World, source: &str, env: &[(&str, &str)]) -> Output {
    world.binary(source).envs(env.iter().copied()).env("RUST_LOG", "trace").output().unwrap()
}

#[test]
fn plain_requests_go_by_the_proxy() {
    let world = World::new();
    let proxy = Proxy::start();
    // A name that nobody but the proxy knows.
    let endpoint = world.hub.url().replace("127.0.0.1", "hub.invalid");
    let with_password = proxy.url().replace("http://", "http://me:pr0xy-s3cret@");
    let by_proxy = run(&world, "hf://acme/tiny", &[("HF_ENDPOINT", &endpoint), ("HTTP_PROXY", &with_password)]);
    assert_eq!(by_proxy.status.code(), Some(0), "{}", printed(&by_proxy));
    world.assert_published(&world.served("hf/acme/tiny"));
    let heads = proxy.heads();
    assert!(heads.iter().any(|head| head.starts_with("get http://hub.invalid:")), "{heads:?}");
    // Not to the second origin of a redirect: https://github.com/seanmonstar/reqwest/issues/2177. Tunnels are not affected.
    let hub = endpoint.trim_start_matches("http://");
    for head in heads.iter().filter(|head| head.contains(hub)) {
        assert!(head.contains("proxy-authorization: basic "), "{head}");
    }
    for secret in ["pr0xy-s3cret", "bWU6cHIweHktczNjcmV0", "hf_test_token"] {
        assert!(!printed(&by_proxy).contains(secret), "{secret} is printed");
    }
}

#[test]
fn tunnels_go_by_the_proxy() {
    let world = World::with(HubConfig::with_tls);
    let ca = world.root.path().join("ca.pem");
    std::fs::write(&ca, world.hub.ca_pem().unwrap()).unwrap();
    let proxy = Proxy::start();
    let endpoint = world.hub.tls_url().unwrap();
    let env = [("HF_ENDPOINT", &*endpoint), ("SSL_CERT_FILE", ca.to_str().unwrap()), ("HTTPS_PROXY", &proxy.url())];
    let by_proxy = run(&world, "hf://acme/tiny", &env);
    assert_eq!(by_proxy.status.code(), Some(0), "{}", printed(&by_proxy));
    world.assert_published(&world.served("hf/acme/tiny"));
    let heads = proxy.heads();
    assert!(heads.len() > 1, "hub and CDN: {heads:?}");
    for head in &heads {
        assert!(head.starts_with("connect localhost:"), "{head}");
        assert!(!head.contains("hf_test_token"), "the proxy sees no token: {head}");
    }
}

#[test]
fn exceptions_and_small_letters_are_honoured() {
    let world = World::new();
    let proxy = Proxy::start();
    let dead = "http://127.0.0.1:9";
    let direct = run(&world, "hf://acme/tiny", &[("HTTP_PROXY", dead), ("NO_PROXY", "example.com,127.0.0.0/8")]);
    assert_eq!(direct.status.code(), Some(0), "{}", printed(&direct));
    world.assert_published(&world.served("hf/acme/tiny"));

    let world = World::new();
    let small = run(&world, "hf://acme/tiny", &[("http_proxy", &proxy.url()), ("no_proxy", "example.com")]);
    assert_eq!(small.status.code(), Some(0), "{}", printed(&small));
    assert!(!proxy.heads().is_empty());
    let before = proxy.heads().len();

    let world = World::new();
    let bucket = run(&world, "s3://models/tiny", &[("ALL_PROXY", &format!("http://localhost:{}", proxy.port()))]);
    assert_eq!(bucket.status.code(), Some(0), "{}", printed(&bucket));
    assert!(proxy.heads().len() > before, "S3 too");
}

#[test]
fn a_proxy_that_is_not_there_is_said_to_be_in_trouble() {
    let world = World::new();
    let run = run(&world, "http://host.invalid/model.gguf", &[("HTTP_PROXY", "http://me:pr0xy-s3cret@127.0.0.1:9")]);
    assert_eq!(run.status.code(), Some(1), "{}", printed(&run));
    assert!(printed(&run).contains("NetworkError"), "{}", printed(&run));
    assert!(!printed(&run).contains("pr0xy-s3cret"), "{}", printed(&run));
}
