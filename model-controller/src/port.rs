//! A port of plain HTTP, for probes and scrapes.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

/// How long the headers of a request may take, and a connection lie idle between two: whoever reaches the port can open
/// connections to it. Longer than Prometheus waits between two scrapes.
const HEADERS: Duration = Duration::from_secs(120);
/// How long to wait where no connection can be taken, which is for want of file descriptors.
const AGAIN: Duration = Duration::from_millis(100);

/// Serves for as long as the process lives.
///
/// # Errors
/// When the port cannot be opened.
pub(crate) async fn serve(port: u16, routes: Router) -> io::Result<()> {
    // Both families, where the machine has IPv6.
    let all = [SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))];
    let listener = TcpListener::bind(&all[..]).await?;
    tokio::spawn(accept(listener, routes, HEADERS));
    Ok(())
}

async fn accept(listener: TcpListener, routes: Router, headers: Duration) {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => drop(tokio::spawn(answer(connection, routes.clone(), headers))),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

async fn answer(connection: TcpStream, routes: Router, headers: Duration) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(headers);
    // A connection that breaks off is the other end's affair.
    let _ = http.serve_connection(TokioIo::new(connection), TowerToHyperService::new(routes)).await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_connection_without_whole_headers_is_ended() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/", get(|| async { "here" }));
        tokio::spawn(accept(listener, routes, Duration::from_millis(100)));
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
