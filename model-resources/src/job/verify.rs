//! The Job that reads published content again.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Volume};
use model_core::api::Content;
use model_core::labels::{CLAIM_UID, CONTENT_ID, VERIFY};
use model_core::names::verify_job_name;
use model_core::persisted::{Downloader, Persisted};

use super::{DownloadSettings, VOLUME, job, loader};

/// Builds the Job that compares every file of `content`, on the claim with the UID `claim_uid`, with what was published.
///
/// Its pod runs where the download's would. It mounts the content's own directory and cannot write to it, so that it counts
/// as one of its users; it has no credentials, and asks nobody for anything. Its termination message is an
/// [`Outcome::Verified`](model_core::report::Outcome::Verified); its log holds progress lines and then a
/// [`CheckedFile`](model_core::report::CheckedFile) for each file.
///
/// `None` with stock images: they record nothing that files could be compared with.
#[must_use]
pub fn verify_job(
    model: &Persisted,
    settings: &DownloadSettings,
    claim_uid: &str,
    request: &str,
    content: &Content,
) -> Option<Job> {
    let Downloader::Loader { image } = &settings.downloader else { return None };
    let mut mode = loader::verify(image, &content.path);
    let claim = PersistentVolumeClaimVolumeSource { claim_name: model.claim_name(), read_only: Some(true) };
    let volume = Volume { name: VOLUME.to_owned(), persistent_volume_claim: Some(claim), ..Volume::default() };
    mode.volumes.insert(0, volume);
    let marks = [(CLAIM_UID, claim_uid), (CONTENT_ID, content.id.as_str()), (VERIFY, request)];
    Some(job(model, settings, verify_job_name(model.name), &marks, mode))
}
