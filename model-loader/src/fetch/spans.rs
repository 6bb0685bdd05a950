//! Sets of byte ranges.

use std::{collections::BTreeMap, ops::Range};

/// Bytes of one file, as disjoint ranges that do not touch each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(BTreeMap<u64, u64>);

impl Spans {
    /// Adds the bytes from `start` up to, not including, `end`.
    pub(super) fn insert(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let (mut start, mut end) = (start, end);
        // From the last range that could reach the new ones, backwards: each that touches them becomes part of them.
        while let Some((&other, &until)) = self.0.range(..=end).next_back() {
            if until < start {
                break;
            }
            self.0.remove(&other);
            start = start.min(other);
            end = end.max(until);
        }
        self.0.insert(start, end);
    }

    /// Where the unbroken run of bytes that begins at `at` ends. `at` itself where that byte is not in the set.
    pub(super) fn run_from(&self, at: u64) -> u64 {
        self.0.range(..=at).next_back().map_or(at, |(_, &end)| end.max(at))
    }

    /// The first range between `from` and `until` of which no byte is in the set.
    pub(super) fn gap(&self, from: u64, until: u64) -> Option<Range<u64>> {
        let start = self.run_from(from);
        let end = self.0.range(start..).next().map_or(until, |(&next, _)| next.min(until));
        (start < end).then_some(start..end)
    }

    /// Number of bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    const SPACE: u64 = 60;

    proptest! {
        /// Against a set of single bytes, which needs no thought.
        #[test]
        fn is_the_set_of_its_bytes(steps in proptest::collection::vec((0..SPACE, 0..SPACE), 0..40)) {
            let mut spans = Spans::default();
            let mut bytes = BTreeSet::new();
            for (start, end) in steps {
                spans.insert(start, end);
                bytes.extend(start..end);
                prop_assert_eq!(spans.bytes(), bytes.len() as u64);
                for at in 0..SPACE {
                    let run = (at..SPACE).find(|byte| !bytes.contains(byte)).unwrap_or(SPACE);
                    prop_assert_eq!(spans.run_from(at), run);
                    let next = bytes.range(run..).next().copied().unwrap_or(SPACE);
                    prop_assert_eq!(spans.gap(at, SPACE), (run < SPACE).then_some(run..next));
                }
                let ranges: Vec<_> = spans.0.iter().collect();
                prop_assert!(ranges.windows(2).all(|two| two[0].1 < two[1].0), "{ranges:?}");
            }
        }
    }
}
