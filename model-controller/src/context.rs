//! What every pass shares.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Client;
use model_resources::DownloadSettings;

use crate::backoff::Backoff;
use crate::cache::Cache;
use crate::downloads::{Downloads, Jobs};
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::own_writes::OwnWrites;
use crate::pods::Pods;
use crate::progress::ProgressLines;
use crate::writers::Writers;

/// Client, caches and settings.
pub(crate) struct Context {
    pub client: Client,
    pub settings: DownloadSettings,
    pub claims: Cache<PersistentVolumeClaim>,
    /// Claims that the operator did not make.
    pub shared_claims: Cache<PersistentVolumeClaim>,
    pub jobs: Jobs,
    pub pods: Pods,
    pub progress: ProgressLines,
    pub writers: Writers,
    pub downloads: Downloads,
    pub backoff: Backoff,
    pub own_writes: OwnWrites,
    pub leadership: Leadership,
    pub metrics: Metrics,
}
