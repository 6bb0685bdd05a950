//! Whether this replica may act, as everything that acts sees it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use futures::{Stream, StreamExt, stream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::LeaseLost;

/// Whether this replica leads. Clones see the same.
#[derive(Clone, Debug)]
pub(crate) struct Leadership(watch::Receiver<State>);

/// The part that [`Leadership`] follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There is no election.
    Alone,
    /// Another replica leads, or it is not known who does.
    Standby,
    /// The lease is ours. Without another renewal everything stops at this moment.
    Leads { until: Instant },
    /// The lease was ours and is no more.
    Lost,
}

impl State {
    fn leads(self, now: Instant) -> bool {
        match self {
            Self::Alone => true,
            Self::Leads { until } => now < until,
            Self::Standby | Self::Lost => false,
        }
    }

    fn is_lost(self, now: Instant) -> bool {
        match self {
            Self::Lost => true,
            Self::Leads { until } => now >= until,
            Self::Alone | Self::Standby => false,
        }
    }
}

impl Leadership {
    pub(super) const fn new(states: watch::Receiver<State>) -> Self {
        Self(states)
    }

    /// Of a controller without election.
    pub(crate) fn alone() -> Self {
        Self(watch::channel(State::Alone).1)
    }

    /// Whether this replica may write now.
    pub(crate) fn leads(&self) -> bool {
        self.0.borrow().leads(Instant::now())
    }

    /// Waits until this replica leads. Never ends where it does not come to that.
    pub(crate) async fn gained(mut self) {
        if self.0.wait_for(|state| state.leads(Instant::now())).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// One item, when this replica begins to lead: what it passed over before is due then. None without election,
    /// where nothing is passed over.
    pub(crate) fn begins(self) -> impl Stream<Item = ()> + Send {
        let alone = *self.0.borrow() == State::Alone;
        if alone { stream::empty().left_stream() } else { stream::once(self.gained()).right_stream() }
    }

    /// Runs this to its end, or until the lease is lost: then it is dropped where it stands.
    ///
    /// The clock is read before each step of it. So it writes nothing more even where the whole process stood still
    /// for longer than the lease holds, and nobody had the time to tell.
    pub(crate) async fn while_held<T>(self, run: impl Future<Output = T>) -> Result<T, LeaseLost> {
        let mut run = pin!(run);
        let mut states = self.0.clone();
        let mut lost = pin!(async move {
            // An elector that ended by itself renews no more, and the deadline tells the rest.
            if states.wait_for(|state| *state == State::Lost).await.is_err() {
                std::future::pending::<()>().await;
            }
        });
        poll_fn(|context| {
            let told = lost.as_mut().poll(context).is_ready();
            if told || self.0.borrow().is_lost(Instant::now()) {
                return Poll::Ready(Err(LeaseLost));
            }
            run.as_mut().poll(context).map(Ok)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn nothing_is_written_after_the_lease_was_lost() {
        let (states, seen) = watch::channel(State::Leads { until: Instant::now() + Duration::from_secs(600) });
        let writes = AtomicU32::new(0);
        let run = Leadership::new(seen).while_held(async {
            loop {
                if writes.fetch_add(1, Ordering::Relaxed) == 2 {
                    states.send_replace(State::Lost);
                }
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(run.await, Err::<(), _>(LeaseLost));
        assert_eq!(writes.load(Ordering::Relaxed), 3, "two while it led, and one more in the step that ended it");
    }

    #[tokio::test]
    async fn a_process_that_stood_still_stops_without_being_told() {
        let (states, seen) = watch::channel(State::Leads { until: Instant::now() + Duration::from_secs(600) });
        let writes = AtomicU32::new(0);
        let run = Leadership::new(seen.clone()).while_held(async {
            loop {
                writes.fetch_add(1, Ordering::Relaxed);
                // From here on, so that the first step is never too late itself.
                states.send_replace(State::Leads { until: Instant::now() + SOON });
                std::thread::sleep(2 * SOON);
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(run.await, Err::<(), _>(LeaseLost));
        assert_eq!(writes.load(Ordering::Relaxed), 1);
        assert!(!Leadership::new(seen).leads());
        drop(states);
    }

    #[tokio::test]
    async fn what_ends_by_itself_is_not_lost() {
        let (_states, seen) = watch::channel(State::Standby);
        assert_eq!(Leadership::new(seen).while_held(async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn what_waited_is_due_once_the_replica_leads() {
        let (states, seen) = watch::channel(State::Standby);
        let leadership = Leadership::new(seen);
        assert!(!leadership.leads());
        let begins = tokio::spawn(leadership.clone().begins().count());
        states.send_replace(State::Leads { until: Instant::now() + Duration::from_secs(600) });
        assert_eq!(begins.await.unwrap(), 1);
        assert!(leadership.leads());
        assert_eq!(Leadership::alone().begins().count().await, 0);
        assert!(Leadership::alone().leads());
    }
}
