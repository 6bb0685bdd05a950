//! A model hub for tests: the Hugging Face API, S3 and plain files, with fault switches.
//!
//! It serves one folder:
//!
//! ```text
//! ROOT/hf/ORG/NAME/…                        files of a repository's branch `main`
//! ROOT/hf/ORG/NAME/.hub/repo.json           {"private": bool, "gated": bool, "listed": [path, …]}, each may be absent
//! ROOT/hf/ORG/NAME/.hub/revisions/BRANCH/…  files of another branch or tag; a slash in its name is written %2F
//! ROOT/s3/BUCKET/…                          objects
//! ROOT/files/…                              plain URLs `/files/…`
//! ROOT/private/…                            plain URLs `/private/…`, with token or password
//! ```
//!
//! Commits are made from the content. Weights and files from [`HubConfig::large_from`] bytes are large: as on the real
//! hub a redirect leads to them on another origin, the CDN, which refuses credentials. `listed` adds paths to the listing
//! that no file has, such as hostile ones.
//!
//! ```
//! use test_hub::{Fault, Hub, HubConfig, Origin, Rule, fixtures};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let root = tempfile::tempdir()?;
//! fixtures::made_up(root.path())?;
//! let hub = Hub::start(HubConfig::new(root.path()))?;
//! hub.add_fault(Rule::new(Fault::Close { after: 1 << 20, reset: true }).path("*.safetensors").count(1))?;
//! // … download `acme/tiny` with `HF_ENDPOINT` set to `hub.url()` …
//! assert_eq!(hub.stats().origin(Origin::Cdn).with_credentials, 0);
//! # Ok(())
//! # }
//! ```

mod admin;
mod config;
mod connection;
mod digest;
mod error;
mod faults;
mod files;
pub mod fixtures;
mod gate;
mod hf;
mod hub;
mod origin;
mod repository;
mod s3;
mod serve;
mod shared;
mod stats;
mod tls;

pub use config::{Cdn, HubConfig, TlsConfig};
pub use error::Error;
pub use faults::rule::{Fault, Rule};
pub use faults::set::RuleState;
pub use gate::{GATE_PASSWORD, GATE_USER, Gate, Lock};
pub use hub::Hub;
pub use origin::Origin;
pub use s3::WEB_IDENTITY_TOKEN;
pub use stats::{Counts, Stats};
