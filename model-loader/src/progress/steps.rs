//! The time that each step of a download takes.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A step of a download, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Finding out what to download.
    Plan,
    /// Downloading and verifying.
    Fetch,
    /// Syncing and publishing.
    Publish,
    /// Nothing more.
    Done,
}

/// The time of each step until now.
#[derive(Debug, Default)]
pub(super) struct Steps(Mutex<Times>);

#[derive(Clone, Copy, Debug, Default)]
struct Times {
    spent: [Duration; 3],
    /// The step that is under way, and since when.
    running: Option<(usize, Instant)>,
}

impl Times {
    fn at(self, now: Instant) -> [Duration; 3] {
        let mut spent = self.spent;
        if let Some((step, since)) = self.running {
            spent[step] += now.saturating_duration_since(since);
        }
        spent
    }
}

impl Steps {
    pub(super) fn enter(&self, now: Instant, step: Step) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match step {
            Step::Plan => Some(0),
            Step::Fetch => Some(1),
            Step::Publish => Some(2),
            Step::Done => None,
        };
        *times = Times { spent: times.at(now), running: next.map(|step| (step, now)) };
    }

    /// The times of the three steps, the one under way included.
    pub(super) fn at(&self, now: Instant) -> [Duration; 3] {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).at(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_moment_belongs_to_one_step() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let steps = Steps::default();
        let seconds = |now| steps.at(at(now)).map(|time| time.as_secs());
        assert_eq!(seconds(5), [0, 0, 0], "nothing has begun");
        steps.enter(at(10), Step::Plan);
        assert_eq!(seconds(12), [2, 0, 0], "the step under way counts");
        steps.enter(at(13), Step::Fetch);
        steps.enter(at(20), Step::Publish);
        steps.enter(at(22), Step::Fetch);
        steps.enter(at(23), Step::Done);
        assert_eq!(seconds(99), [3, 8, 2], "a step that is entered again goes on");
    }
}
