//! The line of Models that wait for a free download.
//!
//! First come, first served: by creation time, then by namespace and name, so the order is the same after a restart.
//! Who waits for a busy host is passed by those who ask another one.
//! A Model that asks gets a free download or a place in the line. It gives the download back by [`Queue::leaves`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroUsize;

use jiff::Timestamp;

/// Up to here a place is told exactly. Beyond, it changes less often than it moves, and so does the status.
const EXACT: usize = 20;

/// Namespace and name.
pub type Key = (String, String);

/// Most downloads at once. `None`: as many as there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of the whole operator.
    pub total: Option<NonZeroUsize>,
    /// From each host.
    pub per_host: Option<NonZeroUsize>,
}

/// Who waits. The order is that of the line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// Namespace and name.
    pub key: Key,
    /// Where it downloads from, see [`crate::host::source_host`].
    pub host: String,
}

/// A place in the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub nth: usize,
    /// How many wait.
    pub of: usize,
    /// The host that has as many downloads as it may have. Then the place is among those who wait for the same one.
    pub host: Option<String>,
}

/// At most so many downloads at once, and the line of those that wait.
#[derive(Clone, Debug)]
pub struct Queue {
    limits: Limits,
    /// With the host of each.
    running: BTreeMap<Key, String>,
    waiting: BTreeSet<Ticket>,
    /// The one ticket of each who waits.
    tickets: BTreeMap<Key, Ticket>,
    /// The place that each was told last, in words.
    told: BTreeMap<Key, String>,
}

impl Queue {
    /// The queue as a controller finds it: with the downloads that run, and with all that may want one.
    ///
    /// Downloads that run are never too many: a smaller limit waits until enough of them have ended.
    #[must_use]
    pub fn new(
        limits: Limits,
        running: impl IntoIterator<Item = (Key, String)>,
        waiting: impl IntoIterator<Item = Ticket>,
    ) -> Self {
        let running = running.into_iter().collect();
        let (line, tickets, told) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        let mut queue = Self { limits, running, waiting: line, tickets, told };
        for ticket in waiting {
            if !queue.has(&ticket.key) {
                queue.joins(&ticket);
            }
        }
        queue
    }

    /// Asks for a download. `None`: this Model may start, and counts as running from now on. It may ask again; where it
    /// then names another host, it gives back what it has and stands in line by its age.
    pub fn ask(&mut self, ticket: &Ticket) -> Option<Place> {
        if self.running.get(&ticket.key) == Some(&ticket.host) {
            return None;
        }
        self.running.remove(&ticket.key);
        self.joins(ticket);
        let place = self.place(ticket);
        match &place {
            Some(place) => drop(self.told.insert(ticket.key.clone(), place.words())),
            None => drop(self.runs(ticket)),
        }
        place
    }

    /// Asks for a place that nobody who waits could have, and does not stand in the line for it. Whether there is one; then
    /// this Model counts as running from now on.
    pub fn may_pass(&mut self, ticket: &Ticket) -> bool {
        if self.has(&ticket.key) {
            return true;
        }
        // What it stood in line for it does not want any more.
        self.forget(&ticket.key);
        let mut free = Free::of(self);
        for waits in &self.waiting {
            free.take(&waits.host);
        }
        let may = free.take(&ticket.host);
        if may {
            self.runs(ticket);
        }
        may
    }

    /// This Model's download runs, whoever started it. Says whether that moves the line.
    pub fn runs(&mut self, ticket: &Ticket) -> bool {
        let waited = self.forget(&ticket.key);
        let ran = self.running.insert(ticket.key.clone(), ticket.host.clone());
        waited || ran.as_ref() != Some(&ticket.host)
    }

    /// The Models that have a download.
    pub fn running(&self) -> impl Iterator<Item = &Key> {
        self.running.keys()
    }

    /// This Model neither waits nor runs. Says whether that moves the line.
    pub fn leaves(&mut self, key: &Key) -> bool {
        let ran = self.running.remove(key).is_some();
        let waited = self.forget(key);
        ran || waited
    }

    /// Whether this Model has a download.
    #[must_use]
    pub fn has(&self, key: &Key) -> bool {
        self.running.contains_key(key)
    }

