//! Why the hub could not start or be set up.

use std::io;
use std::path::PathBuf;

/// Why the hub could not start, be told what to do, or lay out its fixtures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address could not be listened on.
    #[error("could not listen on {address}")]
    Listen {
        /// Address and port.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder could not be read or written.
    #[error("could not {doing} {}", path.display())]
    File {
        /// What was being done, such as `read`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file exists and does not say what it should.
    #[error("could not understand {}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificates could not be made or loaded.
    #[error("could not set up tls: {0}")]
    Tls(String),
    /// The S3 server refused its folder.
    #[error("could not serve {} over s3: {reason}", path.display())]
    S3 {
        /// The folder of buckets.
        path: PathBuf,
        /// What the S3 server said.
        reason: String,
    },
    /// A fault rule's path is not a glob.
    #[error("could not understand the path pattern {pattern:?}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: globset::Error,
    },
    /// A program that fixtures or test clients need is missing or failed.
    #[error("could not {doing}: {reason}")]
    Program {
        /// What was being done.
        doing: String,
        /// What went wrong and what to install.
        reason: String,
    },
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }
}
