//! An operator that embeds the Model crates.
//!
//! A user of this cluster writes `kind: Assistant`, and knows nothing of models, claims and downloads. The operator makes
//! a Model that the Assistant owns, runs the controller of Models beside its own, and once the files are there makes a
//! Deployment whose pods mount them. No webhook is installed: the operator builds the pods, so it mounts the files with
//! the same pure functions that the webhook calls.

mod api;
mod children;
mod reconcile;

pub use api::{Assistant, AssistantSpec};
pub use children::{ChildError, deployment, model};
pub use reconcile::{Error, run};
