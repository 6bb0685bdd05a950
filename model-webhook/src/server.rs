//! All servers, from start to graceful end.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use axum_server::Handle;
use kube::Client;
use model_watch::Namespaces;

use crate::admission::{Defaults, counted_router};
use crate::cache::ModelCache;
use crate::deletion::counted_deletion_router;
use crate::health::{Readiness, health_router};
use crate::limits::{HEADERS, bound_headers};
use crate::metrics::{Metrics, metrics_router};
use crate::mounts::Mounts;
use crate::options::Options;
use crate::tls::{self, Certificate};

/// How often the certificate files are looked at.
const RELOAD_EVERY: Duration = Duration::from_secs(1);
/// How long requests are still accepted after the wish to stop, until the Service sends none here any more.
const DRAIN: Duration = Duration::from_secs(3);
/// How long requests that have begun may take. The API server itself waits for 5 s.
const FINISH: Duration = Duration::from_secs(10);

/// Why the webhook could not start or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A port is taken or not allowed.
    #[error("could not listen on port {port}: stop what uses it, or choose another port")]
    Listen {
        /// The port.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// A server ended by itself.
    #[error("could not go on serving")]
    Serve(#[source] io::Error),
}

/// A webhook that listens and does not answer yet.
pub struct Server {
    admission: TcpListener,
    health: TcpListener,
    metrics: TcpListener,
    certificate: Certificate,
    defaults: Defaults,
    namespaces: Namespaces,
}

impl Server {
    /// Reads the certificate and takes its ports. Port 0 takes any free one.
    ///
    /// # Errors
    /// When the certificate cannot be used or a port is taken.
    pub async fn bind(options: &Options) -> Result<Self, Error> {
        Ok(Self {
            certificate: Certificate::load(&options.cert_dir).await?,
            admission: listen(options.port)?,
            health: listen(options.health_port)?,
            metrics: listen(options.metrics_port)?,
            defaults: options.defaults(),
            namespaces: options.namespaces(),
        })
    }

    /// The port that answers the API server.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.admission.local_addr()?.port())
    }

    /// The port of `/healthz` and `/readyz`.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn health_port(&self) -> io::Result<u16> {
        Ok(self.health.local_addr()?.port())
    }

    /// The port of `/metrics`.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn metrics_port(&self) -> io::Result<u16> {
        Ok(self.metrics.local_addr()?.port())
    }

    /// Answers until `stop` resolves, then ends gracefully: `/readyz` says 503 first, requests are still accepted for a
    /// moment, and those that have begun are finished.
    ///
    /// # Errors
    /// When a server ends by itself.
    pub async fn run(self, client: Client, stop: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let (mounts, watch_pods) = Mounts::watch(&client, &self.namespaces);
        let (models, watch) = ModelCache::watch(&client, &self.namespaces);
        let readiness = Readiness::new(models.clone());
        let (admission, health) = (Handle::<SocketAddr>::new(), Handle::<SocketAddr>::new());
        let config = self.certificate.config();
        let (counted, scrapes) = (Metrics::default(), Handle::<SocketAddr>::new());
        let ends = counted.clone();
        let background =
            Box::pin(
                async move { tokio::join!(watch, watch_pods, self.certificate.follow_and_count(RELOAD_EVERY, &ends)) },
            );
        let answers = counted_router(models, self.defaults, counted.clone())
            .merge(counted_deletion_router(mounts, counted.clone()));

        let serve_admission = axum_server::from_tcp_rustls(self.admission, config).map_err(Error::Serve)?;
        let serve_admission =
            bound_headers(serve_admission, HEADERS).handle(admission.clone()).serve(answers.into_make_service());
        let serve_health = axum_server::from_tcp(self.health).map_err(Error::Serve)?.http1_only();
        let serve_health = bound_headers(serve_health, HEADERS)
            .handle(health.clone())
            .serve(health_router(readiness.clone()).into_make_service());
        let serve_metrics = axum_server::from_tcp(self.metrics).map_err(Error::Serve)?.http1_only();
        let serve_metrics = bound_headers(serve_metrics, HEADERS)
            .handle(scrapes.clone())
            .serve(metrics_router(counted).into_make_service());
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
        let end = async {
            stop.await;
            tracing::info!("stopping");
            readiness.end();
            tokio::time::sleep(DRAIN).await;
            admission.graceful_shutdown(Some(FINISH));
        };
        // Health and metrics are answered until the last request is.
        let admission_then_rest = async {
            let result = serve_admission.await;
            health.shutdown();
            scrapes.shutdown();
            result
        };
        tokio::select! {
            result = async { tokio::try_join!(admission_then_rest, serve_health, serve_metrics) } => {
                result.map(drop).map_err(Error::Serve)
            }
            () = async { tokio::join!(end, background); } => Ok(()),
        }
    }
}

/// Listens on all addresses, of both families where the machine has IPv6.
fn listen(port: u16) -> Result<TcpListener, Error> {
    let addresses = [SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))];
    let listener = TcpListener::bind(addresses.as_slice()).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|source| Error::Listen { port, source })
}
