use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use reqwest::Response;
use serde_json::json;
use test_hub::{Fault, Origin, Rule};

use crate::support::{Served, client, header, serve, still_client};

const FILE: &str = "/files/tiny.safetensors";

async fn get(served: &Served) -> Response {
    client().get(served.url(FILE)).send().await.unwrap()
}

fn serve_with(rule: Rule) -> Served {
    let served = serve(|config| config);
    served.hub.add_fault(rule).unwrap();
    served
}

/// What arrives on a bare socket, headers stripped, and whether it ended with a reset.
fn raw(served: &Served) -> (Vec<u8>, bool) {
    let address = served.hub.url().replace("http://", "");
    let mut socket = TcpStream::connect(address).unwrap();
    write!(socket, "GET {FILE} HTTP/1.1\r\nHost: hub\r\n\r\n").unwrap();
    let mut got = Vec::new();
    let reset = socket.read_to_end(&mut got).is_err();
    let head = got.windows(4).position(|window| window == b"\r\n\r\n").map_or(got.len(), |at| at + 4);
    (got.split_off(head), reset)
}

#[tokio::test]
async fn requests_are_refused_until_the_count_is_spent() {
    let busy = Fault::Status { code: 429, retry_after: Some(2), rate_limit_reset: Some(7), html: false };
    let served = serve_with(Rule::new(busy).path(FILE).count(2));
    for _ in 0..2 {
        let refused = get(&served).await;
        assert_eq!((refused.status().as_u16(), header(&refused, "retry-after")), (429, "2"));
        assert_eq!(header(&refused, "ratelimit"), "\"resolvers\";r=0;t=7");
    }
    assert_eq!(get(&served).await.status(), 200);
    assert_eq!(served.hub.faults()[0].hits, 2);
}

#[tokio::test]
async fn an_html_page_can_stand_in_for_a_missing_file() {
    let page = Fault::Status { code: 404, retry_after: None, rate_limit_reset: None, html: true };
    let answer = get(&serve_with(Rule::new(page))).await;
    assert_eq!(answer.status(), 404);
    assert!(header(&answer, "content-type").starts_with("text/html"));
    assert!(answer.text().await.unwrap().contains("<html>"));
}

#[tokio::test]
async fn a_connection_is_closed_after_exactly_the_bytes_asked_for() {
    for after in [0, 1, 100_000, 1_048_576] {
        let served = serve_with(Rule::new(Fault::Close { after, reset: false }).count(1));
        let content = served.file("files/tiny.safetensors");
        let (got, reset) = raw(&served);
        assert_eq!((got.len() as u64, reset), (after, false));
        assert_eq!(got[..], content[..got.len()]);
        assert_eq!(get(&served).await.bytes().await.unwrap(), content);
    }
}

#[tokio::test]
async fn a_connection_can_end_with_a_reset() {
    let served = serve_with(Rule::new(Fault::Close { after: 50_000, reset: true }));
    assert!(raw(&served).1);
    assert!(get(&served).await.bytes().await.is_err());
}

#[tokio::test]
async fn a_stall_stops_the_bytes_for_the_time_asked_for() {
    let served = serve_with(Rule::new(Fault::Stall { after: 1_000, seconds: 0.3 }));
    let begin = Instant::now();
    let mut answer = get(&served).await;
    let mut got = Vec::new();
    while got.len() < 1_000 {
        got.extend(answer.chunk().await.unwrap().unwrap());
    }
    assert_eq!(got.len(), 1_000, "nothing after the stall's place");
    got.extend(answer.chunk().await.unwrap().unwrap());
    assert!(begin.elapsed().as_secs_f64() >= 0.3);
    while let Some(chunk) = answer.chunk().await.unwrap() {
        got.extend(chunk);
    }
    assert_eq!(got, served.file("files/tiny.safetensors"));
}

#[tokio::test]
async fn a_range_can_be_ignored() {
    let served = serve_with(Rule::new(Fault::IgnoreRange).count(1));
    let part = || client().get(served.url(FILE)).header("range", "bytes=5-9").send();
    assert_eq!(get(&served).await.status(), 200, "without a range nothing is used up");
    let ignored = part().await.unwrap();
    assert_eq!(ignored.status(), 200);
    assert_eq!(ignored.bytes().await.unwrap().len(), served.file("files/tiny.safetensors").len());
    assert_eq!(part().await.unwrap().status(), 206);
}

