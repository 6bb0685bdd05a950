//! How many connections help. Pure: told how fast bytes come, it says how many to use.

use std::time::Duration;

/// Connections to a source next door, until it is known how fast one is. They may be enough.
const FIRST: usize = 2;
/// A source that takes longer to answer is far away.
const NEXT_DOOR: Duration = Duration::from_millis(10);
/// What a machine can receive, write and hash, in bytes per second, about. Connections that bring more only cost.
const FAST: u64 = 1600 << 20;
/// Connections to begin with where the source is far away, or each is slow.
const SLOW: usize = 16;
/// More connections have helped if so many bytes more come, in percent.
const WORTH: u64 = 10;

/// How often [`Ramp::look`] wants to know while it is not known how fast one connection is.
const FIRST_LOOKS: Duration = Duration::from_millis(50);
/// How often afterwards. Long enough for a connection to get up to its speed.
const LOOKS: Duration = Duration::from_millis(250);

/// Begins with the more connections the slower the first ones are, doubles them as long as that brings more bytes, and
/// takes a step back when it does not.
#[derive(Debug)]
pub(super) struct Ramp {
    streams: usize,
    most: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing has come.
    Waiting,
    /// Something has come, but not for the whole time of a look.
    First,
    /// With the bytes per second before the last step.
    Doubling(u64),
    Settled,
}

impl Ramp {
    /// `most`: what the buffers allow. `distance`: how long the source takes to answer.
    pub(super) fn new(most: usize, distance: Duration) -> Self {
        let first = if distance < NEXT_DOOR { FIRST } else { SLOW };
        Self { streams: first.min(most), most, stage: Stage::Waiting }
    }

    /// Connections to use now.
    pub(super) fn streams(&self) -> usize {
        self.streams
    }

    /// How long to wait until the next look.
    pub(super) fn pause(&self) -> Duration {
        if matches!(self.stage, Stage::Waiting | Stage::First) { FIRST_LOOKS } else { LOOKS }
    }

    /// Takes the bytes per second since the last look, over `active` connections.
    pub(super) fn look(&mut self, speed: u64, active: usize) {
        match self.stage {
            _ if speed == 0 || active == 0 => {}
            Stage::Waiting => self.stage = Stage::First,
            Stage::First => {
                let enough = FAST.div_ceil((speed / active as u64).max(1));
                self.streams = usize::try_from(enough).unwrap_or(SLOW).clamp(FIRST, SLOW).min(self.most);
                self.stage = Stage::Doubling(0);
            }
            // Where there is nothing to do for more connections, none can show what it is worth.
            Stage::Doubling(_) if active < self.streams => {}
            Stage::Doubling(before) => {
                if speed.saturating_mul(100) < before.saturating_mul(100 + WORTH) {
                    self.streams = (self.streams / 2).max(1);
                    self.stage = Stage::Settled;
                } else if self.streams == self.most {
                    self.stage = Stage::Settled;
                } else {
                    self.streams = (self.streams * 2).min(self.most);
                    self.stage = Stage::Doubling(speed);
                }
            }
            Stage::Settled => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Looks at a link until nothing changes any more. `speed` gives MiB per second by connections.
    fn settle(most: usize, speed: impl Fn(u64) -> u64) -> Vec<usize> {
        let mut ramp = Ramp::new(most, Duration::ZERO);
        let mut seen = vec![ramp.streams()];
        for _ in 0..20 {
            ramp.look(speed(ramp.streams() as u64) * MIB, ramp.streams());
            if seen.last() != Some(&ramp.streams()) {
                seen.push(ramp.streams());
            }
        }
        seen
    }

    #[test]
    fn connections_grow_while_they_help() {
        type Speed = fn(u64) -> u64;
        for (name, most, speed, want) in [
            ("each connection brings the same", 32, (|streams| streams * 50) as Speed, &[2, 16, 32][..]),
            ("one connection is fast", 32, |streams| streams.min(2) * 900, &[2, 4, 2]),
            ("four are fast enough", 32, |streams| streams.min(4) * 400, &[2, 4, 8, 4]),
            ("the link is full from the start", 32, |_| 100, &[2, 16, 32, 16]),
            ("the link is full at twenty", 32, |streams| streams.min(20) * 50, &[2, 16, 32]),
            ("the buffers allow few", 4, |streams| streams, &[2, 4]),
            ("the buffers allow one", 1, |streams| streams, &[1]),
            ("nothing comes", 32, |_| 0, &[2]),
        ] {
            assert_eq!(settle(most, speed), want, "{name}");
        }
    }

    #[test]
    fn a_source_far_away_gets_many_connections_from_the_first_second() {
        assert_eq!(Ramp::new(32, Duration::from_millis(50)).streams(), 16);
        assert_eq!(Ramp::new(4, Duration::from_millis(50)).streams(), 4);
        assert_eq!(Ramp::new(32, Duration::from_millis(1)).streams(), 2);
    }

    #[test]
    fn idle_connections_show_nothing() {
        let mut ramp = Ramp::new(32, Duration::ZERO);
        for _ in 0..3 {
            ramp.look(100 * MIB, 2);
        }
        let streams = ramp.streams();
        ramp.look(100 * MIB, streams - 1);
        assert_eq!(ramp.streams(), streams);
    }
}
