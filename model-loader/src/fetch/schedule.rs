//! Which part of which file is asked for next. Pure: no clock, no network, no volume.
//!
//! Large files are fetched in ranges, several at once over all files, so that a slow connection does not slow down the
//! whole. A file is first asked for one range, which shows whether its source gives ranges at all. The next range always
//! goes to the file with the fewest connections: with one connection a file, bytes come in order and are hashed from
//! memory. No file is written further than a window ahead of its digest, so that what has to be read back is still in
//! the page cache.

use std::collections::VecDeque;

use super::spans::Spans;

/// Bounds of what is asked for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Requests for ranges of large files.
    pub(super) streams: usize,
    /// Requests for small files, beside those.
    pub(super) small: usize,
    /// Largest file that counts as small, in bytes. Small files come as a whole.
    pub(super) small_size: u64,
    /// Bytes that one request asks for.
    pub(super) range: u64,
    /// Bytes that a file may be written ahead of its digest.
    pub(super) window: u64,
}

/// One part of a file, to be asked for and written by one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Number of the file in the plan.
    pub(super) file: usize,
    /// First byte.
    pub(super) start: u64,
    /// The byte after the last one. `None`: the rest of a file whose length is not known.
    pub(super) end: Option<u64>,
    /// No other stream has a part of the file, until this one tells that its source gives ranges.
    pub(super) alone: bool,
}

/// What a file is after one of its streams has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// There is more to come.
    More,
    /// Every byte is written.
    Complete,
    /// No stream is left, and nothing of the file can be kept.
    StartOver,
}

#[derive(Debug)]
pub(super) struct Schedule {
    limits: Limits,
    files: Vec<Entry>,
    /// Small files that nobody asked for yet.
    small: VecDeque<usize>,
    /// Large files that are not complete, in the order of the plan.
    large: Vec<usize>,
    small_active: usize,
    large_active: usize,
}

#[derive(Debug)]
struct Entry {
    size: Option<u64>,
    /// Bytes that are there or asked for.
    taken: Spans,
    active: usize,
    stage: Stage,
    /// Whether ranges are worth asking for.
    ranges: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was asked for yet.
    Fresh,
    /// The first range is asked for.
    Asked,
    /// The source gives ranges.
    Ranges,
    /// The source gives files as a whole, or has no length for it: one stream has all of it.
    Whole,
    /// The file starts over when the last of its streams has ended.
    Leaving,
    Complete,
}

impl Schedule {
    /// A schedule of as many files, none of which is to be fetched until it is added.
    pub(super) fn new(files: usize, limits: Limits) -> Self {
        let entry = |_| Entry { size: None, taken: Spans::default(), active: 0, stage: Stage::Complete, ranges: true };
        let files = (0..files).map(entry).collect();
        Self { limits, files, small: VecDeque::new(), large: Vec::new(), small_active: 0, large_active: 0 }
    }

    /// Sets the number of requests for ranges at once. Those beyond it that run are left to end.
    pub(super) fn set_streams(&mut self, streams: usize) {
        self.limits.streams = streams;
    }

    /// Number of requests for ranges that run.
    pub(super) fn streams(&self) -> usize {
        self.large_active
    }

    /// Adds a file of which some bytes are there already, or adds it again. Gives whether every byte is there.
    pub(super) fn add(&mut self, file: usize, size: Option<u64>, there: Spans) -> bool {
        let entry = &mut self.files[file];
        if size == Some(there.bytes()) && size != Some(0) {
            return true;
        }
        (entry.size, entry.taken, entry.stage) = (size, there, Stage::Fresh);
        if self.is_small(file) {
            self.small.push_back(file);
        } else if let Err(place) = self.large.binary_search(&file) {
            self.large.insert(place, file);
        }
        false
    }

    /// The source answered the first request for a file with a range.
    pub(super) fn gives_ranges(&mut self, file: usize) {
        let entry = &mut self.files[file];
        if entry.stage == Stage::Asked {
            entry.stage = Stage::Ranges;
        }
    }

    /// The source answered the first request for a file with all of it: that stream goes on to its end.
    pub(super) fn gives_whole(&mut self, file: usize) {
        self.files[file].stage = Stage::Whole;
    }

    /// The file has to start over once all its streams have ended. `whole`: its source does not give ranges.
    pub(super) fn start_over(&mut self, file: usize, whole: bool) {
        let entry = &mut self.files[file];
        entry.stage = Stage::Leaving;
        entry.ranges &= !whole;
    }

