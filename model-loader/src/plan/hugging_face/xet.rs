//! Files in Xet storage, through the hub's own crates.
//!
//! These crates hold in memory whatever they are asked for at once, and compare no byte with any digest. So they are asked
//! for one short range after the other, a few at once, and their bytes are verified as all others are.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use model_core::reason::Reason;
use serde::Deserialize;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use xet::{
    XetError,
    xet_session::{XetConfig, XetDownloadStream, XetDownloadStreamGroup, XetFileInfo, XetSessionBuilder},
};

use super::{Hub, PlannedFile};
use crate::{
    Error,
    http::{Http, Trouble},
    name::FileName,
};

/// Ranges that are asked for at once, over all files.
const RANGES: usize = 4;
/// Bytes of a range. The crates hold it in memory as a whole, packed and unpacked: more of them, or larger ones, would be
/// faster where latency counts, and would not stay below 64 MiB.
const RANGE: u64 = 4 << 20;

/// Which files of a commit lie in Xet storage, and the way there.
pub(super) struct Storage {
    hashes: Mutex<BTreeMap<FileName, String>>,
    group: OnceCell<XetDownloadStreamGroup>,
    slots: Arc<Semaphore>,
}

impl Default for Storage {
    fn default() -> Self {
        Self { hashes: Mutex::default(), group: OnceCell::new(), slots: Arc::new(Semaphore::new(RANGES)) }
    }
}

impl Storage {
    /// Keeps what the listing says about a file.
    pub(super) fn note(&self, file: &PlannedFile, hash: Option<String>) {
        if let Some(hash) = hash {
            self.hashes.lock().unwrap_or_else(PoisonError::into_inner).insert(file.path.clone(), hash);
        }
    }

    fn info(&self, file: &PlannedFile) -> Option<XetFileInfo> {
        let hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        Some(XetFileInfo::new(hashes.get(&file.path)?.clone(), file.size?))
    }
}

/// Opens the storage for reading.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadToken {
    cas_url: String,
    access_token: String,
    /// When the token ends, in seconds since 1970.
    exp: u64,
}

/// A range of a file, in order.
pub(crate) struct Pieces {
    stream: XetDownloadStream,
    _slot: OwnedSemaphorePermit,
}

impl Pieces {
    /// The next bytes, `None` at the end of the range.
    pub(crate) async fn next(&mut self, what: &str) -> Result<Option<Bytes>, Trouble> {
        self.stream.next().await.map_err(|error| broken(error, what))
    }
}

impl Hub {
    /// Begins to fetch a part of a file, or as much of its beginning as may be held in memory, where the listing said that
    /// it lies in Xet storage.
    pub(in crate::plan) async fn xet(
        &self,
        http: &Http,
        dir: &Path,
        file: &PlannedFile,
        part: Range<u64>,
    ) -> Result<Option<Pieces>, Trouble> {
        let (what, Some(info)) = (file.path.as_str(), self.storage.info(file)) else { return Ok(None) };
        let closed =
            |_| Trouble::lasting(Error::new(Reason::DownloadFailed, format!("{what}: the download has ended")));
        let slot = self.storage.slots.clone().acquire_owned().await.map_err(closed)?;
        let group = self.storage.group.get_or_try_init(|| self.open(http, dir)).await?;
        let range = part.start..part.end.min(part.start + RANGE);
        let stream = group.download_stream(info, Some(range)).await.map_err(|error| broken(error, what))?;
        Ok(Some(Pieces { stream, _slot: slot }))
    }

    /// Gets a token from the hub, and sets up the crates for it.
    async fn open(&self, http: &Http, dir: &Path) -> Result<XetDownloadStreamGroup, Trouble> {
        let what = format!("Xet storage of hf://{}@{}", self.repo, self.commit);
        let url = self.url(&["api", "models"], &["xet-read-token", &self.commit]);
        let (token, _): (ReadToken, _) = self.json(http, &url, &what).await.map_err(Trouble::lasting)?;
        let mut headers = HeaderMap::new();
        if let Some(own) = &self.token {
            let mut value = HeaderValue::try_from(format!("Bearer {own}")).map_err(|error| {
                let message = "the hub's token is no text that a header can carry";
                Trouble::lasting(Error::new(Reason::WrongUse, message).caused_by(error))
            })?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        // Already installed is as good: the crates take whatever is there, and have none of their own.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // The crates trust the system's authorities and no others, and panic where there are none.
        reqwest::Client::builder().build().map_err(|error| {
            let message =
                format!("{what}: the system has no certificate authorities: name a file of them in SSL_CERT_FILE");
            Trouble::lasting(Error::new(Reason::WrongUse, message).caused_by(error))
        })?;
        let mut config = XetConfig::default();
        config.telemetry.enabled = false;
        config.client.read_timeout = http.stall_timeout();
        // Tries are counted by whoever fetches the part.
        config.client.retry_max_attempts = 1;
        // As many as there are ranges: the crates would begin with fewer and feel their way.
        config.client.enable_adaptive_concurrency = false;
        config.client.ac_initial_download_concurrency = RANGES;
        config.client.ac_max_download_concurrency = RANGES;
        let session = XetSessionBuilder::new_with_config(config).with_cache_dir(dir).build();
        let group = async {
            let group = session?.new_download_stream_group()?.with_endpoint(token.cas_url);
            group.with_token_info(token.access_token, token.exp).with_token_refresh_url(url, headers).build().await
        };
        group.await.map_err(|error| broken(error, &what))
    }
}

/// What the crates say went wrong. They tell little apart: nearly all of it may pass.
fn broken(error: XetError, what: &str) -> Trouble {
    let (reason, message) = match &error {
        XetError::Authentication(_) => (Reason::AccessDenied, "Xet storage refuses the token"),
        XetError::NotFound(_) => (Reason::SourceInvalid, "Xet storage does not have all of it"),
        XetError::Timeout(_) => (Reason::Stalled, "no answer from Xet storage"),
        _ => (Reason::NetworkError, "could not get it from Xet storage"),
    };
    Trouble::passing(Error::new(reason, format!("{what}: {message}")).caused_by(error))
}
