//! The controller renews the webhook's certificate while pods are created: none is refused.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, WebhookClientConfig};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use model_controller::{Rhythm, WebhookCertificates, keep_webhook_certificates};
use model_webhook::{PATH, Server};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::cluster::{client, config, eventually, kubectl, model, namespace, ready};
use crate::webhook::{options, register_as};

/// Of the pods.
const NAMESPACE: &str = "rotation";
/// Of the operator, with its rights from `config/`.
const OWN: &str = "model-system";
const CONTROLLER: &str = "system:serviceaccount:model-system:model-controller";
const REGISTRATION: &str = "model-webhook";
const SECRET: &str = "model-webhook-tls";
const ROTATIONS: usize = 3;
/// An API server hears of a bundle within this time.
const SETTLE: Duration = Duration::from_secs(1);

fn settings() -> WebhookCertificates {
    WebhookCertificates {
        hosts: vec!["127.0.0.1".to_owned()],
        rhythm: Rhythm {
            renew_after: SignedDuration::from_secs(5),
            settle: SignedDuration::try_from(SETTLE).unwrap(),
            look_every: SignedDuration::from_millis(200),
            ..Rhythm::default()
        },
        ..WebhookCertificates::new(OWN)
    }
}

fn secrets(client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), OWN)
}

/// Plays the kubelet of a replica: what is in the Secret comes to its directory, so much later.
async fn mount(client: Client, directory: PathBuf, later: Duration) {
    loop {
        if let Ok(Some(secret)) = secrets(&client).get_opt(SECRET).await {
            tokio::time::sleep(later).await;
            write(&secret, &directory);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn write(secret: &Secret, directory: &Path) {
    for (name, ByteString(data)) in secret.data.iter().flatten() {
        let (path, new) = (directory.join(name), directory.join("new"));
        if std::fs::read(&path).ok().as_ref() != Some(data) {
            std::fs::write(&new, data).unwrap();
            std::fs::rename(new, path).unwrap();
        }
    }
}

/// A replica on a free port.
async fn replica(directory: &Path) -> u16 {
    let server = Server::bind(&options(directory, &[])).await.unwrap();
    let port = server.port().unwrap();
    tokio::spawn(server.run(client(None).await, std::future::pending()));
    port
}

/// Plays the Service: each connection goes to the next replica.
async fn service(ports: [u16; 2]) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for to in ports.into_iter().cycle() {
            let (mut from, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut to = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.unwrap();
                let _ = copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    port
}

/// An address of this machine that an `EndpointSlice` may have, which a loopback one is not. Nothing is sent.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).unwrap();
    socket.local_addr().unwrap().ip()
}

async fn endpoints(client: &Client, ports: [u16; 2]) {
    for port in ports {
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": { "name": format!("model-webhook-{port}"), "labels": { "kubernetes.io/service-name": "model-webhook" } },
            "addressType": "IPv4",
            "endpoints": [{ "addresses": [own_address().to_string()] }],
            "ports": [{ "name": "https", "port": port }],
        }))
        .unwrap();
        Api::namespaced(client.clone(), OWN).create(&PostParams::default(), &slice).await.unwrap();
    }
}

/// The certificates that the API server trusts the webhook by.
async fn bundle(client: &Client) -> Vec<CertificateDer<'static>> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let mut registration = api.get(REGISTRATION).await.unwrap();
    let ByteString(bundle) = registration.webhooks.as_mut().unwrap()[0].client_config.ca_bundle.take().unwrap();
    CertificateDer::pem_slice_iter(&bundle).map(Result::unwrap).collect()
}

/// A new connection, as an API server makes it that heard of the bundle a moment ago. Gives whether it counts: one that
/// took longer than an API server takes to hear of the next bundle may be refused.
async fn handshake(client: &Client, port: u16) -> Result<bool, String> {
    let begun = Instant::now();
    let mut roots = RootCertStore::empty();
    for authority in bundle(client).await {
        roots.add(authority).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| error.to_string())?;
    let host = ServerName::try_from("127.0.0.1").unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect(host, stream).await;
    if begun.elapsed() > SETTLE {
        return Ok(false);
    }
    connected.map(|_| true).map_err(|error| error.to_string())
}

async fn create(client: &Client) -> Result<(), String> {
    let pod = json!({
        "metadata": { "generateName": "app-", "annotations": { "models.main-currents.news/inject": "llama" } },
        "spec": { "containers": [{ "name": "app", "image": "app" }] },
    });
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let created =
        pods.create(&params, &serde_json::from_value(pod).unwrap()).await.map_err(|error| error.to_string())?;
    let injected = created.labels().contains_key("models.main-currents.news/injected");
    injected.then_some(()).ok_or_else(|| "it was created without its model".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_under_load_and_no_pod_is_refused() {
    let client = client(None).await;
    namespace(&client, NAMESPACE).await;
    model(&client, NAMESPACE, "llama", ready()).await;
    kubectl(&["apply", "-f", config("certificates/rbac.yaml").to_str().unwrap()], "").await.unwrap();
    let controller = crate::cluster::client(Some(CONTROLLER)).await;
    tokio::spawn(keep_webhook_certificates(controller, settings()));
    let first =
        eventually(async || secrets(&client).get_opt(SECRET).await.unwrap().ok_or("no Secret".to_owned())).await;
    assert_eq!(first.type_.as_deref(), Some("kubernetes.io/tls"));
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut ports = [0; 2];
    for ((directory, port), later) in directories.iter().zip(&mut ports).zip([0, 1500]) {
        write(&first, directory.path());
        *port = replica(directory.path()).await;
        tokio::spawn(mount(client.clone(), directory.path().to_owned(), Duration::from_millis(later)));
    }
    endpoints(&client, ports).await;
    let service = service(ports).await;
    // As installed: without a bundle.
    let url = Some(format!("https://127.0.0.1:{service}{PATH}"));
    let client_config = WebhookClientConfig { url, ..WebhookClientConfig::default() };
    register_as(REGISTRATION, &client, NAMESPACE, client_config, |_| ()).await;
    eventually(|| create(&client)).await;

    let (created, connected) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut load: JoinSet<Result<(), String>> = JoinSet::new();
    for _ in 0..2 {
        let (client, created) = (client.clone(), created.clone());
        load.spawn(async move {
            loop {
                create(&client).await?;
                created.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (client, connected) = (crate::cluster::client(None).await, connected.clone());
        load.spawn(async move {
            loop {
                let counts = handshake(&client, service).await?;
                connected.fetch_add(usize::from(counts), Ordering::Relaxed);
            }
        });
    }
    let mut last = first;
    for rotation in 0..ROTATIONS {
        let renewed = eventually(async || {
            let secret = secrets(&client).get(SECRET).await.unwrap();
            if secret.data == last.data { Err(format!("rotation {rotation} has not come")) } else { Ok(secret) }
        });
        last = tokio::select! {
            secret = renewed => secret,
            failed = load.join_next() => panic!("refused in rotation {rotation}: {failed:?}"),
        };
    }
    let (created, connected) = (created.load(Ordering::Relaxed), connected.load(Ordering::Relaxed));
    println!("{created} pods and {connected} connections in {ROTATIONS} rotations");
    assert!(created > ROTATIONS && connected > ROTATIONS);
    // Nothing old stays trusted for longer than it is served.
    eventually(async || match bundle(&client).await.len() {
        1 => Ok(()),
        authorities => Err(format!("{authorities} authorities are trusted")),
    })
    .await;
    assert!(load.try_join_next().is_none(), "something was refused");
}
