//! An error as one line.

use std::error::Error;

/// The error and everything that caused it, for a log line or a plain answer.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