    /// Those whose place reads otherwise than they were told last, and those for whom there is something now. Who has not
    /// asked yet was told nothing, and asks anyhow.
    #[must_use]
    pub fn moved(&self) -> Vec<&Key> {
        let is_news = |ticket: &Ticket, place: Option<&Place>| {
            self.told.get(&ticket.key).is_some_and(|told| place.is_none_or(|place| place.words() != *told))
        };
        let places = self.places().into_iter();
        places.filter(|(ticket, place)| is_news(ticket, place.as_ref())).map(|(ticket, _)| &ticket.key).collect()
    }

    /// `None`: there is something for this one.
    fn place(&self, ticket: &Ticket) -> Option<Place> {
        let mut places = self.places().into_iter();
        places.find(|(waits, _)| *waits == ticket).and_then(|(_, place)| place)
    }

    /// Goes along the line and gives each what is free for it. `None`: there is something for this one.
    fn places(&self) -> Vec<(&Ticket, Option<Place>)> {
        let mut free = Free::of(self);
        let line: Vec<_> = self.waiting.iter().map(|ticket| (ticket, free.take(&ticket.host))).collect();
        // By host where it is busy: its line is its own. The others stand in one line with all.
        let line_of = |ticket: &Ticket| free.is_busy(&ticket.host).then(|| ticket.host.clone());
        let mut lengths: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        for (ticket, _) in line.iter().filter(|(_, served)| !served) {
            *lengths.entry(None).or_default() += 1;
            *lengths.entry(Some(&ticket.host)).or_default() += 1;
        }
        let mut before: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        let mut places = Vec::with_capacity(line.len());
        for (ticket, served) in &line {
            if *served {
                places.push((*ticket, None));
                continue;
            }
            for line in [None, Some(ticket.host.as_str())] {
                *before.entry(line).or_default() += 1;
            }
            let host = line_of(ticket);
            let (nth, of) = (before[&host.as_deref()], lengths[&host.as_deref()]);
            places.push((*ticket, Some(Place { nth, of, host })));
        }
        places
    }

    /// A Model that was made anew under its name has another ticket, and stands behind.
    fn joins(&mut self, ticket: &Ticket) {
        self.forget(&ticket.key);
        self.waiting.insert(ticket.clone());
        self.tickets.insert(ticket.key.clone(), ticket.clone());
    }

    fn forget(&mut self, key: &Key) -> bool {
        self.told.remove(key);
        self.tickets.remove(key).is_some_and(|ticket| self.waiting.remove(&ticket))
    }
}

/// What those who wait can still get.
struct Free<'a> {
    total: usize,
    per_host: usize,
    /// Downloads by host.
    taken: BTreeMap<&'a str, usize>,
}

impl<'a> Free<'a> {
    fn of(queue: &'a Queue) -> Self {
        let limit = |limit: Option<NonZeroUsize>| limit.map_or(usize::MAX, NonZeroUsize::get);
        let mut taken = BTreeMap::new();
        for host in queue.running.values() {
            *taken.entry(host.as_str()).or_default() += 1;
        }
        let total = limit(queue.limits.total).saturating_sub(queue.running.len());
        Self { total, per_host: limit(queue.limits.per_host), taken }
    }

    fn is_busy(&self, host: &str) -> bool {
        self.taken.get(host).is_some_and(|taken| *taken >= self.per_host)
    }

    fn take(&mut self, host: &'a str) -> bool {
        let free = self.total > 0 && !self.is_busy(host);
        if free {
            self.total -= 1;
            *self.taken.entry(host).or_default() += 1;
        }
        free
    }
}

impl Place {
    /// All that a user reads of it.
    fn words(&self) -> String {
        format!("{self} of {}", self.host.as_deref().unwrap_or_default())
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
        Ticket { created, key: ("team".to_owned(), name.to_owned()), host: "hub".to_owned() }
    }

    fn at(host: &str, ticket: Ticket) -> Ticket {
        Ticket { host: host.to_owned(), ..ticket }
    }

    const fn place(nth: usize, of: usize) -> Place {
        Place { nth, of, host: None }
    }

    fn limits(total: usize, per_host: usize) -> Limits {
        Limits { total: NonZeroUsize::new(total), per_host: NonZeroUsize::new(per_host) }
    }

    fn queue(limit: usize, waiting: &[Ticket]) -> Queue {
        Queue::new(limits(limit, 0), [], waiting.iter().cloned())
    }

