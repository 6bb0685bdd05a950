//! How much a client may send, and how long it may take: whoever reaches a port can open connections to it.

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum_server::{Address, Server};
use hyper_util::rt::TokioTimer;

/// Largest body that is read. The API server itself accepts no object above 3 MiB.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// How long a request may take from its headers on. The API server itself waits for 5 s.
const REQUEST: Duration = Duration::from_secs(10);
/// How long the headers of a request may take, and a connection lie idle between two.
///
/// The API server ends its own idle connections after 90 s. It has to be the first: a request on a connection that is
/// ended here at the same moment would fail.
pub(crate) const HEADERS: Duration = Duration::from_secs(120);

/// Routes that read no more than [`MAX_BODY_BYTES`], and that for no longer than [`REQUEST`].
pub(crate) fn bounded<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes.layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).layer(from_fn(in_time))
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time").into_response(),
    }
}

/// A server that ends connections whose headers take longer than `within`, and those whose other end is gone.
pub(crate) fn bound_headers<A: Address, Acceptor>(
    mut server: Server<A, Acceptor>,
    within: Duration,
) -> Server<A, Acceptor> {
    let builder = server.http_builder();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(within);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(within);
    server
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_connection_without_whole_headers_is_ended() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let server = bound_headers(axum_server::from_tcp(listener).unwrap(), Duration::from_millis(100));
        tokio::spawn(server.serve(Router::new().route("/", get(|| async { "here" })).into_make_service()));
        for sent in ["GET / HTTP/1.1\r\nhost: a\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            let mut answer = String::new();
            // Ends only where the server ends the connection.
            let ended = tokio::time::timeout(Duration::from_secs(60), stream.read_to_string(&mut answer)).await;
            ended.expect("the connection is ended").unwrap();
            assert_eq!(answer.ends_with("here"), sent.ends_with("\r\n\r\n"), "{answer}");
        }
    }
}
