//! `kind: Model`, as users write it and as the API server stores it.

mod job_template;
mod rules;
mod source;
mod spec;
mod status;
mod verification;

pub use job_template::JobTemplate;
pub use source::{HuggingFaceSource, S3Source, Source, SourceType, UrlSource};
pub use spec::{AccessMode, DeletionPolicy, Model, ModelSpec, Storage};
pub use status::{Content, DownloadStatus, EarlierContent, FoundContent, LastFailure, ModelStatus, Phase, SourceCheck};
pub use verification::{Verification, VerificationResult};

/// Version of the API.
pub const VERSION: &str = "v1alpha1";