    #[test]
    fn the_oldest_go_first_whoever_asks_first() {
        let (old, middle, young) = (ticket(1, "c"), ticket(2, "a"), ticket(2, "b"));
        let mut queue = queue(1, &[young.clone(), old.clone(), middle.clone()]);
        assert_eq!(queue.ask(&young), Some(place(2, 2)));
        assert_eq!(queue.ask(&middle), Some(place(1, 2)));
        assert_eq!(queue.ask(&old), None);
        assert_eq!(queue.ask(&old), None, "it may ask again");
        assert_eq!(queue.ask(&middle), Some(place(1, 2)));
        assert!(queue.leaves(&old.key));
        assert!(!queue.leaves(&old.key));
        assert_eq!(queue.ask(&young), Some(place(1, 1)));
        assert_eq!(queue.ask(&middle), None);
        assert_eq!(queue.tickets.keys().collect::<Vec<_>>(), [&young.key]);
    }

    #[test]
    fn downloads_of_an_earlier_life_count() {
        let running = ["x", "y", "z"].map(|name| ticket(9, name).key);
        let hosts = running.clone().map(|key| (key, "hub".to_owned()));
        let mut queue = Queue::new(limits(2, 0), hosts, [ticket(9, "x"), ticket(1, "a")]);
        assert_eq!(queue.waiting.len(), 1, "who runs does not wait");
        assert_eq!(queue.ask(&ticket(1, "a")), Some(place(1, 1)));
        queue.leaves(&running[0]);
        assert_eq!(queue.ask(&ticket(1, "a")), Some(place(1, 1)), "two still run");
        queue.leaves(&running[1]);
        assert_eq!(queue.ask(&ticket(1, "a")), None);
    }

    #[test]
    fn a_model_made_anew_stands_behind_and_only_once() {
        let mut queue = queue(1, &[]);
        queue.runs(&ticket(0, "other"));
        assert_eq!(queue.ask(&ticket(1, "a")), Some(place(1, 1)));
        assert_eq!(queue.ask(&ticket(2, "b")), Some(place(2, 2)));
        assert_eq!(queue.ask(&ticket(3, "a")), Some(place(2, 2)));
    }

    #[test]
    fn who_waits_for_a_busy_host_is_passed_by_others() {
        let busy = |nth, of| Some(Place { nth, of, host: Some("hub".to_owned()) });
        let mut queue = Queue::new(limits(3, 1), [], []);
        assert_eq!(queue.ask(&ticket(1, "a")), None);
        assert_eq!(queue.ask(&ticket(2, "b")), busy(1, 1));
        assert_eq!(queue.ask(&ticket(3, "c")), busy(2, 2));
        assert_eq!(queue.ask(&at("store", ticket(4, "d"))), None);
        assert_eq!(queue.ask(&at("mirror", ticket(5, "e"))), None);
        assert_eq!(queue.ask(&at("other", ticket(6, "f"))), Some(place(3, 3)), "nothing is free for anybody");
        // Another source is another host: who changes to it stands in its line.
        assert_eq!(
            queue.ask(&at("store", ticket(5, "e"))),
            Some(Place { nth: 1, of: 1, host: Some("store".to_owned()) })
        );
        assert_eq!(queue.ask(&at("other", ticket(6, "f"))), None);
        assert!(queue.leaves(&ticket(1, "a").key));
        assert_eq!(queue.ask(&ticket(3, "c")), busy(1, 1), "what is free is kept for the one before");
        assert_eq!(queue.ask(&ticket(2, "b")), None);
    }

    #[test]
    fn only_those_whose_place_reads_otherwise_hear_of_a_change() {
        let mut queue = Queue::new(limits(0, 1), [], []);
        let all: Vec<_> = (0..40).map(|number| ticket(number, &format!("{number:02}"))).collect();
        let store = at("store", ticket(50, "store"));
        let waits_there = at("store", ticket(51, "waits"));
        for ticket in all.iter().chain([&store, &waits_there]) {
            queue.ask(ticket);
        }
        for ticket in all.iter().rev() {
            queue.ask(ticket);
        }
        assert_eq!(queue.moved(), Vec::<&Key>::new(), "all know their places");
        // One far behind goes: the end of the line is as far as before, in round figures.
        queue.leaves(&all[35].key);
        assert_eq!(queue.moved(), Vec::<&Key>::new());
        // The first goes: all of that host move up, up to where places are round.
        queue.leaves(&all[0].key);
        let moved: Vec<_> = queue.moved().into_iter().cloned().collect();
        assert!(moved.contains(&all[1].key) && moved.contains(&all[20].key), "{moved:?}");
        assert!(!moved.contains(&all[38].key), "about 40th of 40 it stays");
        assert!(!moved.contains(&waits_there.key), "who waits for another host hears nothing");
        assert_eq!(queue.ask(&all[1]), None);
        assert!(!queue.moved().contains(&&all[1].key));
    }

