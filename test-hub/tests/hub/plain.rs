use serde_json::Value;
use test_hub::Origin;

use crate::support::{client, header, serve};

#[tokio::test]
async fn plain_files_have_ranges_and_conditions() {
    let served = serve(|config| config);
    let content = served.file("files/tiny.safetensors");
    let url = served.url("/files/tiny.safetensors");
    let whole = client().get(&url).send().await.unwrap();
    assert_eq!((header(&whole, "accept-ranges"), whole.content_length()), ("bytes", Some(content.len() as u64)));
    let tag = header(&whole, "etag").to_owned();
    assert_eq!(whole.bytes().await.unwrap(), content);
    let tail = client().get(&url).header("range", "bytes=-100").header("if-range", &tag).send().await.unwrap();
    assert_eq!(tail.status(), 206);
    assert_eq!(tail.bytes().await.unwrap(), content[content.len() - 100..]);
    let known = client().get(&url).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!(known.status(), 304);
    for path in ["/files/none", "/files/..%2Fprivate%2Ftiny.safetensors", "/files/"] {
        assert_eq!(client().get(served.url(path)).send().await.unwrap().status(), 404, "{path}");
    }
}

#[tokio::test]
async fn protected_files_take_a_token_or_a_password() {
    let served = serve(|config| config);
    let get = || client().get(served.url("/private/tiny.safetensors"));
    let anonymous = get().send().await.unwrap();
    assert_eq!(anonymous.status(), 401);
    assert!(header(&anonymous, "www-authenticate").starts_with("Basic"));
    assert_eq!(get().basic_auth("user", Some("wrong")).send().await.unwrap().status(), 401);
    assert_eq!(get().bearer_auth("hf_outsider_token").send().await.unwrap().status(), 403);
    for answer in [get().basic_auth("user", Some("password")), get().bearer_auth("hf_test_token")] {
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.bytes().await.unwrap(), served.file("private/tiny.safetensors"));
    }
}

#[tokio::test]
async fn s3_refuses_anonymous_requests() {
    let served = serve(|config| config);
    let url = format!("{}/models/tiny/config.json", served.hub.s3_url());
    let refused = client().get(url).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.unwrap().contains("<Code>AccessDenied</Code>"));
}

#[tokio::test]
async fn the_admin_port_counts_and_forgets() {
    let served = serve(|config| config);
    client().get(served.url("/files/tiny.safetensors")).header("range", "bytes=0-999").send().await.unwrap();
    let admin = format!("{}/_stats", served.hub.admin_url());
    let stats: Value = client().get(&admin).send().await.unwrap().json().await.unwrap();
    assert_eq!(stats["origins"]["hub"]["requests"], 1);
    assert_eq!(stats["paths"]["hub /files/tiny.safetensors"]["bytes"], 1000);
    assert_eq!(stats["paths"]["hub /files/tiny.safetensors"]["statuses"]["206"], 1);
    client().delete(&admin).send().await.unwrap().error_for_status().unwrap();
    assert_eq!(served.hub.stats().origin(Origin::Hub).requests, 0);
}
