//! `injection-service PORT CERTIFICATE KEY`: a webhook server that has routes of its own, and serves the injection of
//! models as one more. The controller of Models runs elsewhere.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use axum::Router;
use axum::routing::get;
use axum_server::tls_rustls::RustlsConfig;
use model_watch::Namespaces;
use model_webhook::{Defaults, ModelCache, router};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().context("usage: injection-service PORT CERTIFICATE KEY");
    let (port, certificate, key) = (argument()?.parse()?, argument()?, argument()?);
    // Somebody has to choose: the crates do not.
    rustls::crypto::ring::default_provider().install_default().ok().context("a TLS provider is installed already")?;
    let (models, watch) = ModelCache::watch(&kube::Client::try_default().await?, &Namespaces::default());
    tokio::spawn(watch);
    let ready = models.clone();
    let own = Router::new().route("/ready", get(async move || ready.is_filled().to_string()));
    let service = own.merge(router(models, Defaults::default())).into_make_service();
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    Ok(axum_server::bind_rustls(address, RustlsConfig::from_pem_file(certificate, key).await?).serve(service).await?)
}
