//! The certificate that the API server sees: read from a directory, and again whenever the files change.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use jiff::Timestamp;
use model_watch::with_causes;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::certificates::{CERTIFICATE_FILE, KEY_FILE};
use crate::expiry::not_after;
use crate::metrics::Metrics;

/// Why the certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file is missing or cannot be read.
    #[error("could not read {}: mount a certificate there, or make one with `model-webhook certificates`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The files are no certificate and the key that belongs to it.
    #[error("could not use {CERTIFICATE_FILE} and {KEY_FILE} in {}", directory.display())]
    Use {
        /// Where they are.
        directory: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
}

/// The two files, as read.
#[derive(PartialEq, Eq)]
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    async fn read(directory: &Path) -> Result<Self, Error> {
        let file = async |name| {
            let path = directory.join(name);
            tokio::fs::read(&path).await.map_err(|source| Error::Read { path, source })
        };
        Ok(Self { certificate: file(CERTIFICATE_FILE).await?, key: file(KEY_FILE).await? })
    }

    /// When the certificate itself ends: the first of the file, before those of authorities.
    fn ends(&self) -> Option<Timestamp> {
        not_after(&CertificateDer::from_pem_slice(&self.certificate).ok()?)
    }
}

/// A certificate that follows the files of a directory.
pub struct Certificate {
    directory: PathBuf,
    config: RustlsConfig,
    /// What was read last, good or bad, so that a bad pair is logged once.
    seen: Option<Pair>,
    /// When the one in use ends.
    ends: Option<Timestamp>,
}

impl Certificate {
    /// Reads `tls.crt` and `tls.key` in `directory`. A process-wide crypto provider of rustls must be installed.
    ///
    /// # Errors
    /// When the files cannot be read or do not belong together.
    pub async fn load(directory: &Path) -> Result<Self, Error> {
        let pair = Pair::read(directory).await?;
        let config = RustlsConfig::from_pem(pair.certificate.clone(), pair.key.clone())
            .await
            .map_err(|source| Error::Use { directory: directory.to_owned(), source })?;
        let ends = pair.ends();
        Ok(Self { directory: directory.to_owned(), config, seen: Some(pair), ends })
    }

    /// What a server is started with. New connections see each reload.
    #[must_use]
    pub fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// Looks at the files every so often, for ever. What cannot be used is logged, and the certificate in use stays.
    ///
    /// The files are compared by content: mounted Secrets change by symbolic links, which file events often miss.
    pub async fn follow(self, every: Duration) {
        self.follow_and_count(every, &Metrics::default()).await;
    }

    /// The same, and tells when the certificate in use ends.
    pub(crate) async fn follow_and_count(mut self, every: Duration, metrics: &Metrics) {
        let mut ticks = tokio::time::interval(every);
        loop {
            if let Some(ends) = self.ends {
                metrics.certificate_ends(ends);
            }
            ticks.tick().await;
            match Pair::read(&self.directory).await {
                Ok(pair) if self.seen.as_ref() == Some(&pair) => {}
                Ok(pair) => {
                    match self.config.reload_from_pem(pair.certificate.clone(), pair.key.clone()).await {
                        Ok(()) => {
                            self.ends = pair.ends();
                            tracing::info!(directory = %self.directory.display(), "loaded a new certificate");
                        }
                        Err(error) => self.complain(&error),
                    }
                    self.seen = Some(pair);
                }
                Err(error) => {
                    if self.seen.take().is_some() {
                        self.complain(&error);
                    }
                }
            }
        }
    }

    fn complain(&self, error: &(dyn std::error::Error + 'static)) {
        let (directory, error) = (self.directory.display(), with_causes(error));
        tracing::error!(%directory, error, "could not use the new certificate; keeping the old one");
    }
}
