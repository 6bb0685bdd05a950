//! The line of Models that wait for a free download.
//!
//! First come, first served: by creation time, then by namespace and name, so the order is the same after a restart.
//! A Model that asks gets a free download or a place in the line. It gives the download back by [`Queue::leaves`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroUsize;

use jiff::Timestamp;

/// Up to here a place is told exactly. Beyond, it changes less often than it moves, and so does the status.
const EXACT: usize = 20;

/// Namespace and name.
pub type Key = (String, String);

/// Who waits. The order is that of the line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// Namespace and name.
    pub key: Key,
}

/// A place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub nth: usize,
    /// How many wait.
    pub of: usize,
}

/// At most so many downloads at once, and the line of those that wait.
#[derive(Clone, Debug)]
pub struct Queue {
    limit: NonZeroUsize,
    running: BTreeSet<Key>,
    waiting: BTreeSet<Ticket>,
    /// The one ticket of each who waits.
    tickets: BTreeMap<Key, Ticket>,
}

impl Queue {
    /// The queue as a controller finds it: with the downloads that run, and with all that may want one.
    ///
    /// Downloads that run are never too many: a smaller limit waits until enough of them have ended.
    #[must_use]
    pub fn new(
        limit: NonZeroUsize,
        running: impl IntoIterator<Item = Key>,
        waiting: impl IntoIterator<Item = Ticket>,
    ) -> Self {
        let running = running.into_iter().collect();
        let mut queue = Self { limit, running, waiting: BTreeSet::new(), tickets: BTreeMap::new() };
        for ticket in waiting {
            if !queue.running.contains(&ticket.key) {
                queue.joins(&ticket);
            }
        }
        queue
    }

    /// Asks for a download. `None`: this Model may start, and counts as running from now on. It may ask again.
    pub fn ask(&mut self, ticket: &Ticket) -> Option<Place> {
        if self.running.contains(&ticket.key) {
            return None;
        }
        self.joins(ticket);
        let free = self.limit.get().saturating_sub(self.running.len());
        let before = self.waiting.range(..ticket).count();
        if before < free {
            self.runs(&ticket.key);
            return None;
        }
        Some(Place { nth: before - free + 1, of: self.waiting.len() - free })
    }

    /// This Model's download runs, whoever started it.
    pub fn runs(&mut self, key: &Key) {
        self.forget(key);
        self.running.insert(key.clone());
    }

    /// This Model neither waits nor runs. Says whether that moves the line.
    pub fn leaves(&mut self, key: &Key) -> bool {
        let ran = self.running.remove(key);
        let waited = self.forget(key);
        ran || waited
    }

    /// Whether this Model stands in the line.
    #[must_use]
    pub fn waits(&self, key: &Key) -> bool {
        self.tickets.contains_key(key)
    }

    /// Everybody who waits, first come first.
    pub fn waiting(&self) -> impl Iterator<Item = &Key> {
        self.waiting.iter().map(|ticket| &ticket.key)
    }

    /// A Model that was made anew under its name has another ticket, and stands behind.
    fn joins(&mut self, ticket: &Ticket) {
        self.forget(&ticket.key);
        self.waiting.insert(ticket.clone());
        self.tickets.insert(ticket.key.clone(), ticket.clone());
    }

    fn forget(&mut self, key: &Key) -> bool {
        self.tickets.remove(key).is_some_and(|ticket| self.waiting.remove(&ticket))
    }
}

impl fmt::Display for Place {
    /// `3rd of 12`, or `about 40th of 300` far behind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nth, of) = (rounded(self.nth), rounded(self.of));
        let about = if self.nth > EXACT { "about " } else { "" };
        write!(f, "{about}{nth}{} of {of}", ordinal(nth))
    }
}

/// Up to the next ten, from a hundred on up to the next hundred.
const fn rounded(count: usize) -> usize {
    match count {
        0..=EXACT => count,
        21..=100 => count.next_multiple_of(10),
        _ => count.next_multiple_of(100),
    }
}

