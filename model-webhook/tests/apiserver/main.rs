//! What a real API server makes of the webhook, the CRD's rules, the manifests and the samples.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![allow(clippy::needless_pass_by_value, reason = "tables read better with json! in place")]

mod cluster;
mod crd;
mod deletion;
mod denials;
mod gates;
mod lifecycle;
mod manifests;
mod messages;
mod people;
mod pods;
mod policies;
mod rights;
mod rotation;
mod samples;
mod storage;
mod unwritable;
mod versions;
mod webhook;
