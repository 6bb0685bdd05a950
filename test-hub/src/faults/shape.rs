//! How a disturbed body is sent: cut, stalled, flipped, slowed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};

use super::rule::Fault;
use crate::connection::Connection;

/// Frames per second that a slowed body is sent in: few enough to be cheap, enough to be smooth.
const FRAMES_PER_SECOND: u64 = 20;

/// The disturbances of one body. Offsets count from the body's first byte.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    close: Option<(u64, bool)>,
    end: Option<u64>,
    stalls: Vec<(u64, Duration)>,
    flips: Vec<u64>,
    rate: Option<u64>,
}

impl Shape {
    /// Collects what `faults` do to a body that starts at offset `start` of its file. `None` if nothing.
    pub(crate) fn of(faults: &[Fault], start: u64) -> Option<Self> {
        let mut shape = Self::default();
        let mut any = false;
        for fault in faults {
            match *fault {
                Fault::Close { after, reset } => shape.close = Some((after, reset)),
                Fault::Stall { after, seconds } => {
                    shape.stalls.push((after, Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)));
                }
                Fault::Flip { offset } => shape.flips.push(offset.saturating_sub(start)),
                Fault::Truncate { after } => shape.end = Some(after),
                Fault::Rate { bytes_per_second } => shape.rate = Some(bytes_per_second.max(1)),
                Fault::Status { .. }
                | Fault::RedirectLoop
                | Fault::Latency { .. }
                | Fault::IgnoreRange
                | Fault::Etag { .. }
                | Fault::ContentLength { .. } => continue,
            }
            any = true;
        }
        shape.stalls.sort_unstable();
        any.then_some(shape)
    }

    /// The longest piece that may be sent at `sent` before something else has to happen.
    fn longest(&self, sent: u64) -> u64 {
        let boundaries = [self.close.map(|(at, _)| at), self.end, self.stalls.first().map(|(at, _)| *at)];
        let until = boundaries.into_iter().flatten().map(|at| at.saturating_sub(sent)).min();
        let frame = self.rate.map(|rate| (rate / FRAMES_PER_SECOND).max(1));
        until.into_iter().chain(frame).min().unwrap_or(u64::MAX)
    }
}

/// Sends `body` as `shape` says, over `connection`.
pub(crate) fn shaped(body: Body, shape: Shape, connection: Arc<Connection>) -> Body {
    let sender = Sender { body: body.into_data_stream(), waiting: Bytes::new(), sent: 0, shape, connection };
    Body::from_stream(stream::unfold(sender, |mut sender| async {
        let piece = sender.next().await?;
        Some((piece, sender))
    }))
}

struct Sender {
    body: BodyDataStream,
    waiting: Bytes,
    sent: u64,
    shape: Shape,
    connection: Arc<Connection>,
}

impl Sender {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        while let Some(&(at, pause)) = self.shape.stalls.first()
            && at <= self.sent
        {
            self.shape.stalls.remove(0);
            tokio::time::sleep(pause).await;
        }
        if let Some((at, reset)) = self.shape.close
            && at <= self.sent
        {
            // The server drops what it has not written yet when a body fails.
            self.connection.flushed().await;
            if reset {
                self.connection.reset_on_close();
            }
            return Some(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "closed by a fault rule")));
        }
        if self.shape.end.is_some_and(|at| at <= self.sent) {
            return None;
        }
        while self.waiting.is_empty() {
            match self.body.next().await? {
                Ok(frame) => self.waiting = frame,
                Err(error) => return Some(Err(io::Error::other(error))),
            }
        }
        let length = usize::try_from(self.shape.longest(self.sent)).unwrap_or(usize::MAX).min(self.waiting.len());
        let piece = self.waiting.split_to(length);
        if let Some(rate) = self.shape.rate {
            self.connection.pace(piece.len(), rate).await;
        }
        let piece = self.flip(piece);
        self.sent += piece.len() as u64;
        Some(Ok(piece))
    }

    fn flip(&self, piece: Bytes) -> Bytes {
        let range = self.sent..self.sent + piece.len() as u64;
        let hit: Vec<usize> = (self.shape.flips.iter().filter(|at| range.contains(at)))
            .filter_map(|at| usize::try_from(at - self.sent).ok())
            .collect();
        if hit.is_empty() {
            return piece;
        }
        let mut bytes = BytesMut::from(piece);
        for at in hit {
            bytes[at] ^= 1;
        }
        bytes.freeze()
    }
}
