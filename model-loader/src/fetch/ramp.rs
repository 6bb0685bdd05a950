//! How many connections help. Pure: told what came in how long, it says how many to use.

use std::time::Duration;

/// Connections at the start: enough for most links, few enough for a small node.
const FIRST: usize = 8;
/// More connections have helped if so many bytes more come, in percent.
const WORTH: u64 = 10;

/// How often [`Ramp::look`] wants to know. Long enough for a connection to get up to its speed.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(1000 / LOOKS_PER_SECOND);
/// The same as a number.
pub(super) const LOOKS_PER_SECOND: u64 = 4;

/// Doubles the connections as long as that brings more bytes, and takes a step back when it does not.
#[derive(Debug)]
pub(super) struct Ramp {
    streams: usize,
    most: usize,
    /// Bytes in one look before the last step.
    before: u64,
    settled: bool,
}

impl Ramp {
    /// `most`: what the buffers allow.
    pub(super) fn new(most: usize) -> Self {
        Self { streams: FIRST.min(most), most, before: 0, settled: FIRST >= most }
    }

    /// Connections to use now.
    pub(super) fn streams(&self) -> usize {
        self.streams
    }

    /// Takes the bytes that came since the last look, in all of which `active` connections were in use.
    pub(super) fn look(&mut self, bytes: u64, active: usize) {
        // Where there is nothing to do for more connections, none can show what it is worth.
        if self.settled || active < self.streams || bytes == 0 {
            return;
        }
        let helped = bytes.saturating_mul(100) >= self.before.saturating_mul(100 + WORTH);
        if helped {
            self.before = bytes;
            self.settled = self.streams == self.most;
            self.streams = (self.streams * 2).min(self.most);
        } else {
            self.streams = (self.streams / 2).max(1);
            self.settled = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at a link until nothing changes any more. `speed` gives its bytes by connections.
    fn settle(most: usize, speed: impl Fn(usize) -> u64) -> usize {
        let mut ramp = Ramp::new(most);
        for _ in 0..20 {
            ramp.look(speed(ramp.streams()), ramp.streams());
        }
        ramp.streams()
    }

    #[test]
    fn connections_grow_while_they_help() {
        type Speed = fn(usize) -> u64;
        for (name, most, speed, want) in [
            ("each connection brings the same", 32, (|streams| streams as u64 * 50) as Speed, 32),
            ("the link is full from the start", 32, |_| 1000, 8),
            ("the link is full at twelve", 32, |streams| streams.min(12) as u64 * 50, 16),
            ("the buffers allow few", 4, |streams| streams as u64, 4),
            ("the buffers allow one", 1, |streams| streams as u64, 1),
            ("nothing comes", 32, |_| 0, 8),
        ] {
            assert_eq!(settle(most, speed), want, "{name}");
        }
    }

    #[test]
    fn idle_connections_show_nothing() {
        let mut ramp = Ramp::new(32);
        ramp.look(1000, 3);
        assert_eq!(ramp.streams(), 8);
    }
}
