//! What clients of the hub see, over real connections.

#![expect(clippy::unwrap_used, reason = "clippy knows test functions, not the helpers that they call")]

mod access;
mod api;
mod faults;
mod plain;
mod python;
mod support;
mod tls;
