//! What the crate writes into a cluster: whole objects, defaults, the commands run for real, and pods injected.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod annotations;
mod commands;
mod defaults;
mod download_url;
mod fixtures;
mod gates;
mod injection;
mod injection_properties;
mod kubelet;
mod objects;
mod placement;
mod readiness;
mod shared_claims;
