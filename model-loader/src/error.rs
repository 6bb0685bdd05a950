//! Why a download failed: one word for machines, one sentence for people.

use std::{io, path::Path};

use model_core::{reason::Reason, report::Failure};

/// Why a plan, a download or a check failed.
///
/// The message names the thing at fault and never holds a secret: URLs are written without user and query.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    reason: Reason,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of this reason.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), source: None }
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// A file operation that failed. No space and an exhausted quota are [`Reason::DiskFull`]; a file system that may not
    /// be written is [`Reason::VolumeNotWritable`].
    pub(crate) fn io(doing: &str, path: &Path, error: io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Reason::DiskFull,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Reason::VolumeNotWritable,
            _ => Reason::DownloadFailed,
        };
        Self::new(reason, format!("could not {doing} {}", path.display())).caused_by(error)
    }

    /// A background task that panicked.
    #[must_use]
    pub fn task(error: tokio::task::JoinError) -> Self {
        Self::panicked().caused_by(error)
    }

    /// A thread that panicked.
    pub(crate) fn panicked() -> Self {
        Self::new(Reason::DownloadFailed, "the loader has met a fault of its own")
    }

    /// The same error with a further remark at the end of its message.
    pub(crate) fn remark(mut self, remark: &str) -> Self {
        self.message = format!("{}; {remark}", self.message);
        self
    }

    /// The one word.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// What the process should exit with: 64 wrong use, 2 failed for good, 1 worth a retry.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.reason {
            Reason::WrongUse => 64,
            reason if reason.is_permanent() => 2,
            _ => 1,
        }
    }

    /// The failure as the controller reads it. Its message holds the causes too.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let mut message = self.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            // Many libraries repeat their cause in their own text.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = error.source();
        }
        Failure { reason: self.reason, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_what_a_retry_is_worth() {
        for (reason, code) in [
            (Reason::WrongUse, 64),
            (Reason::SourceNotFound, 2),
            (Reason::AccessDenied, 2),
            (Reason::GatedRepository, 2),
            (Reason::UnsafeFileName, 2),
            (Reason::ForbiddenAddress, 2),
            (Reason::ChecksumMismatch, 1),
            (Reason::DiskFull, 1),
            (Reason::VolumeNotWritable, 1),
            (Reason::Stalled, 1),
            (Reason::RateLimited, 1),
            (Reason::NetworkError, 1),
        ] {
            assert_eq!(Error::new(reason, "").exit_code(), code, "{reason}");
        }
    }

    #[test]
    fn file_errors_have_the_reason_that_helps() {
        for (kind, reason) in [
            (io::ErrorKind::StorageFull, Reason::DiskFull),
            (io::ErrorKind::QuotaExceeded, Reason::DiskFull),
            (io::ErrorKind::ReadOnlyFilesystem, Reason::VolumeNotWritable),
            (io::ErrorKind::PermissionDenied, Reason::VolumeNotWritable),
            (io::ErrorKind::InvalidData, Reason::DownloadFailed),
        ] {
            assert_eq!(Error::io("write", Path::new("/models/a"), kind.into()).reason(), reason, "{kind}");
        }
    }

    #[test]
    fn the_failure_names_the_cause_once() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let failure = Error::io("write", Path::new("/models/a"), full).failure();
        assert_eq!(failure.reason, Reason::DiskFull);
        assert_eq!(failure.message, "could not write /models/a: no storage space");
        let repeated = Error::new(Reason::NetworkError, "could not reach hub: refused").caused_by("refused").failure();
        assert_eq!(repeated.message, "could not reach hub: refused");
    }
}
