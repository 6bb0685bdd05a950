//! The Job that takes earlier content off the claim.

use k8s_openapi::api::batch::v1::Job;
use model_core::labels::{CLAIM_UID, PRUNE};
use model_core::names::prune_job_name;
use model_core::observed::PruneStep;
use model_core::persisted::{Downloader, Persisted};

use super::{DownloadSettings, claim_volume, job, loader, on_claim};

/// How long a Job may take that only renames, its pod's way to a node included: a download may wait for it.
const RENAMES_SECONDS: i64 = 600;

/// How long a Job may take that deletes. What it deleted stays deleted, and the next one goes on.
const DELETES_SECONDS: i64 = 3600;

/// Builds the Job that does one step of pruning on the claim with the UID `claim_uid`.
///
/// Its pod runs where the download's would. It has no credentials, and asks nobody for anything.
///
/// `None` with stock images: their files lie at the claim's root, so there is no earlier content.
#[must_use]
pub fn prune_job(model: &Persisted, settings: &DownloadSettings, claim_uid: &str, step: &PruneStep) -> Option<Job> {
    let Downloader::Loader { image } = &settings.downloader else { return None };
    let content = model.content_path(&settings.downloader);
    let (revisions, _) = content.rsplit_once('/')?;
    let mut mode = loader::prune(image, arguments(&on_claim(revisions), step));
    mode.volumes.insert(0, claim_volume(model));
    let json = serde_json::to_string(step).unwrap_or_default();
    let mut job = job(model, settings, prune_job_name(model.name), &[(CLAIM_UID, claim_uid), (PRUNE, &json)], mode);
    if let Some(spec) = &mut job.spec {
        // What the Model gives is for its download.
        spec.active_deadline_seconds = Some(deadline(step));
    }
    Some(job)
}

const fn deadline(step: &PruneStep) -> i64 {
    match step {
        PruneStep::Finish { delete, .. } if !delete.is_empty() => DELETES_SECONDS,
        PruneStep::Finish { .. } | PruneStep::SetAside(_) => RENAMES_SECONDS,
    }
}

fn arguments(dir: &str, step: &PruneStep) -> Vec<String> {
    let mut arguments = vec!["prune".to_owned(), format!("--dir={dir}")];
    let mut add = |flag: &str, ids: &[String]| arguments.extend(ids.iter().map(|id| format!("--{flag}={id}")));
    match step {
        PruneStep::SetAside(ids) => add("set-aside", ids),
        PruneStep::Finish { put_back, delete } => {
            add("put-back", put_back);
            add("delete", delete);
        }
    }
    arguments
}
