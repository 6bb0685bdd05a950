//! The pure heart of the Model operator: values in, values out.
//!
//! - [`api`]: `kind: Model` as users write it, with its schema and rules.
//! - [`names`], [`labels`]: every name, label and annotation of the operator.
//! - [`content`]: the content id, which tells one download from another.
//! - [`observed`]: one look at the cluster, reduced to what can change the outcome.
//! - [`mod@decide`]: the state machine. [`decide::decide`] takes a look and the time, and gives the next step.
//! - [`status`]: writes a decision down as `status`, with conditions.
//! - [`persisted`]: a Model that the API server stored, and which images download it.
//! - [`size`]: how large a claim has to be.
//! - [`figures`]: sizes and times for people.
//! - [`host`]: which host a source is downloaded from.
//! - [`queue`]: the line of Models that wait for a free download.
//! - [`quantity`]: amounts as Kubernetes writes them.
//! - [`reason`], [`pod_reason`]: the closed lists of reasons, of Models and of pods.
//! - [`report`]: what the loader tells the controller.
//!
//! ```
//! use kube::CustomResourceExt;
//! use model_core::api::{HuggingFaceSource, Model, ModelSpec, Source, Storage};
//! use model_core::names::claim_name;
//!
//! let source = Source::HuggingFace(HuggingFaceSource::new("acme/tiny"));
//! let model = Model::new("tiny", ModelSpec::new(source, Storage::of_size("2Gi")));
//! assert_eq!(model.spec.storage.claim_name("tiny"), claim_name("tiny"));
//! assert_eq!(Model::crd().spec.names.kind, "Model");
//! ```
//!
//! Nothing here does I/O, knows a client or reads a clock, so any operator can embed it.

pub mod api;
pub mod content;
pub mod decide;
pub mod figures;
mod freshness;
pub mod host;
pub mod labels;
pub mod names;
pub mod observed;
pub mod persisted;
pub mod pod_reason;
pub mod quantity;
pub mod queue;
pub mod reason;
pub mod report;
pub mod size;
pub mod status;
