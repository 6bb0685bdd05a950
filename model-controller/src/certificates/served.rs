//! What the webhook's replicas serve, asked as the API server asks: by TLS.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// A replica in the same cluster answers in far less.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether there are replicas, and each of them serves what `config` accepts for this host.
///
/// Those that are not ready count as well: they may become so with the certificate that they have.
pub(super) async fn all_serve(slices: &[EndpointSlice], config: ClientConfig, host: &str) -> bool {
    let connector = TlsConnector::from(Arc::new(config));
    let addresses: Vec<_> = slices.iter().flat_map(addresses).collect();
    let serves = addresses.iter().map(|address| timeout(PATIENCE, serves(&connector, address, host)));
    let answers = join_all(serves).await;
    !answers.is_empty() && answers.into_iter().all(|answer| matches!(answer, Ok(Some(()))))
}

async fn serves(connector: &TlsConnector, (address, port): &(String, u16), host: &str) -> Option<()> {
    let host = ServerName::try_from(host.to_owned()).ok()?;
    let stream = TcpStream::connect((address.as_str(), *port)).await.ok()?;
    connector.connect(host, stream).await.ok().map(drop)
}

/// Of every replica one address with the port: a pod has one for each IP family, and serves the same on all.
fn addresses(slice: &EndpointSlice) -> Vec<(String, u16)> {
    let port = slice.ports.iter().flatten().find_map(|port| u16::try_from(port.port?).ok());
    let of = |port| move |address: &String| (address.clone(), port);
    let endpoints = slice.endpoints.iter().flatten();
    port.into_iter().flat_map(|port| endpoints.clone().filter_map(|one| one.addresses.first()).map(of(port))).collect()
}
