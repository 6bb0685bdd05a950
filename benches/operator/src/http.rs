//! Just as much HTTP as the bench needs.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Whether this path of a port on this machine answers 200.
pub async fn is_ok(port: u16, path: &str) -> bool {
    let ask = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let (mut send, connection) = handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "localhost").body(Full::default()).ok()?;
        Some(send.send_request(request).await.ok()?.status())
    };
    ask.await == Some(StatusCode::OK)
}

/// How the webhook is reached: as the API server does, with HTTP/1.1 over TLS.
#[derive(Clone)]
pub struct Target {
    tls: Arc<ClientConfig>,
    port: u16,
}

impl Target {
    /// A webhook on this machine whose certificate the authority of these PEM bytes has signed.
    pub fn new(authority: &[u8], port: u16) -> anyhow::Result<Self> {
        use rustls::pki_types::{CertificateDer, pem::PemObject as _};
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority).context("the authority is no PEM")?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(Self { tls: Arc::new(config.with_root_certificates(roots).with_no_client_auth()), port })
    }

    /// A new connection.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(self.tls.clone()).connect(ServerName::try_from("localhost")?, stream).await?;
        let (send, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection(send))
    }
}

/// A connection that takes one request after another.
pub struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    /// Sends an `AdmissionReview`, and gives the body of the answer.
    pub async fn review(&mut self, path: &str, body: Bytes) -> anyhow::Result<Bytes> {
        let request = Request::post(path).header("host", "localhost").header("content-type", "application/json");
        self.0.ready().await?;
        let answer = self.0.send_request(request.body(Full::new(body))?).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status != StatusCode::OK {
            bail!("{status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}
