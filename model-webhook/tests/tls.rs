//! The certificate on a real socket.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use model_webhook::certificates::{CA_FILE, CERTIFICATE_FILE, KEY_FILE};
use model_webhook::{Certificate, Certificates, TlsError};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const HOST: &str = "model-webhook.model-system.svc";
/// Far beyond what any machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

fn new_certificates() -> Certificates {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Certificates::generate(&[HOST.to_owned(), "127.0.0.1".to_owned()]).unwrap()
}

/// A server with the certificate of `directory`, which it follows closely.
async fn serve(directory: &Path) -> SocketAddr {
    let certificate = Certificate::load(directory).await.unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let server = axum_server::from_tcp_rustls(listener, certificate.config()).unwrap();
    tokio::spawn(server.serve(Router::new().into_make_service()));
    tokio::spawn(certificate.follow(Duration::from_millis(20)));
    address
}

/// Whether somebody who trusts this authority alone can talk to the server under this name.
async fn trusted(address: SocketAddr, ca: &str, name: &'static str) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.is_ok()
}

async fn until_trusted(address: SocketAddr, ca: &str) {
    let start = Instant::now();
    while !trusted(address, ca, HOST).await {
        assert!(start.elapsed() < PATIENCE, "the new certificate was not loaded");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_api_server_can_trust_the_certificate_under_each_name_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = new_certificates();
    certificates.write(directory.path()).unwrap();
    let address = serve(directory.path()).await;
    assert!(trusted(address, &certificates.ca, HOST).await);
    assert!(trusted(address, &certificates.ca, "127.0.0.1").await);
    assert!(!trusted(address, &certificates.ca, "example.org").await);
    assert!(!trusted(address, &new_certificates().ca, HOST).await, "another authority of the same name");
}

#[tokio::test]
async fn a_new_pair_is_used_and_a_broken_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let first = new_certificates();
    first.write(path).unwrap();
    let address = serve(path).await;
    assert!(trusted(address, &first.ca, HOST).await);

    let second = new_certificates();
    second.write(path).unwrap();
    until_trusted(address, &second.ca).await;
    assert!(!trusted(address, &first.ca, HOST).await);

    // Each of these is seen and refused: only then does the pair after it appear.
    let third = new_certificates();
    let breaks: [(&str, &dyn Fn()); 4] = [
        ("no certificate at all", &|| std::fs::write(path.join(CERTIFICATE_FILE), "nonsense").unwrap()),
        ("an empty key", &|| std::fs::write(path.join(KEY_FILE), "").unwrap()),
        ("the key of another certificate", &|| {
            std::fs::write(path.join(CERTIFICATE_FILE), &second.certificate).unwrap();
            std::fs::write(path.join(KEY_FILE), &third.key).unwrap();
        }),
        ("no files", &|| std::fs::remove_file(path.join(CERTIFICATE_FILE)).unwrap()),
    ];
    for (what, break_it) in breaks {
        break_it();
        for _ in 0..10 {
            assert!(trusted(address, &second.ca, HOST).await, "{what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    third.write(path).unwrap();
    until_trusted(address, &third.ca).await;
}

#[tokio::test]
async fn a_server_without_a_usable_pair_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = new_certificates();
    let Err(missing) = Certificate::load(directory.path()).await else { panic!("there is no certificate") };
    assert!(matches!(missing, TlsError::Read { .. }));
    assert!(missing.to_string().contains("tls.crt: mount a certificate there"), "{missing}");

    certificates.write(directory.path()).unwrap();
    std::fs::write(directory.path().join(KEY_FILE), new_certificates().key).unwrap();
    let Err(other) = Certificate::load(directory.path()).await else { panic!("the key is another one's") };
    assert!(matches!(other, TlsError::Use { .. }));
}

#[test]
fn only_the_owner_can_read_the_key() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/on/the/way");
    new_certificates().write(&path).unwrap();
    new_certificates().write(&path).unwrap();
    let mode = |name| std::fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(KEY_FILE), 0o600);
    assert_eq!([mode(CA_FILE), mode(CERTIFICATE_FILE)].map(|mode| mode & 0o400), [0o400; 2]);
    let names = std::fs::read_dir(&path).unwrap().count();
    assert_eq!(names, 3, "nothing else is left behind");
}
