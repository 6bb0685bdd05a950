//! A real Kubernetes on this machine, without Docker: for the demo, tests and benches.
//!
//! Two sizes: [`ControlPlane`], etcd and the API server on loopback, needs no root and starts in seconds; [`Node`] runs
//! everything, containers too, in namespaces of its own. Both end with the process that started them, even when it is
//! killed. Calls block: from async code use `spawn_blocking`.

mod binaries;
mod cgroups;
mod cluster;
mod command;
mod control_plane;
mod directories;
mod disk;
mod error;
pub mod image;
mod node;
mod pki;
mod supervisor;

pub use binaries::{Binaries, CertManager, KUBERNETES_VERSION, cert_manager, helm};
pub use cluster::{Cluster, Size};
pub use control_plane::ControlPlane;
pub use error::Error;
pub use node::{BUSYBOX_IMAGE, Node, NodeOptions, WORKER_TAINT};
