//! An error as one line.

use std::error::Error;

/// The error and everything that caused it, each cause once: an error may repeat its own.
///
/// The client's errors name their nearest cause only, and why an API server cannot be reached lies deeper.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes
        .map(ToString::to_string)
        .fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Told(&'static str, #[source] Option<Box<Told>>);

    #[test]
    fn each_cause_is_told_once() {
        let refused = Told("connection refused", None);
        let connect = Told("client error (Connect)", Some(Box::new(refused)));
        let error = Told("could not list: client error (Connect)", Some(Box::new(connect)));
        assert_eq!(with_causes(&error), "could not list: client error (Connect): connection refused");
    }
}
