//! What the Model operator writes into a cluster, as pure functions.
//!
//! - [`claim()`]: the claim that holds a model's files.
//! - [`job`]: the Job that downloads them, with the images of the specification or with our loader, and the one that asks
//!   the source first.
//! - [`inject`]: the JSON Patch that mounts models into a pod that asks for them by annotation.
//! - [`gate`]: when a pod that waits for its models may be scheduled.
//!
//! Nothing here does I/O, knows a client or reads a clock, so any operator can embed it. What a user wrote travels as
//! an argument or an environment variable, never inside a script, and always through [`literal`], because Kubernetes
//! would otherwise replace `$(NAME)` in it.

mod claim;
mod expansion;
mod file_name;
pub mod gate;
pub mod inject;
pub mod job;
mod metadata;

pub use claim::claim;
pub use expansion::literal;
pub use file_name::{key_file_name, url_file_name};
pub use job::{DownloadSettings, download_job, placed, plan_job, prune_job};
