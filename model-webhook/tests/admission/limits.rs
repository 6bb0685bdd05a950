//! What a client may send, and how long it may take.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use futures::stream;
use serde_json::Value;
use tokio::time::Instant;

use crate::world::{asking, llama, post, review};

const MEGABYTE: usize = 1_000_000;

#[tokio::test]
async fn a_hundred_megabytes_are_refused_before_they_are_read() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let pieces = stream::iter((0..100).map(move |_| {
        counted.fetch_add(1, Relaxed);
        Ok::<_, Infallible>(Bytes::from(vec![b' '; MEGABYTE]))
    }));
    assert_eq!(post(llama(), Body::from_stream(pieces)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(sent.load(Relaxed) <= 5, "{} MB were read", sent.load(Relaxed));
}

#[tokio::test]
async fn json_that_is_nested_without_end_is_refused_in_words() {
    let pod = asking("llama-3-8b");
    let depth = 100_000;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}null{}", open.repeat(depth), close.repeat(depth));
        let with_deep = |pod: &Value| {
            let text = review(pod).to_string().replacen("\"spec\":{", &format!("\"spec\":{{\"unknown\":{deep},"), 1);
            assert!(text.contains(&deep));
            text
        };
        let mut plain = pod.clone();
        plain["metadata"] = serde_json::json!({ "name": "plain" });
        // What nobody reads is passed over, whatever its depth.
        let unknown = format!("{{\"extra\":{deep},{}", &review(&pod).to_string()[1..]);
        for body in [unknown, with_deep(&plain)] {
            assert_eq!(post(llama(), body).await.0, StatusCode::OK);
        }
        for body in [with_deep(&pod), deep] {
            let (status, answer) = post(llama(), body).await;
            let answer = String::from_utf8(answer).unwrap();
            assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
            assert!(answer.len() < 1000, "the body is not said again");
        }
    }
    // As deep as pods are, and far deeper.
    let mut deep = Value::Null;
    for _ in 0..100 {
        deep = serde_json::json!([deep]);
    }
    let mut pod = pod;
    pod["spec"]["unknown"] = deep;
    assert_eq!(post(llama(), review(&pod).to_string()).await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_body_of_one_byte_a_second_is_given_up() {
    let begun = Instant::now();
    let drips = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
    });
    let (status, answer) = post(llama(), Body::from_stream(drips)).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(answer, b"the body did not come in time");
    assert!(begun.elapsed() < Duration::from_secs(30));
}
