//! The loader against a real hub over HTTP: what a user would notice.

#![allow(clippy::unwrap_used, reason = "support code of tests fails as tests do")]

mod checking;
mod endings;
mod faults;
mod kills;
mod manners;
mod proxies;
mod proxy;
mod publishing;
mod ranges;
mod readers;
mod registries;
mod restores;
mod s3_server;
mod servers;
mod sources;
mod terminal;
mod volumes;
mod world;
