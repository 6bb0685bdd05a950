//! A node that the test plays: the API server asks its kubelet for logs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

/// The logs by pod, and which were read.
#[derive(Clone, Default)]
pub struct Kubelet(Arc<Mutex<Logs>>);

#[derive(Default)]
struct Logs {
    logs: HashMap<String, String>,
    reads: Vec<String>,
}

impl Kubelet {
    /// Joins the cluster as the node `name`, for as long as the tests run.
    pub async fn join(client: &Client, name: &str) -> Self {
        let kubelet = Self::default();
        let port = kubelet.clone().listen();
        let nodes: Api<Node> = Api::all(client.clone());
        let node = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
        nodes.create(&PostParams::default(), &node).await.unwrap();
        let status = json!({ "status": {
            "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": port } },
        } });
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        kubelet
    }

    /// From now on this is the end of the pod's log.
    pub fn log(&self, pod: &str, log: &str) {
        self.0.lock().unwrap().logs.insert(pod.to_owned(), log.to_owned());
    }

    /// How often the pod's log was read.
    pub fn reads_of(&self, pod: &str) -> usize {
        self.0.lock().unwrap().reads.iter().filter(|read| *read == pod).count()
    }

    /// How often any log was read.
    pub fn reads(&self) -> usize {
        self.0.lock().unwrap().reads.len()
    }

    fn listen(self) -> u16 {
        let certificate = rcgen::generate_simple_self_signed(["node".to_owned()]).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("protocol versions").with_no_client_auth();
        let config =
            config.with_single_cert(vec![certificate.cert.der().clone()], key.into()).expect("a key that fits");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let connection = ServerConnection::new(config.clone()).expect("a connection");
                let mut stream = BufReader::new(StreamOwned::new(connection, socket));
                let (mut line, mut path) = (String::new(), String::new());
                // Up to the empty line that ends a request.
                while stream.read_line(&mut line).is_ok_and(|length| length > 2) {
                    if path.is_empty() {
                        path.clone_from(&line);
                    }
                    line.clear();
                }
                let log = self.answer(&path);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", log.len());
                // Whoever went away needs no answer.
                let _ = stream.get_mut().write_all(format!("{head}{log}").as_bytes());
                stream.get_mut().conn.send_close_notify();
                let _ = stream.get_mut().flush();
            }
        });
        port
    }

    /// The log that `GET /containerLogs/NAMESPACE/POD/CONTAINER?…` asks for.
    fn answer(&self, request: &str) -> String {
        let pod = request.split('/').nth(3).unwrap_or_default().to_owned();
        let mut known = self.0.lock().unwrap();
        known.reads.push(pod.clone());
        known.logs.get(&pod).cloned().unwrap_or_default()
    }
}
