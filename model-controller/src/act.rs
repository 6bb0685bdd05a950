//! The writes: children first, status last.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Client, Resource, ResourceExt};
use model_core::api::{Model, ModelStatus};
use model_core::decide::{Decision, Write};
use model_core::labels::FIELD_MANAGER;
use model_core::names::{job_name, plan_job_name, prune_job_name, verify_job_name};
use model_core::observed::Placement;
use model_core::persisted::Persisted;
use model_resources::{check_job, download_job, placed, plan_job, prune_job, verify_job};
use serde::Serialize;
use serde_json::json;

use crate::context::Context;
use crate::error::Error;
use crate::send;

/// A write that was not made. Those before it were.
#[derive(Debug)]
pub(crate) struct Unwritten {
    pub write: Write,
    pub error: Error,
}

/// Applies the writes of a decision, in order. `claim` is the one that is there already, `placement` where a Job can mount
/// it.
///
/// Children are created, not applied: an apply would merge into an object of our name that somebody else made
/// meanwhile.
pub(crate) async fn write_children(
    context: &Context,
    model: &Persisted<'_>,
    decision: &Decision,
    claim: Option<&PersistentVolumeClaim>,
    placement: &Placement,
) -> Result<(), Box<Unwritten>> {
    let mut claim_uid = claim.and_then(ResourceExt::uid);
    for write in &decision.writes {
        let made = make(context, model, write, claim, placement, &mut claim_uid).await;
        made.map_err(|error| Box::new(Unwritten { write: write.clone(), error }))?;
    }
    Ok(())
}

/// Makes one write. `claim_uid` is that of the claim as it is after the writes before.
async fn make(
    context: &Context,
    model: &Persisted<'_>,
    write: &Write,
    claim: Option<&PersistentVolumeClaim>,
    placement: &Placement,
    claim_uid: &mut Option<String>,
) -> Result<(), Error> {
    let uid_of_claim = |doing| claim_uid.as_deref().ok_or(Error::Raced { doing });
    match write {
        Write::CreateClaim { size } => {
            let uid = create(context, "create the claim", &model_resources::claim(model, size)).await?;
            context.own_writes.created_claim(model, &uid);
            *claim_uid = Some(uid);
        }
        Write::CreateJob => {
            let doing = "create the download Job";
            let job = placed(download_job(model, &context.settings, uid_of_claim(doing)?), placement);
            let uid = create(context, doing, &job).await?;
            context.own_writes.created_job(model, &uid);
        }
        Write::DeleteJob { uid } => {
            delete_job(&context.client, model, &job_name(model.name), uid, PropagationPolicy::Background).await?;
        }
        Write::SetClaimOwner { owned } => {
            let doing = "change the owner of the claim";
            let claim = claim.ok_or(Error::Raced { doing })?;
            let mut owners = claim.owner_references().to_vec();
            owners.retain(|owner| owner.uid != model.uid);
            owners.extend(owned.then(|| model.owner_reference()));
            let change = json!({ "metadata": { "ownerReferences": owners } });
            patch_claim(context, claim, doing, change).await?;
            // Its resource version has changed: the next pass goes on.
            return Err(Error::Raced { doing });
        }
        Write::GrowClaim { size } => {
            let doing = "let the claim grow";
            let claim = claim.ok_or(Error::Raced { doing })?;
            let change = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
            patch_claim(context, claim, doing, change).await?;
        }
        Write::CreatePruneJob(step) => {
            let doing = "create the Job that removes earlier content";
            if let Some(job) = prune_job(model, &context.settings, uid_of_claim(doing)?, step) {
                create(context, doing, &placed(job, placement)).await?;
            }
        }
        Write::DeletePruneJob { uid, and_wait } => {
            // In the foreground a Job stays until its pods are gone.
            let policy = if *and_wait { PropagationPolicy::Foreground } else { PropagationPolicy::Background };
            delete_job(&context.client, model, &prune_job_name(model.name), uid, policy).await?;
        }
        Write::CreateVerifyJob { request, content } => {
            let doing = "create the Job that reads the content again";
            if let Some(job) = verify_job(model, &context.settings, uid_of_claim(doing)?, request, content) {
                create(context, doing, &placed(job, placement)).await?;
            }
        }
        Write::DeleteVerifyJob { uid } => {
            let name = verify_job_name(model.name);
            delete_job(&context.client, model, &name, uid, PropagationPolicy::Background).await?;
        }
        Write::CreatePlanJob => {
            // Without a loader there is nothing to ask with, and nothing is decided that asks.
            if let Some(job) = plan_job(model, &context.settings) {
                create(context, "create the plan Job", &job).await?;
            }
        }
        Write::CreateCheckJob => {
            let doing = "create the Job that asks for newer content";
            if let Some(job) = check_job(model, &context.settings, uid_of_claim(doing)?) {
                create(context, doing, &job).await?;
            }
        }
        Write::DeletePlanJob { uid } => {
            let name = plan_job_name(model.name);
            delete_job(&context.client, model, &name, uid, PropagationPolicy::Background).await?;
        }
    }
    Ok(())
}

/// Changes the claim that was looked at, and no other of its name.
async fn patch_claim(
    context: &Context,
    claim: &PersistentVolumeClaim,
    doing: &'static str,
    mut change: serde_json::Value,
) -> Result<(), Error> {
    change["metadata"]["uid"] = json!(claim.uid());
    change["metadata"]["resourceVersion"] = json!(claim.resource_version());
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(context.client.clone(), &claim.namespace().unwrap_or_default());
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patched = claims.patch(&claim.name_any(), &params, &Patch::Merge(&change)).await;
    patched.map(drop).map_err(|error| Error::api(doing, error))
}

/// Gives the UID of the new object.
async fn create<K>(context: &Context, doing: &'static str, object: &K) -> Result<String, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize,
{
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let created = send::create(&context.client, &params, object).await;
    created.and_then(|object| object.uid()).map_err(|error| Error::api(doing, error))
}

/// Deletes the Job of this name and UID. One that is gone is left alone. A conflict may mean that another one has its name,
/// or nothing at all: the next look tells.
async fn delete_job(
    client: &Client,
    model: &Persisted<'_>,
    name: &str,
    uid: &str,
    policy: PropagationPolicy,
) -> Result<(), Error> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), model.namespace);
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        propagation_policy: Some(policy),
        ..DeleteParams::default()
    };
    match jobs.delete(name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(Error::api("delete a Job that is of no more use", error)),
    }
}

/// A status to apply. Written as it is, without a tree of values.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusPatch<'a> {
    api_version: Cow<'static, str>,
    kind: Cow<'static, str>,
    metadata: OfVersion<'a>,
    status: &'a ModelStatus,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OfVersion<'a> {
    name: Option<&'a str>,
    resource_version: Option<&'a str>,
}

/// Records the status of the Model that was read with this resource version, and of no newer one.
pub(crate) async fn write_status(client: &Client, model: &Model, status: &ModelStatus) -> Result<(), Error> {
    let patch = StatusPatch {
        api_version: Model::api_version(&()),
        kind: Model::kind(&()),
        metadata: OfVersion {
            name: model.metadata.name.as_deref(),
            resource_version: model.metadata.resource_version.as_deref(),
        },
        status,
    };
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match send::patch_status(client, model, &params, &Patch::Apply(&patch)).await {
        Ok(()) => Ok(()),
        // Deleted meanwhile: nobody is left to read it.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(Error::api("record the status", error)),
    }
}
