//! Leader election: of several replicas one acts, the others keep their caches warm.
//!
//! A `Lease` of `coordination.k8s.io` names the leader, with the times of client-go: it holds for 15 s, is renewed every
//! 2 s, and a leader that could not renew it for 10 s stops at once, before anybody else may take it. What to do about
//! the lease is decided in [`lease`] without clock or client; [`elector`] looks, writes and waits.

mod elector;
mod leadership;
mod lease;

use std::fs;
use std::hash::{BuildHasher, RandomState};

pub(crate) use elector::Elector;
pub(crate) use leadership::Leadership;

/// Name of the lease.
pub const LEASE: &str = "model-controller";

/// Takes part in an election: the replica that holds the lease acts, all others wait.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeaderElection {
    /// Namespace of the lease. All replicas must name the same one.
    pub namespace: String,
    /// Who this replica is. No two processes may have the same identity, not even one after the other.
    pub identity: String,
}

impl LeaderElection {
    /// An election by the lease [`LEASE`] of this namespace, under the host's name with a random ending.
    #[must_use]
    pub fn new(namespace: &str) -> Self {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = Some(host.trim()).filter(|name| !name.is_empty()).unwrap_or(LEASE);
        // Seeded by the system for each process: enough to tell two of them apart.
        let random = RandomState::new().hash_one(host);
        Self { namespace: namespace.to_owned(), identity: format!("{host}_{random:016x}") }
    }
}

/// The lease was lost, so another replica may act now. Nothing was written since. End the process, or run a new
/// controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not go on leading: the lease was not renewed in time, or another replica took it")]
pub struct LeaseLost;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_processes_have_the_same_identity() {
        let (one, another) = (LeaderElection::new("a"), LeaderElection::new("a"));
        assert_ne!(one.identity, another.identity);
    }
}
