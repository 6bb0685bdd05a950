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
//! - [`reason`], [`report`]: the closed list of reasons, and what the loader tells the controller.
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
pub mod quantity;
pub mod queue;
pub mod reason;
pub mod report;
pub mod size;
pub mod status;
