//! What must hold on a real Kubernetes node.
//!
//! The tests are in `tests/`. This library is what they share with the demo: images, deployment, hub, and waiting.
//!
//! - [`images`]: every image, built without a registry.
//! - [`deploy`]: the operator inside a cluster, from its chart.
//! - [`embedding`]: the server of an example, and what it should answer.
//! - [`hub`]: the model hub as a pod.
//! - [`cluster`]: a cluster as its user sees it.
//! - [`schedule`]: who is killed, and when.
//! - [`wait`]: waiting by watching, with a deadline and a report.

pub mod cluster;
pub mod command;
pub mod deploy;
pub mod embedding;
mod error;
pub mod hub;
pub mod images;
pub mod report;
pub mod schedule;
pub mod wait;

pub use cluster::{Answer, Cluster};
pub use error::Error;
pub use hub::Hub;
