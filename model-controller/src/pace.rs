//! Changes in bunches.
//!
//! To wake up and to find its data in no cache of the processor costs the controller more than what it then does about one
//! change. So a watch hands on for a moment what is there, and rests until the next beat. Nothing waits that comes alone, and
//! no list is interrupted.

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
    bunch: Bunch,
    rest: Option<Pin<Box<Sleep>>>,
}

/// Paces a stream.
pub(crate) fn paced<S>(changes: S) -> Paced<S> {
    Paced { changes, bunch: Bunch::default(), rest: None }
}

impl<S: Stream + Unpin> Stream for Paced<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let now = Instant::now();
        loop {
            if let Some(rest) = &mut self.rest {
                ready!(rest.as_mut().poll(context));
                (self.rest, self.bunch) = (None, Bunch::default());
            } else if self.bunch.is_over(now) {
                self.rest = Some(Box::pin(sleep(to_next_beat())));
                continue;
            }
            if let Poll::Ready(item) = Pin::new(&mut self.changes).poll_next(context) {
                self.bunch.grows(now);
                return Poll::Ready(item);
            }
            self.bunch.drained = true;
            if !self.bunch.is_over(now) {
                return Poll::Pending;
            }
        }
    }
}

/// What was handed on since the last rest.
#[derive(Default)]
struct Bunch {
    /// When there was enough of it. `None`: nothing has come.
    until: Option<Instant>,
    /// Whether there is nothing more to hand on right now.
    drained: bool,
}

impl Bunch {
    fn grows(&mut self, now: Instant) {
        let until = self.until.filter(|_| !self.is_long_ago(now)).unwrap_or(now + OPEN);
        *self = Self { until: Some(until), drained: false };
    }

    /// Whether to rest now.
    fn is_over(&self, now: Instant) -> bool {
        self.drained && self.until.is_some_and(|until| now > until) && !self.is_long_ago(now)
    }

    /// Whether the rest after it would be over, too.
    fn is_long_ago(&self, now: Instant) -> bool {
        self.drained && self.until.is_some_and(|until| now > until + BEAT)
    }
}

fn to_next_beat() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // A second is a whole number of beats.
    let since = Duration::from_nanos(u64::from(now.subsec_nanos() % BEAT.subsec_nanos()));
    BEAT.saturating_sub(since)
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use futures::stream::{iter, once};

    use super::*;

    #[test]
    fn a_bunch_is_over_after_a_moment_and_forgotten_after_a_beat() {
        let begin = Instant::now();
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        let mut bunch = Bunch { until: None, drained: true };
        assert!(!bunch.is_over(at(0)), "nothing has come");
        bunch.grows(at(0));
        assert!(!bunch.is_over(at(50)), "a list that goes on is not interrupted");
        bunch.drained = true;
        for (when, is_over) in [(1, false), (5, false), (6, true), (105, true), (106, false)] {
            assert_eq!(bunch.is_over(at(when)), is_over, "after {when} ms");
        }
        bunch.grows(at(3));
        bunch.drained = true;
        assert!(bunch.is_over(at(6)), "what follows does not make it longer");
        bunch.grows(at(1_000));
        bunch.drained = true;
        assert!(!bunch.is_over(at(1_004)) && bunch.is_over(at(1_006)), "what comes alone begins another one");
    }

    #[test]
    fn a_rest_ends_with_the_beat() {
        let rest = to_next_beat();
        assert!(!rest.is_zero() && rest <= BEAT, "{rest:?}");
    }

    #[tokio::test]
    async fn everything_is_handed_on_in_its_order() {
        let late = |item| {
            once(async move {
                sleep(OPEN * 2).await;
                item
            })
        };
        let changes = iter([1, 2]).chain(late(3)).chain(late(4)).chain(iter([5, 6])).boxed();
        assert_eq!(paced(changes).collect::<Vec<_>>().await, [1, 2, 3, 4, 5, 6]);
    }
}
