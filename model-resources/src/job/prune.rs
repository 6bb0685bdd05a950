//! The Job that takes earlier content off the claim.

use k8s_openapi::api::batch::v1::Job;
use model_core::labels::{CLAIM_UID, PRUNE};
use model_core::names::prune_job_name;
use model_core::observed::PruneStep;
use model_core::persisted::{Downloader, Persisted};

use super::{DownloadSettings, claim_volume, job, loader, on_claim};

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
    let step = serde_json::to_string(step).unwrap_or_default();
    Some(job(model, settings, prune_job_name(model.name), &[(CLAIM_UID, claim_uid), (PRUNE, &step)], mode))
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
