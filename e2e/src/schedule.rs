//! Who is killed, and when, as a seed says: a run that failed can be repeated.

use std::fmt;
use std::time::Duration;

/// Somebody whose processes are killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// The controller.
    Controller,
    /// Every replica of the webhook.
    Webhook,
    /// One of the downloads that run.
    Loader,
    /// Every kubelet.
    Kubelet,
}

impl fmt::Display for Victim {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Controller => "controller",
            Self::Webhook => "webhook",
            Self::Loader => "loader",
            Self::Kubelet => "kubelet",
        })
    }
}

/// One kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Who dies.
    pub victim: Victim,
    /// How long the victim is seen alive before, counted from the kill before this one at the earliest. Less than
    /// [`LONGEST`].
    pub after: Duration,
    /// Which one, where there are several: the remainder by their number.
    pub which: usize,
}

/// Bound of [`Kill::after`]: about as long as a download takes, or a process until it has begun its work.
pub const LONGEST: Duration = Duration::from_secs(4);

/// The kills of a seed, without end. Of each four in a row every victim has one.
pub fn schedule(seed: u64) -> impl Iterator<Item = Kill> {
    let mut random = Random(seed);
    std::iter::repeat_with(move || {
        let mut victims = [Victim::Controller, Victim::Webhook, Victim::Loader, Victim::Kubelet];
        for last in (1..victims.len()).rev() {
            victims.swap(last, random.below(last as u64 + 1));
        }
        victims.map(|victim| {
            let millis = random.below(u64::try_from(LONGEST.as_millis()).unwrap_or(u64::MAX)) as u64;
            Kill { victim, after: Duration::from_millis(millis), which: random.below(1 << 16) }
        })
    })
    .flatten()
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(seed: u64) -> Vec<Kill> {
        schedule(seed).take(400).collect()
    }

    #[test]
    fn a_seed_says_all() {
        assert_eq!(first(7), first(7));
        assert_ne!(first(7), first(8));
        // A seed in an old report means what it meant then.
        let told: Vec<_> = first(1)[..5].iter().map(|kill| format!("{} after {:?}", kill.victim, kill.after)).collect();
        let want = [
            "loader after 235ms",
            "controller after 2.048s",
            "kubelet after 533ms",
            "webhook after 950ms",
            "webhook after 3.816s",
        ];
        assert_eq!(told, want);
    }

    #[test]
    fn everybody_has_a_turn_at_every_moment() {
        for seed in 0..20 {
            let kills = first(seed);
            for four in kills.chunks(4) {
                let mut victims: Vec<_> = four.iter().map(|kill| kill.victim).collect();
                victims.sort();
                assert_eq!(victims, [Victim::Controller, Victim::Webhook, Victim::Loader, Victim::Kubelet]);
            }
            assert!(kills.iter().all(|kill| kill.after < LONGEST));
            for quarter in 0..4 {
                let from = LONGEST * quarter / 4;
                let share = kills.iter().filter(|kill| (from..from + LONGEST / 4).contains(&kill.after)).count();
                assert!((60..140).contains(&share), "seed {seed}: {share} of 400 from {from:?}");
            }
            let orders: std::collections::BTreeSet<Vec<_>> =
                kills.chunks(4).map(|four| four.iter().map(|kill| kill.victim).collect()).collect();
            assert!(orders.len() > 15, "seed {seed}: {} orders of 24", orders.len());
        }
    }
}
