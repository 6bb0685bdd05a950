//! The client against a real hub.

use futures::future::join_all;
use test_hub::{Fault, Hub, HubConfig, Rule};

use super::*;

#[tokio::test]
async fn connections_are_kept_for_the_next_requests_however_many_there_are() {
    const TOGETHER: u64 = 80;
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("files")).unwrap();
    std::fs::write(root.path().join("files/a"), vec![7; 20_000]).unwrap();
    let hub = Hub::start(HubConfig::new(root.path())).unwrap();
    // So that all requests of a round are under way at the same time.
    hub.set_faults(vec![Rule::new(Fault::Latency { millis: 300 })]).unwrap();
    let http = Http::new(&Access::default(), Duration::from_secs(20), RetryPolicy::default()).unwrap();
    let url = format!("{}/files/a", hub.url());
    let mut opened = 0;
    // On a busy machine some are not back in the pool when the next round begins. Were too few kept, no round would do.
    for round in 1..=20 {
        let all = (0..TOGETHER).map(|_| http.small(|| http.client().get(&url), Dialect::Plain, "a"));
        for small in join_all(all).await {
            assert_eq!(small.unwrap().body.len(), 20_000);
        }
        let stats = hub.stats();
        assert_eq!(stats.total().requests, round * TOGETHER);
        if round > 1 && stats.connections < opened + TOGETHER / 10 {
            assert!(stats.peak_in_flight > 64, "{:?}", stats.peak_in_flight);
            return;
        }
        opened = stats.connections;
    }
    panic!("each round of {TOGETHER} requests opens new connections: {opened} in all");
}