    #[test]
    fn who_does_not_wait_gets_what_nobody_who_waits_could_have() {
        let mut queue = Queue::new(limits(3, 1), [], []);
        assert_eq!(queue.ask(&ticket(5, "a")), None);
        assert!(queue.ask(&ticket(6, "b")).is_some(), "its host is busy");
        assert!(!queue.may_pass(&ticket(1, "c")), "so it is for the oldest, who does not wait");
        assert!(queue.may_pass(&at("store", ticket(2, "d"))));
        assert!(queue.may_pass(&at("store", ticket(2, "d"))), "it may ask again");
        assert!(!queue.may_pass(&at("store", ticket(3, "e"))));
        assert!(queue.leaves(&ticket(5, "a").key));
        assert!(!queue.may_pass(&ticket(1, "c")), "the one who waits goes first");
        assert_eq!(queue.ask(&ticket(6, "b")), None);
        assert!(queue.may_pass(&at("mirror", ticket(9, "f"))));
        assert!(!queue.may_pass(&at("other", ticket(9, "g"))), "nothing is free for anybody");
        assert!(queue.leaves(&at("mirror", ticket(9, "f")).key));
        assert!(queue.ask(&ticket(7, "h")).is_some());
        assert!(!queue.may_pass(&ticket(7, "h")), "its host is busy");
        assert!(queue.leaves(&ticket(6, "b").key));
        assert_eq!(queue.ask(&ticket(8, "i")), None, "who only wants to know stands in nobody's way");
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
            assert_eq!(Place { nth, of, host: None }.to_string(), want);
        }
    }

    proptest! {
        /// Whatever happens: never more than the limits, and each who waits is served once all before it were that could
        /// be.
        #[test]
        fn never_too_many_and_nobody_starves(
            (total, per_host) in (1_usize..5, 1_usize..4),
            happenings in proptest::collection::vec((0_i64..12, 0_u8..3), 0..60),
        ) {
            let host = |number: i64| if number % 4 == 0 { "store" } else { "hub" };
            let tickets: Vec<_> =
                (0..12).map(|number| at(host(number), ticket(number / 3, &number.to_string()))).collect();
            let mut queue = Queue::new(limits(total, per_host), [], tickets[..6].to_vec());
            for (number, happening) in happenings {
                let ticket = &tickets[usize::try_from(number).unwrap()];
                match happening {
                    0 | 1 => {
                        let place = queue.ask(ticket);
                        prop_assert_eq!(place.is_none(), queue.has(&ticket.key));
                        prop_assert!(place.is_none_or(|place| (1..=place.of).contains(&place.nth)));
                    }
                    _ => drop(queue.leaves(&ticket.key)),
                }
                prop_assert!(queue.running.len() <= total);
                for host in ["hub", "store"] {
                    prop_assert!(queue.running.values().filter(|other| *other == host).count() <= per_host);
                }
                prop_assert_eq!(queue.waiting.len(), queue.tickets.len());
                prop_assert!(queue.waiting.iter().all(|ticket| !queue.has(&ticket.key)));
            }
            // From here on whoever runs ends, and everybody who waits asks, the youngest first: the worst order.
            let mut line: Vec<_> = queue.waiting.iter().cloned().collect();
            for key in queue.running.clone().into_keys() {
                queue.leaves(&key);
            }
            while !line.is_empty() {
                for ticket in line.iter().rev() {
                    queue.ask(ticket);
                }
                let mut served = BTreeMap::new();
                for ticket in &line {
                    let beside = served.values().filter(|host| **host == ticket.host).count();
                    if served.len() < total && beside < per_host {
                        served.insert(ticket.key.clone(), ticket.host.clone());
                    }
                }
                prop_assert_eq!(&queue.running, &served);
                for key in served.keys() {
                    queue.leaves(key);
                }
                line.retain(|ticket| !served.contains_key(&ticket.key));
            }
        }
    }
}
