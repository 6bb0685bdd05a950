//! The addresses that the hub plays: each is an origin of its own, as in the real world.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which of the hub's servers got a request.
///
/// Each listens on a port of its own, so a client sees different origins and must not carry
/// credentials from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The Hugging Face API, small files, and the plain URLs `/files` and `/private`.
    Hub,
    /// Where large files are redirected to. It refuses every request that carries credentials.
    Cdn,
    /// The S3 endpoint, path style.
    S3,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hub => "hub",
            Self::Cdn => "cdn",
            Self::S3 => "s3",
        })
    }
}
