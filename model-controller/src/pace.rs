//! Changes in bunches.
//!
//! To wake up and to find its data in no cache of the processor costs the controller more than what it then does about one
//! change. So a watch hands on for a moment what is there, and rests until the next beat. Nothing waits that comes alone.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::Stream;
use tokio::time::{Instant, Sleep, sleep};

/// From beat to beat. All watches have the same, that of the system's clock.
const BEAT: Duration = Duration::from_millis(100);

/// How long a watch hands on changes before it rests. What a connection has received arrives in many small steps.
const OPEN: Duration = Duration::from_millis(5);

/// A stream that hands on its items in bunches, in their order, each at most one beat late.
pub(crate) struct Paced<S> {
    changes: S,
    pace: Pace,
}

enum Pace {
    /// Nothing has come since the last rest.
    Waits,
    Open {
        until: Instant,
    },
    Rests(Pin<Box<Sleep>>),
}

/// Paces a stream.
pub(crate) const fn paced<S>(changes: S) -> Paced<S> {
    Paced { changes, pace: Pace::Waits }
}

impl<S: Stream + Unpin> Stream for Paced<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let now = Instant::now();
        if let Pace::Open { until } = self.pace
            && now > until
        {
            self.pace = Pace::Rests(Box::pin(sleep(to_next_beat())));
        }
        if let Pace::Rests(rest) = &mut self.pace {
            ready!(rest.as_mut().poll(context));
            self.pace = Pace::Waits;
        }
        let item = ready!(Pin::new(&mut self.changes).poll_next(context));
        if let Pace::Waits = self.pace {
            self.pace = Pace::Open { until: now + OPEN };
        }
        Poll::Ready(item)
    }
}

fn to_next_beat() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // A second is a whole number of beats.
    BEAT - Duration::from_nanos(u64::from(now.subsec_nanos() % BEAT.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc::unbounded;
    use futures::{StreamExt, poll};

    use super::*;

    #[tokio::test]
    async fn what_comes_alone_is_handed_on_at_once_and_what_follows_in_a_bunch() {
        let (send, changes) = unbounded();
        let mut changes = paced(changes);
        send.unbounded_send(1).unwrap();
        assert_eq!(poll!(changes.next()), Poll::Ready(Some(1)));
        sleep(OPEN + Duration::from_millis(1)).await;
        for change in 2..=4 {
            send.unbounded_send(change).unwrap();
        }
        drop(send);
        assert_eq!(poll!(changes.next()), Poll::Pending, "it rests");
        assert_eq!(changes.collect::<Vec<_>>().await, [2, 3, 4]);
    }

    #[test]
    fn a_rest_ends_with_the_beat() {
        let rest = to_next_beat();
        assert!(!rest.is_zero() && rest <= BEAT, "{rest:?}");
    }
}