const fn ordinal(number: usize) -> &'static str {
    match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ticket(created: i64, name: &str) -> Ticket {
        let created = Timestamp::from_second(created).unwrap();
        Ticket { created, key: ("team".to_owned(), name.to_owned()) }
    }

    fn queue(limit: usize, waiting: &[Ticket]) -> Queue {
        Queue::new(NonZeroUsize::new(limit).unwrap(), [], waiting.iter().cloned())
    }

    #[test]
    fn the_oldest_go_first_whoever_asks_first() {
        let (old, middle, young) = (ticket(1, "c"), ticket(2, "a"), ticket(2, "b"));
        let mut queue = queue(1, &[young.clone(), old.clone(), middle.clone()]);
        assert_eq!(queue.ask(&young), Some(Place { nth: 2, of: 2 }));
        assert_eq!(queue.ask(&middle), Some(Place { nth: 1, of: 2 }));
        assert_eq!(queue.ask(&old), None);
        assert_eq!(queue.ask(&old), None, "it may ask again");
        assert_eq!(queue.ask(&middle), Some(Place { nth: 1, of: 2 }));
        assert!(queue.leaves(&old.key));
        assert!(!queue.leaves(&old.key));
        assert_eq!(queue.ask(&young), Some(Place { nth: 1, of: 1 }));
        assert_eq!(queue.ask(&middle), None);
        assert_eq!(queue.waiting().collect::<Vec<_>>(), [&young.key]);
    }

    #[test]
    fn downloads_of_an_earlier_life_count() {
        let running = ["x", "y", "z"].map(|name| ticket(9, name).key);
        let mut queue = Queue::new(NonZeroUsize::new(2).unwrap(), running.clone(), [ticket(9, "x"), ticket(1, "a")]);
        assert_eq!(queue.waiting().count(), 1, "who runs does not wait");
        assert_eq!(queue.ask(&ticket(1, "a")), Some(Place { nth: 1, of: 1 }));
        queue.leaves(&running[0]);
        assert_eq!(queue.ask(&ticket(1, "a")), Some(Place { nth: 1, of: 1 }), "two still run");
        queue.leaves(&running[1]);
        assert_eq!(queue.ask(&ticket(1, "a")), None);
    }

    #[test]
    fn a_model_made_anew_stands_behind_and_only_once() {
        let mut queue = queue(1, &[]);
        queue.runs(&ticket(0, "other").key);
        assert_eq!(queue.ask(&ticket(1, "a")), Some(Place { nth: 1, of: 1 }));
        assert_eq!(queue.ask(&ticket(2, "b")), Some(Place { nth: 2, of: 2 }));
        assert_eq!(queue.ask(&ticket(3, "a")), Some(Place { nth: 2, of: 2 }));
    }

    #[test]
    fn a_place_reads_like_speech_and_far_behind_it_is_rounded() {
        for (nth, of, want) in [
            (1, 1, "1st of 1"),
            (2, 12, "2nd of 12"),
            (3, 12, "3rd of 12"),
            (11, 20, "11th of 20"),
            (13, 21, "13th of 30"),
            (21, 99, "about 30th of 100"),
            (101, 1234, "about 200th of 1300"),
        ] {
            assert_eq!(Place { nth, of }.to_string(), want);
        }
    }

    proptest! {
        /// Whatever happens: never more than the limit, and each who waits is served once all before it were.
        #[test]
        fn never_too_many_and_nobody_starves(
            limit in 1_usize..4,
            happenings in proptest::collection::vec((0_i64..12, 0_u8..3), 0..60),
        ) {
            let tickets: Vec<_> = (0..12).map(|number| ticket(number / 3, &number.to_string())).collect();
            let mut queue = queue(limit, &tickets[..6]);
            for (number, happening) in happenings {
                let ticket = &tickets[usize::try_from(number).unwrap()];
                match happening {
                    0 | 1 => {
                        let place = queue.ask(ticket);
                        prop_assert_eq!(place.is_none(), queue.running.contains(&ticket.key));
                        prop_assert!(place.is_none_or(|place| (1..=place.of).contains(&place.nth)));
                    }
                    _ => drop(queue.leaves(&ticket.key)),
                }
                prop_assert!(queue.running.len() <= limit);
                prop_assert_eq!(queue.waiting.len(), queue.tickets.len());
                prop_assert!(queue.waiting.iter().all(|ticket| !queue.running.contains(&ticket.key)));
            }
            // From here on whoever runs ends, and everybody who waits asks, the youngest first: the worst order.
            let mut line: Vec<_> = queue.waiting.iter().cloned().collect();
            for key in queue.running.clone() {
                queue.leaves(&key);
            }
            while !line.is_empty() {
                for ticket in line.clone().iter().rev() {
                    queue.ask(ticket);
                }
                let served: Vec<_> = line.drain(..limit.min(line.len())).map(|ticket| ticket.key).collect();
                prop_assert_eq!(queue.running.iter().collect::<BTreeSet<_>>(), served.iter().collect());
                for key in served {
                    queue.leaves(&key);
                }
            }
        }
    }
}