    /// A stream has ended, its part being written unless the file starts over.
    pub(super) fn ended(&mut self, part: Part) -> Left {
        if self.is_small(part.file) {
            self.small_active -= 1;
        } else {
            self.large_active -= 1;
        }
        let entry = &mut self.files[part.file];
        entry.active -= 1;
        let all_taken = entry.stage == Stage::Whole || entry.size.is_none_or(|size| entry.taken.gap(0, size).is_none());
        let left = match entry.stage {
            _ if entry.active > 0 => Left::More,
            Stage::Leaving => Left::StartOver,
            _ if all_taken => Left::Complete,
            _ => Left::More,
        };
        if left != Left::More {
            entry.stage = Stage::Complete;
            self.large.retain(|file| *file != part.file);
        }
        left
    }

    /// What to ask for now. `None`: nothing before something ends. `hashed` tells how far a file's digest is computed.
    pub(super) fn next(&mut self, hashed: impl Fn(usize) -> u64) -> Option<Part> {
        if self.small_active < self.limits.small
            && let Some(file) = self.small.pop_front()
        {
            self.small_active += 1;
            let entry = &mut self.files[file];
            (entry.stage, entry.active) = (Stage::Whole, 1);
            return Some(Part { file, start: 0, end: entry.size, alone: true });
        }
        if self.large_active >= self.limits.streams {
            return None;
        }
        let parts =
            self.large.iter().filter_map(|&file| Some((self.files[file].active, self.part(file, hashed(file))?)));
        let (_, part) = parts.min_by_key(|(active, part)| (*active, part.file))?;
        self.large_active += 1;
        let entry = &mut self.files[part.file];
        entry.active += 1;
        if entry.stage == Stage::Fresh {
            entry.stage = if part.start == 0 && part.end == entry.size { Stage::Whole } else { Stage::Asked };
        }
        entry.taken.insert(part.start, part.end.unwrap_or(u64::MAX));
        Some(part)
    }

    /// The next part of one large file.
    fn part(&self, file: usize, hashed: u64) -> Option<Part> {
        let entry = &self.files[file];
        if !matches!(entry.stage, Stage::Fresh | Stage::Ranges) {
            return None;
        }
        let alone = entry.stage == Stage::Fresh;
        let Some(size) = entry.size.filter(|_| entry.ranges) else {
            return Some(Part { file, start: 0, end: entry.size, alone });
        };
        // A part may end beyond the window, or the window's slow steps would cut parts to pieces.
        let gap = entry.taken.gap(0, size).filter(|gap| gap.start < hashed.saturating_add(self.limits.window))?;
        Some(Part { file, start: gap.start, end: Some(gap.end.min(gap.start + self.limits.range)), alone })
    }

    /// Whether a file waits for its digest to get on before more of it is asked for.
    pub(super) fn waits_for_digests(&self) -> bool {
        self.large.iter().any(|&file| self.part(file, u64::MAX).is_some())
    }

