//! Admission of pods that ask for models.
//!
//! A pod with the annotation `models.main-currents.news/inject` is admitted with its models mounted, or denied in words
//! that say what to do; one that may wait is admitted with a scheduling gate while a model is not Ready. The API server
//! asks at [`PATH`]; every answer comes from a watch cache of Models, so no request ever waits for another one.
//!
//! - [`router`]: the answers, as an axum `Router` that can be embedded in any server.
//! - [`ModelCache`]: the Models, kept current by a watch.
//! - [`Server`]: everything the binary does: TLS from files with reload, health, graceful end.
//! - [`deletion_router`]: the answers about Models that are to be deleted, from the pods that [`Mounts`] watches.
//! - [`registration`]: how the API server is told to ask.
//! - [`gate_policy`]: who may let a waiting pod go.
//! - [`reference_policy`]: who may have a Model use a Secret or a service account.
//! - [`operator_policy`]: what the controller's own account may write.
//! - [`storage_warnings`]: what is said about storage that will hurt.
//! - [`Certificates`]: a certificate where no cert-manager makes one.
//!
//! What is patched and denied is decided by the pure crate `model-resources`.
//!
//! An operator that has a webhook server of its own adds one route to it, and one task:
//!
//! ```
//! use axum::Router;
//! use model_watch::Namespaces;
//! use model_webhook::{Defaults, ModelCache};
//!
//! fn add_models(server: Router, client: kube::Client) -> Router {
//!     let (models, watch) = ModelCache::watch(&client, &Namespaces::default());
//!     tokio::spawn(watch);
//!     server.merge(model_webhook::router(models, Defaults::default()))
//! }
//! ```

mod admission;
mod cache;
pub mod certificates;
mod client;
mod deletion;
mod expiry;
pub mod gate_policy;
mod health;
mod limits;
mod metrics;
mod mounts;
pub mod operator_policy;
mod options;
mod policy;
pub mod reference_policy;
pub mod registration;
mod review;
mod server;
pub mod storage_warnings;
mod tls;

pub use admission::{Defaults, PATH, counted_router, router};
pub use cache::{Guarded, ModelCache};
pub use certificates::Certificates;
pub use client::{Error as ClientError, client};
pub use deletion::{DELETION_PATH, counted_deletion_router, deletion_router};
pub use health::{Readiness, health_router};
pub use metrics::{Metrics, metrics_router};
pub use mounts::Mounts;
pub use options::Options;
pub use server::{Error as ServerError, Server};
pub use tls::{Certificate, Error as TlsError};
