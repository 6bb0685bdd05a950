//! A replica of the webhook, played: it serves by TLS what the kubelet brings from the Secret.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, PostParams};
use model_controller::WebhookCertificates;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::trust::{Watched, authority};

/// Between two looks of the kubelet.
const LOOK: Duration = Duration::from_millis(50);

/// What is in the replica's directory.
#[derive(Debug, Default)]
struct Mounted(Mutex<Option<Arc<CertifiedKey>>>);

impl ResolvesServerCert for Mounted {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.lock().expect("nobody panicked").clone()
    }
}

pub struct Replica {
    address: (IpAddr, u16),
    mounted: Arc<Mounted>,
}

impl Replica {
    /// Starts one, without a certificate, and makes it an endpoint of the Service.
    pub async fn start(client: &Client, settings: &WebhookCertificates) -> Self {
        let mounted = Arc::new(Mounted::default());
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        let acceptor = TlsAcceptor::from(Arc::new(builder.with_cert_resolver(mounted.clone())));
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(acceptor.accept(stream));
            }
        });
        let address = own_address();
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {
                "name": format!("{}-{port}", settings.service),
                "labels": { "kubernetes.io/service-name": settings.service },
            },
            "addressType": "IPv4",
            "endpoints": [{ "addresses": [address.to_string()] }],
            "ports": [{ "name": "https", "port": port }],
        }))
        .expect("a slice");
        let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &settings.namespace);
        slices.create(&PostParams::default(), &slice).await.expect("the slice is accepted");
        Self { address: (address, port), mounted }
    }

    /// Plays the kubelet: what is in the Secret comes to the replica, so much later.
    pub fn mounts(
        &self,
        secrets: Api<Secret>,
        secret: String,
        trust: Watched,
        index: usize,
        lag: Duration,
    ) -> impl Future<Output = ()> + Send + use<> {
        let mounted = self.mounted.clone();
        async move {
            loop {
                let found = secrets.get_opt(&secret).await.expect("it can be read");
                let ca = found.as_ref().and_then(|secret| authority(secret.data.as_ref()));
                if let Some((secret, ca)) =
                    found.zip(ca).filter(|(_, ca)| trust.lock().served[index].as_ref() != Some(ca))
                {
                    tokio::time::sleep(lag).await;
                    let pair = pair(&secret);
                    // Nobody sees one without the other.
                    let mut trust = trust.lock();
                    *mounted.0.lock().expect("nobody panicked") = Some(Arc::new(pair));
                    trust.served[index] = Some(ca);
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Connects as an API server that trusts these authorities.
    pub async fn accepts(&self, authorities: &[String], host: &str) -> Result<(), String> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).expect("PEM")).expect("a certificate");
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let connector = TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()));
        let stream = TcpStream::connect(self.address).await.map_err(|error| error.to_string())?;
        let host = ServerName::try_from(host.to_owned()).expect("a name");
        connector.connect(host, stream).await.map(drop).map_err(|error| error.to_string())
    }
}

/// The certificate in a Secret, with the key that belongs to it.
fn pair(secret: &Secret) -> CertifiedKey {
    let data = secret.data.as_ref().expect("data");
    let ByteString(certificate) = &data["tls.crt"];
    let ByteString(key) = &data["tls.key"];
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(key).expect("a key");
    CertifiedKey::from_der(chain, key, &ring::default_provider()).expect("the key belongs to the certificate")
}

/// An address of this machine that an `EndpointSlice` may have, which a loopback one is not. Nothing is sent.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).expect("a way out");
    socket.local_addr().expect("an address").ip()
}
