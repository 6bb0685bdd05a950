//! What the Model operator writes into a cluster, as pure functions.
//!
//! - [`claim()`]: the claim that holds a model's files.
//! - [`job`]: the Job that downloads them, with the images of the specification or with our loader, and the one that asks
//!   the source first.
//! - [`inject`]: the JSON Patch that mounts models into a pod that asks for them by annotation.
//! - [`gate`]: when a pod that waits for its models may be scheduled.
//!
//! ```
//! use model_core::api::{Content, HuggingFaceSource, Model, ModelSpec, ModelStatus, Phase, Source, Storage};
//! use model_resources::inject::{inject, parse, ready_model};
//! use serde_json::json;
//!
//! # fn main() -> Result<(), model_resources::inject::Denial> {
//! let source = Source::HuggingFace(HuggingFaceSource::new("acme/tiny"));
//! let mut model = Model::new("tiny", ModelSpec::new(source.clone(), Storage::of_size("2Gi")));
//! let pod = json!({
//!     "metadata": { "annotations": { "models.main-currents.news/inject": "tiny" } },
//!     "spec": { "containers": [{ "name": "app", "image": "app" }] },
//! });
//! let wish = parse(&pod)?.expect("the pod asks for a model");
//! let refusal = ready_model("tiny", "team", Some(&model)).unwrap_err();
//! assert!(refusal.to_string().starts_with("model not ready: tiny is Pending; wait for it with: kubectl wait"));
//!
//! let mut status = ModelStatus::default();
//! status.phase = Some(Phase::Ready);
//! status.content = Some(Content::new("0123456789abcdef0123".into(), "revisions/0123456789abcdef0123".into(), source));
//! model.status = Some(status);
//! let patch = inject(&pod, &wish, &[ready_model("tiny", "team", Some(&model))?])?;
//! assert!(!patch.0.is_empty());
//! # Ok(())
//! # }
//! ```
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
pub use job::{DownloadSettings, check_job, download_job, placed, plan_job, prune_job, verify_job};
