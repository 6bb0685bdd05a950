//! Sets up the client: TLS by rustls with ring, compiled-in public roots, no header that tells too much.

use std::{sync::Arc, time::Duration};

use model_core::reason::Reason;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::addresses::{Resolver, redirects};
use crate::{Access, Error};

/// A server that does not even take the connection for this long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn build(access: &Access) -> Result<reqwest::Client, Error> {
    let unusable =
        |error: reqwest::Error| Error::new(Reason::WrongUse, "could not set up the HTTP client").caused_by(error);
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls(access)?)
        // A connection for each stream: with HTTP/2 all would share one congestion window.
        .http1_only()
        .tcp_nodelay(true)
        // All are kept for the next files, however many there are.
        .pool_max_idle_per_host(usize::MAX)
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("model-loader/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(Resolver))
        .redirect(redirects())
        // A redirect would hand the query, and with it a signature, to the next origin.
        .referer(false)
        .build()
        .map_err(unusable)
}

/// Names its provider, so that nothing depends on one being installed for the whole process.
fn tls(access: &Access) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = &access.extra_ca {
        let wrong = |why: String| {
            Error::new(Reason::WrongUse, format!("could not read certificates from {}: {why}", path.display()))
        };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(Reason::WrongUse, "could not set up TLS").caused_by(error))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