    fn is_small(&self, file: usize) -> bool {
        self.files[file].size.is_some_and(|size| size <= self.limits.small_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { streams: 3, small: 2, small_size: 10, range: 100, window: 250 };

    fn part(file: usize, start: u64, end: u64) -> Part {
        Part { file, start, end: Some(end), alone: false }
    }

    fn alone(file: usize, start: u64, end: u64) -> Part {
        Part { alone: true, ..part(file, start, end) }
    }

    #[test]
    fn one_range_is_asked_for_before_the_others() {
        let mut schedule = Schedule::new(1, LIMITS);
        assert!(!schedule.add(0, Some(1000), Spans::default()));
        assert_eq!(schedule.next(|_| 0), Some(alone(0, 0, 100)));
        assert_eq!(schedule.next(|_| 0), None);
        schedule.gives_ranges(0);
        assert_eq!(schedule.next(|_| 0), Some(part(0, 100, 200)));
        assert_eq!(schedule.next(|_| 0), Some(part(0, 200, 300)), "parts are never cut by the window");
        assert_eq!(schedule.next(|_| 0), None, "three streams are enough");
        assert_eq!(schedule.ended(part(0, 100, 200)), Left::More);
        assert_eq!(schedule.next(|_| 50), None, "the window has ended");
        assert!(schedule.waits_for_digests());
        assert_eq!(schedule.next(|_| 51), Some(part(0, 300, 400)));
    }

    #[test]
    fn a_source_without_ranges_keeps_one_stream() {
        let mut schedule = Schedule::new(1, LIMITS);
        schedule.add(0, Some(1000), Spans::default());
        let first = schedule.next(|_| 0).unwrap();
        schedule.gives_whole(0);
        assert_eq!(schedule.next(|_| 0), None);
        assert!(!schedule.waits_for_digests());
        assert_eq!(schedule.ended(first), Left::Complete);
    }

    #[test]
    fn a_file_starts_over_when_its_last_stream_has_ended() {
        let mut schedule = Schedule::new(1, LIMITS);
        schedule.add(0, Some(1000), Spans::default());
        let first = schedule.next(|_| 0).unwrap();
        schedule.gives_ranges(0);
        let second = schedule.next(|_| 0).unwrap();
        schedule.start_over(0, true);
        assert_eq!(schedule.ended(second), Left::More);
        assert_eq!(schedule.next(|_| 0), None);
        assert_eq!(schedule.ended(first), Left::StartOver);
        schedule.add(0, Some(1000), Spans::default());
        assert_eq!(schedule.next(|_| 0), Some(alone(0, 0, 1000)), "its source gives no ranges");
    }

    #[test]
    fn streams_are_spread_over_files_and_small_ones_come_beside() {
        let mut schedule = Schedule::new(5, LIMITS);
        for (file, size) in [(0, 1000), (1, 5), (2, 1000), (3, 0), (4, 7)] {
            schedule.add(file, Some(size), Spans::default());
        }
        let next: Vec<_> = std::iter::from_fn(|| {
            let part = schedule.next(|_| 0)?;
            schedule.gives_ranges(part.file);
            Some(part)
        })
        .collect();
        let small = [alone(1, 0, 5), alone(3, 0, 0)];
        assert_eq!(next, [&small[..], &[alone(0, 0, 100), alone(2, 0, 100), part(0, 100, 200)]].concat());
        assert_eq!(schedule.ended(small[1]), Left::Complete, "an empty file is asked for too");
        assert_eq!(schedule.next(|_| 0), Some(alone(4, 0, 7)));
    }

    #[test]
    fn only_what_is_missing_is_asked_for() {
        let mut schedule = Schedule::new(2, LIMITS);
        let mut there = Spans::default();
        there.insert(0, 130);
        there.insert(150, 1000);
        schedule.add(0, Some(1000), there.clone());
        assert_eq!(schedule.next(|_| 130), Some(alone(0, 130, 150)));
        assert_eq!(schedule.ended(alone(0, 130, 150)), Left::Complete);
        there.insert(0, 1000);
        assert!(schedule.add(1, Some(1000), there), "nothing is missing");
    }

    proptest! {
        /// Whatever ends first: every byte is asked for once, the bounds hold, and all files become complete.
        #[test]
        fn every_byte_is_asked_for_once(
            sizes in proptest::collection::vec(prop_oneof![Just(None), (0u64..1200).prop_map(Some)], 1..8),
            whole in proptest::collection::vec(any::<bool>(), 8),
            there in proptest::collection::vec((0u64..1200, 0u64..1200), 8),
            picks in proptest::collection::vec(any::<prop::sample::Index>(), 400),
        ) {
            let mut schedule = Schedule::new(sizes.len(), LIMITS);
            let mut done: Vec<Spans> = Vec::new();
            let mut complete = vec![false; sizes.len()];
            let is_large = |file: usize| sizes[file].is_none_or(|size| size > LIMITS.small_size);
            for (file, &size) in sizes.iter().enumerate() {
                let mut spans = Spans::default();
                if let Some(size) = size.filter(|_| is_large(file)) {
                    spans.insert(there[file].0.min(size), there[file].1.min(size));
                }
                done.push(spans.clone());
                complete[file] = schedule.add(file, size, spans);
            }
            let mut running: Vec<Part> = Vec::new();
            for pick in picks {
                while let Some(part) = schedule.next(|file| done[file].run_from(0)) {
                    let others = running.iter().filter(|other| other.file == part.file);
                    for other in others {
                        prop_assert!(!part.alone && (other.end <= Some(part.start) || part.end <= Some(other.start)));
                    }
                    if let Some(size) = sizes[part.file].filter(|_| is_large(part.file)) {
                        let end = part.end.unwrap();
                        prop_assert!(end - part.start <= LIMITS.range && part.start < done[part.file].run_from(0) + LIMITS.window);
                        prop_assert_eq!(done[part.file].gap(part.start, end), Some(part.start..end));
                        if !part.alone || (part.start, end) == (0, size) {
                        } else if whole[part.file] && part.start == 0 {
                            schedule.gives_whole(part.file);
                        } else {
                            schedule.gives_ranges(part.file);
                        }
                    }
                    running.push(part);
                    let large = running.iter().filter(|part| is_large(part.file)).count();
                    prop_assert!(large <= LIMITS.streams && running.len() - large <= LIMITS.small);
                }
                if running.is_empty() {
                    break;
                }
                let part = running.swap_remove(pick.index(running.len()));
                let all = whole[part.file] && part.alone && part.start == 0;
                let end = if all { sizes[part.file] } else { part.end };
                done[part.file].insert(part.start, end.unwrap_or(0));
                match schedule.ended(part) {
                    Left::More => {}
                    Left::Complete => complete[part.file] = true,
                    Left::StartOver => prop_assert!(false, "nobody asked for that"),
                }
            }
            prop_assert!(running.is_empty() && schedule.large.is_empty());
            for (file, size) in sizes.iter().enumerate() {
                prop_assert!(complete[file], "{file}: {size:?}");
                prop_assert_eq!(done[file].run_from(0), size.unwrap_or(0));
            }
        }
    }
}
