//! The controller of `Model`, as a library that another operator can run beside its own controllers.
//!
//! Each pass reads like its title: observe the Model and its children, decide in
//! [`model_core::decide`], act. A pass over a settled Model reads the watch caches only. Where the caches ask for a
//! change, the pass looks once more at the API server itself, as far as that could change the outcome, so that a cache
//! that lags behind never leads to a second Job or to lost content.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = kube::Client::try_default().await?;
//! let settings = model_controller::DownloadSettings::default();
//! model_controller::controller(client, settings).run_until(std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Where more than one replica runs, [`Controller::with_leader_election`] lets one of them act. An operator that elects a
//! leader itself leaves that out and runs the controller while it leads.

mod act;
mod backoff;
mod cache;
mod certificates;
mod checks;
mod children;
mod context;
mod controller;
mod doubt;
mod downloads;
mod error;
mod events;
mod gate_events;
mod gates;
pub mod health;
mod leader;
pub mod metrics;
mod observe;
mod options;
mod own_writes;
mod pods;
mod port;
mod progress;
mod reconcile;
mod send;
mod shared_claims;
mod warnings;
mod watched;
mod watched_model;
mod writers;

pub use certificates::{Rhythm, WebhookCertificates, keep_webhook_certificates};
pub use controller::{Controller, Readiness, controller};
pub use error::Error;
pub use leader::{LEASE, LeaderElection, LeaseLost};
pub use metrics::Metrics;
pub use model_resources::DownloadSettings;
pub use options::Options;
