//! Starting and stopping a hub.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};

use axum::{Extension, Router};
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::runtime::Runtime;

use crate::admin::{self, Admin};
use crate::connection::Acceptor;
use crate::faults::layer::{Watch, watch};
use crate::faults::rule::Rule;
use crate::faults::set::{FaultSet, RuleState};
use crate::hf::cdn;
use crate::repository::{LargeFiles, Repositories};
use crate::shared::{CdnPorts, Scheme, Shared};
use crate::stats::{Recorder, Stats};
use crate::{Error, HubConfig, Origin, files, hf, s3, tls};

/// A running hub. It stops, and its connections end, when it is dropped.
pub struct Hub {
    admin: Admin,
    plain: Ports,
    tls: Option<Ports>,
    admin_port: u16,
    ca_pem: Option<String>,
    runtime: Option<Runtime>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    hub: u16,
    cdn: u16,
    s3: u16,
}

impl Hub {
    /// Starts a hub on threads of its own, so it may be called inside and outside of an
    /// asynchronous runtime. Its ports accept connections when this returns.
    ///
    /// # Errors
    /// A port is taken, the certificates cannot be made or read, or the buckets' folder cannot be opened.
    pub fn start(config: HubConfig) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("test-hub").build();
        let runtime = runtime.map_err(Error::file("start threads for", &config.root))?;
        let certificates = config.tls.tls.then(|| tls::set_up(&config.tls)).transpose()?;
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let s3_router = s3::router(&config)?;
        let shared = Arc::new(Shared {
            repositories: Repositories::new(config.root.join("hf"), LargeFiles { threshold: config.large_from }),
            faults: Arc::new(FaultSet::default()),
            recorder: Arc::new(Recorder::default()),
            signing_key: key.map_err(|error| Error::Tls(error.to_string()))?,
            cdn_ports: OnceLock::new(),
            config,
        });
        let config = &shared.config;
        let watched = |router: Router, origin| {
            let state = Watch { origin, faults: shared.faults.clone(), recorder: shared.recorder.clone() };
            router.layer(axum::middleware::from_fn_with_state(state, watch))
        };
        let hub = watched(hf::router().merge(files::router()).with_state(shared.clone()), Origin::Hub);
        let cdn = cdn::router().layer(axum::middleware::from_fn(cdn::no_credentials)).with_state(shared.clone());
        let cdn = watched(cdn, Origin::Cdn);
        let s3 = watched(s3_router, Origin::S3);

