//! The Job that asks a source what there is, before any of it is downloaded.

use k8s_openapi::api::batch::v1::Job;
use model_core::decide::CHECK_SECONDS;
use model_core::labels;
use model_core::names::plan_job_name;
use model_core::persisted::{Downloader, Persisted};

use super::{DownloadSettings, job, loader};

/// Builds the Job that finds size, revision and files of the wanted content, and whether the source lets us have them.
///
/// It needs no claim and writes nothing. Its pod runs where the download's would, with the same credentials; its
/// termination message is an [`Outcome::Planned`](model_core::report::Outcome::Planned), its log lists the files.
///
/// `None` with stock images: they cannot do this.
#[must_use]
pub fn plan_job(model: &Persisted, settings: &DownloadSettings) -> Option<Job> {
    let Downloader::Loader { image } = &settings.downloader else { return None };
    Some(job(model, settings, plan_job_name(model.name), &[], loader::plan(model, image, settings)))
}

/// Builds the Job that asks whether there is newer content than what lies on the claim with the UID `claim_uid`.
///
/// It is the [`plan_job`] with that claim's UID as an annotation, though it mounts none, and with an end: nobody waits for
/// it, and it holds a place that others could have.
///
/// `None` with stock images: they cannot do this.
#[must_use]
pub fn check_job(model: &Persisted, settings: &DownloadSettings, claim_uid: &str) -> Option<Job> {
    let Downloader::Loader { image } = &settings.downloader else { return None };
    let mode = loader::plan(model, image, settings);
    let mut job = job(model, settings, plan_job_name(model.name), &[(labels::CLAIM_UID, claim_uid)], mode);
    if let Some(spec) = &mut job.spec {
        let own = spec.active_deadline_seconds.unwrap_or(CHECK_SECONDS);
        spec.active_deadline_seconds = Some(own.min(CHECK_SECONDS));
    }
    Some(job)
}
