//! One accepted connection: what faults need to know of it and do to it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Extension;
use axum::middleware::AddExtension;
use axum_server::accept::Accept;
use futures::future::{Ready, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a closing fault waits for a client that does not read.
const FLUSH_WAIT: Duration = Duration::from_secs(10);

/// State shared by the socket and the answers sent over it.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    reset: AtomicBool,
    flushes: Notify,
    /// When the rate limit allows the next byte.
    next_byte: Mutex<Option<Instant>>,
}

impl Connection {
    /// Waits until everything handed to the server so far has been written to the socket.
    pub(crate) async fn flushed(&self) {
        // The server flushes each time a body has nothing to give, which is now. Twice, since the
        // first notice may be one stored from an earlier flush.
        for _ in 0..2 {
            let _ = tokio::time::timeout(FLUSH_WAIT, self.flushes.notified()).await;
        }
    }

    /// Makes the socket send RST rather than FIN when it is dropped.
    pub(crate) fn reset_on_close(&self) {
        self.reset.store(true, Ordering::Release);
    }

    /// Waits until `bytes` more may be sent at `rate` bytes per second.
    pub(crate) async fn pace(&self, bytes: usize, rate: u64) {
        let at = {
            let mut next = self.next_byte.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let at = next.map_or(now, |next| next.max(now));
            #[expect(clippy::cast_precision_loss, reason = "a duration needs no more precision")]
            let took = Duration::from_secs_f64(bytes as f64 / rate as f64);
            let end = at + took;
            *next = Some(end);
            end
        };
        tokio::time::sleep_until(at).await;
    }
}

/// Gives every connection its [`Connection`], readable by handlers as an extension.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acceptor {
    /// Connections accepted so far.
    pub accepted: Arc<AtomicU64>,
}

impl<S> Accept<TcpStream, S> for Acceptor {
    type Stream = Socket;
    type Service = AddExtension<S, Arc<Connection>>;
    type Future = Ready<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        use tower_layer::Layer as _;
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::default());
        let service = Extension(connection.clone()).layer(service);
        ready(stream.set_nodelay(true).map(|()| (Socket { stream, connection }, service)))
    }
}

/// A socket that can end with RST.
pub(crate) struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.connection.reset.load(Ordering::Acquire) {
            // Nothing is lost if it fails: the connection ends with FIN.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(cx);
        if done.is_ready() {
            self.connection.flushes.notify_one();
        }
        done
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
