//! The whole way: plan, fetch, publish.

use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use model_core::report::Published;

use crate::{
    Access, Error, RetryPolicy, Source,
    digest::{Algorithm, Hasher},
    fetch::{self, Fetch},
    http::Http,
    manifest::Manifest,
    plan::{self, Plan, Wanted},
    progress::{Meter, Step},
    publish::{self, Place, Staging},
};

/// Enough to tell requests apart, too few to guess a secret from.
const FINGERPRINT_DIGITS: usize = 16;

/// How sources are talked to.
#[derive(Clone, Debug)]
pub struct Network {
    /// Endpoints and credentials.
    pub access: Access,
    /// Longest time without a byte before a connection is given up.
    pub stall_timeout: Duration,
    /// How often a request is tried.
    pub retry: RetryPolicy,
    /// Bytes that may be held in memory for all connections together. Bounds their number: 32 MiB are 32 connections for
    /// large files and 192 for small ones.
    pub buffers: u64,
}

/// Enough for 32 connections for large files and 192 for small ones.
const BUFFERS: u64 = 32 << 20;

impl Default for Network {
    /// No credentials, 20 seconds without a byte, five tries, 32 MiB of buffers.
    fn default() -> Self {
        let (access, retry) = (Access::default(), RetryPolicy::default());
        Self { access, stall_timeout: Duration::from_secs(20), retry, buffers: BUFFERS }
    }
}

impl Network {
    fn http(&self) -> Result<Http, Error> {
        Http::new(&self.access, self.stall_timeout, self.retry)
    }
}

/// Says what [`pull`] would download. Writes nothing.
///
/// # Errors
/// The source cannot be reached, refuses, has no wanted file, or has one with an unsafe name.
pub async fn plan(wanted: &Wanted, network: &Network) -> Result<Plan, Error> {
    Ok(plan::plan(wanted, &network.access, &network.http()?).await?.0)
}

/// Downloads what is wanted into the directory `to`, which may be absent or empty.
///
/// After success `to` holds the files under their own names, read-only, and `.model-loader/manifest.json`; before, none
/// of them is visible in it, except in a directory that cannot be replaced by a rename (a mount point): there the
/// manifest comes last and is the mark of completeness. A second call for the same ends at once, without asking the
/// source. Dropping the future at any point, or killing the process, is safe: the next call takes up complete files.
///
/// `meter` tells others how far it is.
///
/// # Errors
/// Nothing was published. [`Error::reason`] says why.
pub async fn pull(wanted: &Wanted, to: &Path, network: &Network, meter: &Meter) -> Result<Published, Error> {
    let started_at = Timestamp::now();
    let request = fingerprint(wanted, &network.access);
    let place = Place::find(to)?;
    if let Some(manifest) = publish::published(&place.dir, &request)? {
        tracing::info!(dir = %place.dir.display(), "is published already");
        publish::tidy(&place);
        return Ok(Published { others: place.others(), ..already(&manifest, meter) });
    }
    place.check_empty()?;
    meter.enter(Step::Plan);
    let http = network.http()?;
    let (plan, remote) = plan::plan(wanted, &network.access, &http).await?;
    let (files, bytes, revision) = (plan.files.len(), plan.bytes(), plan.resolved_revision.as_deref());
    tracing::info!(source = %plan.source, revision, files, bytes, "planned");
    let (dir, others) = (place.dir.clone(), place.others());
    let Some(staging) = Staging::open(place).await? else {
        // Another loader was faster; if it brought something else, this says so.
        return publish::published(&dir, &request)?.map(|manifest| already(&manifest, meter)).ok_or_else(|| lost(&dir));
    };
    meter.enter(Step::Fetch);
    let with = Arc::new(Fetch::new(http, remote, staging, meter.clone(), network.buffers));
    let records = fetch::fetch(&plan, &with).await?;
    meter.enter(Step::Publish);
    let manifest = Manifest::new(plan.source, request, (plan.resolved_revision, plan.listing), records, started_at);
    let published = Published { others, ..manifest.published() };
    tokio::task::spawn_blocking(move || with.publish(&manifest)).await.map_err(Error::task)??;
    meter.enter(Step::Done);
    tracing::info!(dir = %dir.display(), files = published.files, bytes = published.bytes, unverified = published.unverified_files, "published");
    Ok(published)
}

/// The summary of what was published before, with the meter at its end.
fn already(manifest: &Manifest, meter: &Meter) -> Published {
    meter.expect(Some(manifest.bytes), manifest.files.len() as u64);
    meter.add_bytes(manifest.bytes);
    manifest.files.iter().for_each(|_| meter.add_file());
    manifest.published()
}

fn lost(dir: &Path) -> Error {
    let message = format!("another loader published to {} and its manifest is not readable", dir.display());
    Error::new(model_core::reason::Reason::DownloadFailed, message)
}

/// Tells one request from another. What is published keeps this and not the query of a URL, which may be secret.
fn fingerprint(wanted: &Wanted, access: &Access) -> String {
    let source = match &wanted.source {
        Source::Url(url) => url.to_string(),
        Source::HuggingFace { .. } => format!("{} {}", access.hf_endpoint, wanted.source),
        Source::Ollama { registry: None, .. } => format!("{} {}", access.ollama_registry, wanted.source),
        source @ (Source::S3 { .. } | Source::Ollama { .. } | Source::Oci { .. }) => source.to_string(),
    };
    let sha256 = wanted.sha256.as_ref().map(ToString::to_string);
    let all = serde_json::json!([source, wanted.include, wanted.exclude, sha256]).to_string();
    let mut hasher = Hasher::new(Algorithm::Sha256, 0);
    hasher.update(all.as_bytes());
    let digest = hasher.finish().to_string();
    digest.trim_start_matches("sha256:").chars().take(FINGERPRINT_DIGITS).collect()
}
