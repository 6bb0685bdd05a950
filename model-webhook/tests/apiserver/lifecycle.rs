//! The webhook's start and end.

use std::net::Ipv4Addr;
use std::sync::Arc;

use model_webhook::PATH;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cluster::eventually;
use crate::webhook::{Running, get};

/// The head and the body of an HTTP/1.1 answer.
async fn answer(stream: &mut TlsStream<TcpStream>) -> String {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if length == Some(body.len()) {
                return text;
            }
        }
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "the connection ended after {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_gracefully() {
    let server = Running::start().await;
    assert!(get(server.health_port, "/healthz").await.starts_with("HTTP/1.1 200"));
    let metrics = get(server.metrics_port, "/metrics").await;
    let expiry =
        metrics.lines().find_map(|line| line.strip_prefix("model_webhook_certificate_expiry_timestamp_seconds "));
    let expiry: i64 = expiry.expect("the certificate's end is told").parse().unwrap();
    let days = (expiry - jiff::Timestamp::now().as_second()) / (24 * 60 * 60);
    assert!((3640..=3660).contains(&days), "a certificate of ten years ends in {days} days");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.certificates.ca.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let connect = async || {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.unwrap();
        connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap()
    };
    let body = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": { "uid": "1", "kind": { "version": "v1", "kind": "Pod" }, "operation": "CREATE", "object": {} }
    })
    .to_string();
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: webhook\r\ncontent-length: {}\r\n\r\n", body.len());
    let (first, rest) = body.split_at(10);

    // A request has begun.
    let mut begun = connect().await;
    begun.write_all(format!("{head}{first}").as_bytes()).await.unwrap();
    let mut late = connect().await;

    let health_port = server.health_port;
    let ended = server.stop();
    // First it tells that it should get no more requests,
    eventually(|| async {
        let ready = get(health_port, "/readyz").await;
        if ready.starts_with("HTTP/1.1 503") && ready.ends_with("shutting down") { Ok(()) } else { Err(ready) }
    })
    .await;
    // but still answers those that come nevertheless,
    late.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    assert!(answer(&mut late).await.contains("\"allowed\":true"));
    drop(late);
    // and the one that had begun.
    begun.write_all(rest.as_bytes()).await.unwrap();
    assert!(answer(&mut begun).await.contains("\"allowed\":true"));
    drop(begun);
    ended.await.unwrap().unwrap();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, health_port)).await.is_err(), "the ports are free again");
}
