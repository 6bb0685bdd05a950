//! Starts a failed download again.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Preconditions, PropagationPolicy};
use model_core::names::job_name;

use crate::cluster::Cluster;
use crate::error::Error;
use crate::progress::{is_given_up, status_line};
use crate::text::say;

/// Deletes the Job that failed, which the operator takes as the wish to retry. Where Kubernetes has removed it already,
/// asks for a new download in the other way that there is.
pub(super) async fn retry(cluster: &Cluster, name: &str) -> Result<bool, Error> {
    let doing = format!("retry Model {name}");
    let model = cluster.model(name).await?;
    let jobs = cluster.api::<Job>();
    let job = jobs.get_opt(&job_name(name)).await.map_err(|error| cluster.error(&doing, error))?;
    let Some(job) = job else {
        if !is_given_up(&model, Timestamp::now()) {
            return nothing_to_do(&status_line(&model));
        }
        say(&format!("Job {} is gone already, so that deleting it cannot start the download again", job_name(name)))?;
        return super::refresh(cluster, name).await;
    };
    let ours = job
        .owner_references()
        .iter()
        .any(|owner| owner.controller == Some(true) && Some(&owner.uid) == model.metadata.uid.as_ref());
    if !ours {
        let what = format!("Job {} does not belong to this Model", job.name_any());
        return Err(Error::cluster(&doing, what, "rename or remove that Job, or give the Model another name"));
    }
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let failed = conditions.into_iter().any(|condition| condition.type_ == "Failed" && condition.status == "True");
    if !failed {
        return nothing_to_do(&status_line(&model));
    }
    let params = DeleteParams {
        // Another Job of this name would be a retry already.
        preconditions: Some(Preconditions { uid: job.uid(), resource_version: None }),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    match jobs.delete(&job.name_any(), &params).await {
        Ok(_) => {
            say(&format!(
                "deleted the failed Job {}: the operator starts the download again. Follow it: kubectl model status {name} --watch",
                job.name_any()
            ))?;
            Ok(true)
        }
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
            nothing_to_do(&format!("somebody else was faster: Job {} is gone", job.name_any()))
        }
        Err(error) => Err(cluster.error(&doing, error)),
    }
}

fn nothing_to_do(because: &str) -> Result<bool, Error> {
    say(&format!("nothing to retry: {because}"))?;
    Ok(true)
}