#[tokio::test]
async fn a_length_can_be_wrong_either_way_or_missing() {
    let size = 3 * 1024 * 1024;
    let served = serve(|config| config);
    let true_size = served.file("files/tiny.safetensors").len();
    assert!(true_size > size);
    let set = |fault| served.hub.set_faults(vec![Rule::new(fault)]).unwrap();

    set(Fault::ContentLength { delta: 10 });
    let long = get(&served).await;
    assert_eq!(long.content_length(), Some(true_size as u64 + 10));
    assert!(long.bytes().await.is_err(), "the connection ends before the stated length");

    set(Fault::ContentLength { delta: -10 });
    assert_eq!(get(&served).await.bytes().await.unwrap().len(), true_size - 10, "looks whole and is not");

    set(Fault::Truncate { after: 1_000 });
    let short = get(&served).await;
    assert_eq!(short.content_length(), None);
    assert_eq!(short.bytes().await.unwrap().len(), 1_000);
}

#[tokio::test]
async fn one_byte_is_flipped_wherever_the_range_starts() {
    let served = serve_with(Rule::new(Fault::Flip { offset: 1_000_000 }).count(1));
    let content = served.file("files/tiny.safetensors");
    let part = async |range: &str| {
        let answer = client().get(served.url(FILE)).header("range", range).send().await.unwrap();
        answer.bytes().await.unwrap()
    };
    assert_eq!(part("bytes=0-99").await, content[..100]);
    let hit = part("bytes=999990-1000009").await;
    let wrong: Vec<usize> = (0..20).filter(|at| hit[*at] != content[999_990 + at]).collect();
    assert_eq!(wrong, [10]);
    assert_eq!(part("bytes=999990-1000009").await, content[999_990..1_000_010]);
}

#[tokio::test]
async fn a_tag_can_change_midway() {
    let rule = Rule::new(Fault::Etag { value: "other".to_owned() }).path("*model.safetensors").skip(1);
    let served = serve_with(rule.origin(Origin::Hub));
    let head = || still_client().head(served.url("/acme/tiny/resolve/main/model.safetensors")).send();
    let before = head().await.unwrap();
    assert_eq!(header(&before, "x-linked-etag").len(), 66);
    assert_eq!(header(&head().await.unwrap(), "x-linked-etag"), "\"other\"");
}

#[tokio::test]
async fn redirects_can_go_round_for_ever() {
    let served = serve_with(Rule::new(Fault::RedirectLoop));
    let error = client().get(served.url(FILE)).send().await.unwrap_err();
    assert!(error.is_redirect(), "{error}");
}

#[tokio::test]
async fn a_rate_is_shared_by_the_answers_on_a_connection() {
    let served = serve_with(Rule::new(Fault::Rate { bytes_per_second: 400_000 }));
    let client = client();
    let begin = Instant::now();
    for _ in 0..4 {
        let part = client.get(served.url(FILE)).header("range", "bytes=0-39999").send().await.unwrap();
        assert_eq!(part.bytes().await.unwrap().len(), 40_000);
    }
    // 160 kB less the two frames that may come at once.
    assert!(begin.elapsed().as_secs_f64() >= 0.3);
}

#[tokio::test]
async fn the_admin_port_sets_and_ends_faults_on_every_origin() {
    let served = serve(|config| config);
    let admin = format!("{}/_faults", served.hub.admin_url());
    let rules = json!([
        {"origin": "s3", "fault": {"status": {"code": 503}}},
        {"path": "*.safetensors", "origin": "cdn", "fault": {"latency": {"millis": 1}}},
    ]);
    let set = client().put(&admin).json(&rules).send().await.unwrap();
    assert_eq!(set.status(), 204);
    assert_eq!(client().get(served.hub.s3_url()).send().await.unwrap().status(), 503);
    let bad = client().post(&admin).json(&json!({"path": "[", "fault": "ignore_range"})).send().await.unwrap();
    assert_eq!(bad.status(), 400);
    let list: serde_json::Value = client().get(&admin).send().await.unwrap().json().await.unwrap();
    assert_eq!((&list[0]["hits"], &list[1]["hits"]), (&json!(1), &json!(0)));
    client().delete(&admin).send().await.unwrap();
    assert_eq!(client().get(served.hub.s3_url()).send().await.unwrap().status(), 403);
}
