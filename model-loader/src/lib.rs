//! Downloads a model into a directory: plan, fetch, verify, publish.
//!
//! - **Plan** ([`plan()`]): resolve the revision, list files with size and digest, apply patterns, check names.
//! - **Fetch**: stream every file into a staging directory beside the target, hashing on the way; retry, resume, compare.
//! - **Publish**: sync, make read-only, write the [`manifest`], one rename. Until then nothing is visible.
//!
//! [`pull()`] does all three, [`verify()`] checks later what was published, [`prune()`] takes it away.
//!
//! ```no_run
//! use model_loader::{Meter, Network, Wanted, pull};
//!
//! # async fn example() -> Result<(), model_loader::Error> {
//! let wanted = Wanted::all_of("hf://sentence-transformers/all-MiniLM-L6-v2".parse()?);
//! let published = pull(&wanted, "/models/minilm".as_ref(), &Network::default(), &Meter::default()).await?;
//! println!("{} files, {} of them not verified", published.files, published.unverified_files);
//! # Ok(())
//! # }
//! ```
//!
//! # Safety of what comes from outside
//!
//! File names are checked before anything is written ([`name`]), sizes before and digests after ([`digest`]), free space in
//! between. Credentials go to the source's own origin only and are never printed; URLs are printed without user and query.
//!
//! # TLS
//!
//! rustls with ring, named explicitly: no process-wide provider needs to be installed. The public roots are compiled in.
//!
//! # Xet storage
//!
//! With the feature `xet`, which is off, large files that a hub keeps there come from there, verified as all others. Its
//! crates trust the certificate authorities of the system, and no others.
//!
//! # Directories that cannot be replaced
//!
//! A mount point, or a directory whose parent is not writable, cannot be the target of a rename. There files are prepared
//! in `.model-loader/` inside and moved in as the last step; readers wait for `.model-loader/manifest.json`.

mod access;
pub mod digest;
mod error;
mod fetch;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod glob;
mod http;
pub mod manifest;
pub mod name;
mod plan;
mod progress;
mod prune;
mod publish;
mod pull;
mod source;
mod space;
mod verify;

pub use access::{Access, RegistryCredentials, UrlCredentials};
pub use error::Error;
pub use http::RetryPolicy;
pub use plan::{Plan, PlannedFile, Wanted};
pub use progress::{Meter, Speed, Totals};
pub use prune::{Pruning, prune};
pub use pull::{Network, plan, pull};
pub use source::{Source, without_secrets};
pub use verify::{Fault, FaultKind, Verification, recheck, verify};
