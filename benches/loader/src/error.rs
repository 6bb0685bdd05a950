//! What can go wrong with the bench itself; a client that fails is a result.

use std::io;
use std::path::Path;

/// Why the bench cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something.
    #[error("could not {doing}")]
    System { doing: String, source: io::Error },
    /// The machine or the command line has not what it takes. Says what to do.
    #[error("{0}")]
    Unfit(String),
}

impl Error {
    /// For `map_err`: what was being done to which file or folder.
    pub fn at(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { doing: format!("{doing} {}", path.display()), source }
    }

    /// For `map_err`: what was being done.
    pub fn doing(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { doing: doing.into(), source }
    }
}