        let acceptor = Acceptor::default();
        let admin = Admin { shared: shared.clone(), connections: acceptor.accepted.clone() };
        let start = Starter { runtime: &runtime, listen: config.listen, acceptor };
        let plain = Ports {
            hub: start.plain(config.port, hub.clone())?,
            cdn: start.plain(config.cdn_port, cdn.clone())?,
            s3: start.plain(config.s3_port, s3.clone())?,
        };
        let admin_port = start.plain(config.admin_port, admin::router(admin.clone()))?;
        let mut tls = None;
        if let Some(certificates) = &certificates {
            let server = RustlsConfig::from_config(certificates.server.clone());
            tls = Some(Ports {
                hub: start.tls(config.tls.tls_port, hub, &server)?,
                cdn: start.tls(config.tls.tls_cdn_port, cdn, &server)?,
                s3: start.tls(config.tls.tls_s3_port, s3, &server)?,
            });
        }
        // No request can have come before this: nobody knows the ports yet, or the names are fixed.
        let ports = CdnPorts { plain: plain.cdn, tls: tls.map_or(0, |tls| tls.cdn) };
        let _ = shared.cdn_ports.set(ports);
        let ca_pem = certificates.and_then(|certificates| certificates.ca_pem);
        Ok(Self { admin, plain, tls, admin_port, ca_pem, runtime: Some(runtime) })
    }

    /// Base URL of the Hugging Face API (`HF_ENDPOINT`) and of `/files` and `/private`.
    #[must_use]
    pub fn url(&self) -> String {
        self.plain_url(self.plain.hub)
    }

    /// Base URL of the CDN.
    #[must_use]
    pub fn cdn_url(&self) -> String {
        self.plain_url(self.plain.cdn)
    }

    /// Base URL of the S3 endpoint (`AWS_ENDPOINT_URL`).
    #[must_use]
    pub fn s3_url(&self) -> String {
        self.plain_url(self.plain.s3)
    }

    /// Where a web identity token gives the keys of a session (`AWS_ENDPOINT_URL_STS`).
    #[must_use]
    pub fn sts_url(&self) -> String {
        format!("{}/sts", self.s3_url())
    }

    /// Base URL of the admin port.
    #[must_use]
    pub fn admin_url(&self) -> String {
        self.plain_url(self.admin_port)
    }

    /// https base URL of the hub, by the certificate's first name. `None` without TLS.
    #[must_use]
    pub fn tls_url(&self) -> Option<String> {
        self.tls.map(|ports| self.named_url(ports.hub))
    }

    /// https base URL of the S3 endpoint, by the certificate's first name. `None` without TLS.
    #[must_use]
    pub fn tls_s3_url(&self) -> Option<String> {
        self.tls.map(|ports| self.named_url(ports.s3))
    }

    /// The authority that clients must trust, PEM. `None` without TLS or with a given certificate.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Replaces all fault rules.
    ///
    /// # Errors
    /// A path pattern is not a glob; the rules before stay in force.
    pub fn set_faults(&self, rules: Vec<Rule>) -> Result<(), Error> {
        self.admin.shared.faults.replace(rules)
    }

    /// Adds a fault rule to those in force.
    ///
    /// # Errors
    /// The path pattern is not a glob.
    pub fn add_fault(&self, rule: Rule) -> Result<(), Error> {
        self.admin.shared.faults.add(rule)
    }

    /// Ends all faults. Answers already begun are disturbed to their end.
    pub fn clear_faults(&self) {
        // Nothing to compile, so nothing to refuse.
        let _ = self.admin.shared.faults.replace(Vec::new());
    }

    /// The rules in force and how often each has hit.
    #[must_use]
    pub fn faults(&self) -> Vec<RuleState> {
        self.admin.shared.faults.list()
    }

    /// What was asked for and sent since the start or the last [`Hub::reset_stats`].
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.admin.stats()
    }

    /// Forgets all counts but that of connections.
    pub fn reset_stats(&self) {
        self.admin.shared.recorder.reset();
    }

    /// Reads every repository anew at its next request. Needed after a change of files that
    /// were asked for before: a repository is read once, so that a commit stays what it was.
    pub fn refresh(&self) {
        self.admin.shared.repositories.refresh();
    }

    fn plain_url(&self, port: u16) -> String {
        let listen = self.admin.shared.config.listen;
        let reachable = if listen.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen };
        format!("http://{}", SocketAddr::new(reachable, port))
    }

    fn named_url(&self, port: u16) -> String {
        let name = self.admin.shared.config.tls.tls_names.first().map_or("localhost", String::as_str);
        format!("https://{name}:{port}")
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Does not wait, as that is not allowed inside of another runtime.
            runtime.shutdown_background();
        }
    }
}

struct Starter<'a> {
    runtime: &'a Runtime,
    listen: IpAddr,
    acceptor: Acceptor,
}

impl Starter<'_> {
    fn plain(&self, port: u16, router: Router) -> Result<u16, Error> {
        let (listener, port) = self.bind(port)?;
        let service = router.layer(Extension(Scheme::Http)).into_make_service();
        let acceptor = self.acceptor.clone();
        self.runtime.spawn(async move {
            let server = axum_server::from_tcp(listener)?;
            server.acceptor(acceptor).serve(service).await
        });
        Ok(port)
    }

    fn tls(&self, port: u16, router: Router, config: &RustlsConfig) -> Result<u16, Error> {
        let (listener, port) = self.bind(port)?;
        let service = router.layer(Extension(Scheme::Https)).into_make_service();
        let acceptor = RustlsAcceptor::new(config.clone()).acceptor(self.acceptor.clone());
        self.runtime.spawn(async move {
            let server = axum_server::from_tcp(listener)?;
            server.acceptor(acceptor).serve(service).await
        });
        Ok(port)
    }

    fn bind(&self, port: u16) -> Result<(TcpListener, u16), Error> {
        let address = SocketAddr::new(self.listen, port);
        let failed = |source| Error::Listen { address: address.to_string(), source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        Ok((listener, port))
    }
}
