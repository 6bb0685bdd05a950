//! Why a command could not be carried out.

use std::process::ExitCode;

/// What went wrong and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for what cannot be.
    #[error("{what}")]
    WrongUse {
        /// The argument at fault, and what is wrong with it.
        what: String,
        /// What to write instead.
        advice: String,
    },
    /// The cluster, the way to it, or an object in it is not as the command needs it.
    #[error("could not {doing}: {what}")]
    Cluster {
        /// What was being done.
        doing: String,
        /// The thing at fault.
        what: String,
        /// What to do about it.
        advice: String,
    },
    /// Standard output does not take what is said.
    #[error("could not write to standard output: {0}")]
    Output(#[from] std::io::Error),
}

impl Error {
    pub(crate) fn wrong_use(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::WrongUse { what: what.into(), advice: advice.into() }
    }

    pub(crate) fn cluster(doing: &str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Cluster { doing: doing.to_owned(), what: what.into(), advice: advice.into() }
    }

    /// What the user can do.
    #[must_use]
    pub fn advice(&self) -> &str {
        match self {
            Self::WrongUse { advice, .. } | Self::Cluster { advice, .. } => advice,
            Self::Output(_) => "check where the output goes: the disk may be full",
        }
    }

    /// 2 for wrong use, else 1.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::WrongUse { .. } => ExitCode::from(2),
            Self::Cluster { .. } | Self::Output(_) => ExitCode::FAILURE,
        }
    }
}
