//! `logs`, from a node that the test plays: the API server asks its kubelet for the log.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams, PostParams};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use crate::plane::Scene;

/// Answers every request with this log, as long as the tests run. Gives its port.
fn kubelet(log: &'static str) -> u16 {
    let certificate = rcgen::generate_simple_self_signed(["node-1".to_owned()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("protocol versions").with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.cert.der().clone()], key.into()).expect("a key that fits");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(config.clone()).expect("a connection");
            let mut stream = BufReader::new(StreamOwned::new(connection, socket));
            let mut line = String::new();
            // Up to the empty line that ends a request.
            while stream.read_line(&mut line).is_ok_and(|length| length > 2) {
                line.clear();
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", log.len());
            // Whoever went away needs no answer.
            let _ = stream.get_mut().write_all(format!("{head}{log}").as_bytes());
            stream.get_mut().conn.send_close_notify();
            let _ = stream.get_mut().flush();
        }
    });
    port
}

#[tokio::test]
async fn the_log_of_the_newest_download_is_printed_without_what_draws() {
    let scene = Scene::new("log").await;
    let port = kubelet("{\"downloadedBytes\":1}\n\x1b[2Jdrawn\nlast line\n");
    let nodes: Api<Node> = Api::all(scene.client.clone());
    let node: Node = serde_json::from_value(json!({ "metadata": { "name": "node-1" } })).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let status = json!({ "status": {
        "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": port } },
    } });
    nodes.patch_status("node-1", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();

    let model = scene.model("tiny").await;
    let job = scene.job(&model, "claim-uid").await;
    let owner = json!([{ "apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "uid": job.uid(), "controller": true }]);
    let labels = json!({ "models.main-currents.news/model": "tiny" });
    scene
        .create::<Pod>(&json!({
            "metadata": { "name": "model-download-tiny-x", "labels": labels, "ownerReferences": owner },
            "spec": { "nodeName": "node-1", "containers": [{ "name": "download", "image": "loader" }] },
        }))
        .await;
    for args in [&["logs", "tiny"][..], &["logs", "tiny", "--follow"]] {
        let run = scene.run(args).await;
        assert_eq!(run.ends(0), "{\"downloadedBytes\":1}\n\u{fffd}[2Jdrawn\nlast line\n", "{args:?}");
    }
}
