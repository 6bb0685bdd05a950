//! The rest of the cluster, played: what runs Jobs, binds claims, collects garbage, and the disks behind the claims.
//!
//! It moves in rounds, one for each look of the test, so nothing happens that nobody waits for. Whatever must never
//! happen is noted as it is seen: by a round, or by the write that a controller asks for.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::http::Method;
use futures::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use model_core::api::Model;
use model_core::labels::CONTENT_ID;
use model_core::names::job_name;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::mortal::{Witness, Write};
use super::past::{Past, has_ended};
use crate::plane::end_of_job;

/// One namespace of the played cluster.
#[derive(Clone)]
pub struct Cluster {
    models: Api<Model>,
    claims: Api<PersistentVolumeClaim>,
    jobs: Api<Job>,
    pods: Api<Pod>,
    past: Arc<Mutex<Past>>,
}

impl Cluster {
    pub fn new(client: &Client, namespace: &str) -> Self {
        Self {
            models: Api::namespaced(client.clone(), namespace),
            claims: Api::namespaced(client.clone(), namespace),
            jobs: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            past: Arc::default(),
        }
    }

    pub fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().expect("nobody panicked")
    }

    /// Notices each Job, also one that is gone before the next round.
    pub async fn watch_jobs(&self) {
        let changes = watcher(self.jobs.clone(), watcher::Config::default()).default_backoff().applied_objects();
        changes.for_each(async |job| job.map_or_else(drop, |job| self.past().notice(&job))).await;
    }

    /// Everybody in the cluster but the operator moves once.
    pub async fn round(&self) {
        // Who is owned is read before who owns it: an owner is older, so one that is missing is gone.
        let (pods, jobs, claims) = (all(&self.pods).await, all(&self.jobs).await, all(&self.claims).await);
        let models = all(&self.models).await;
        let uids = |metas: Vec<&ObjectMeta>| -> BTreeSet<String> {
            metas.into_iter().filter_map(|meta| meta.uid.clone()).collect()
        };
        let living_models = uids(models.iter().map(|model| &model.metadata).collect());
        let living_jobs = uids(jobs.iter().map(|job| &job.metadata).collect());
        let is_left = |meta: &ObjectMeta| {
            meta.owner_references.iter().flatten().any(|owner| match owner.kind.as_str() {
                "Model" => !living_models.contains(&owner.uid),
                "Job" => !living_jobs.contains(&owner.uid),
                _ => false,
            })
        };
        self.past().count(&jobs);
        for pod in pods.iter().filter(|pod| is_left(&pod.metadata)) {
            delete(&self.pods, pod).await;
        }
        for claim in &claims {
            if claim.metadata.deletion_timestamp.is_some() {
                free(&self.claims, claim).await;
            } else if is_left(&claim.metadata) {
                delete(&self.claims, claim).await;
            } else {
                self.bind(claim).await;
            }
        }
        let named: BTreeSet<_> = pods.iter().flat_map(contents_of).collect();
        for job in &jobs {
            let own: Vec<_> = pods.iter().filter(|pod| owns(job, pod)).collect();
            if job.metadata.deletion_timestamp.is_some() {
                // In the foreground: its pods first.
                for pod in &own {
                    delete(&self.pods, *pod).await;
                }
                free(&self.jobs, job).await;
            } else if is_left(&job.metadata) {
                delete(&self.jobs, job).await;
            } else if own.is_empty() && !has_ended(job) {
                let created = self.pods.create(&PostParams::default(), &pod_of(job)).await;
                created.map(drop).expect("a pod");
            } else if !has_ended(job) && !is_unnoticed(job, &models) {
                self.run(job, own[0], &named).await;
            }
        }
    }

    /// Provisioner, binder and expansion are one.
    async fn bind(&self, claim: &PersistentVolumeClaim) {
        let request = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref()?.get("storage"));
        let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("storage"));
        if capacity != request {
            let status =
                json!({ "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": { "storage": request } });
            patch_status(&self.claims, &claim.name_any(), &status).await;
        }
    }

    /// In one round a Job gets its pod, in the next both end.
    async fn run(&self, job: &Job, pod: &Pod, named: &BTreeSet<String>) {
        let comes = if job.name_any().starts_with("model-prune-") { self.past().pod_at_rename.take() } else { None };
        if let Some(pod) = comes {
            self.pods.create(&PostParams::default(), &pod).await.expect("the pod is accepted");
        }
        let Some(end) = self.past().ends(job, named) else { return };
        let container = &pod.spec.as_ref().expect("a spec").containers[0].name;
        let (condition, phase) = if end.code == 0 { ("Complete", "Succeeded") } else { ("Failed", "Failed") };
        let message = end.outcome.map(|outcome| outcome.to_termination_message());
        let ended = json!({ "terminated": { "exitCode": end.code, "message": message } });
        let status = json!({ "phase": phase, "containerStatuses": [{
            "name": container, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": ended,
        }] });
        patch_status(&self.pods, &pod.name_any(), &status).await;
        let status = end_of_job(&self.jobs.clone().into_client(), condition).await;
        patch_status(&self.jobs, &job.name_any(), &status).await;
    }
}

/// Whether no controller has recorded yet that this download runs. One that ends before that is told of by its end only, and
/// that is another history.
fn is_unnoticed(job: &Job, models: &[Model]) -> bool {
    let model = models.iter().find(|model| job.name_any() == job_name(&model.name_any()));
    let content = job.annotations().get(CONTENT_ID);
    model.is_some_and(|model| {
        let download = model.status.as_ref().and_then(|status| status.download.as_ref());
        download.is_none_or(|download| Some(&download.id) != content || download.started_at.is_none())
    })
}

impl Witness for Cluster {
    fn sent(&self, write: &Write) {
        let of_status = write.path.strip_prefix("models/").and_then(|path| path.strip_suffix("/status"));
        if let Some(model) = of_status.filter(|_| write.method == Method::PATCH) {
            self.past().status_is_written(model, &write.body["status"]);
        }
        if let Some(pod) = write.path.strip_prefix("pods/").filter(|_| write.method == Method::PATCH) {
            self.past().pod_is_let_go(pod);
        }
    }
}

async fn all<K: Clone + Debug + DeserializeOwned>(api: &Api<K>) -> Vec<K> {
    api.list(&ListParams::default()).await.expect("it can be listed").items
}

/// Deletes exactly this object. One that is gone is no harm.
async fn delete<K: Clone + Debug + DeserializeOwned + Resource>(api: &Api<K>, object: &K) {
    let now = DeleteParams::background().grace_period(0);
    let uid = kube::api::Preconditions { uid: object.uid(), resource_version: None };
    api.delete(&object.name_any(), &DeleteParams { preconditions: Some(uid), ..now }).await.ok();
}

/// Takes the finalizers off: nothing holds it any more.
async fn free<K: Clone + Debug + DeserializeOwned + Resource>(api: &Api<K>, object: &K) {
    let free = json!({ "metadata": { "uid": object.uid(), "finalizers": null } });
    api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&free)).await.ok();
}

/// An object may go while its status is on the way.
async fn patch_status<K: Clone + Debug + DeserializeOwned>(api: &Api<K>, name: &str, status: &Value) {
    let patch = Patch::Merge(json!({ "status": status }));
    match api.patch_status(name, &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        patched => drop(patched.expect("the status is accepted")),
    }
}

fn pod_of(job: &Job) -> Pod {
    let template = job.spec.as_ref().expect("a spec").template.clone();
    let owner = json!([{ "apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "uid": job.uid(), "controller": true }]);
    let metadata = ObjectMeta {
        name: Some(format!("{}-{}", job.name_any(), &job.uid().expect("a UID")[..8])),
        owner_references: serde_json::from_value(owner).expect("an owner"),
        ..template.metadata.unwrap_or_default()
    };
    Pod { metadata, spec: template.spec, status: None }
}

fn owns(job: &Job, pod: &Pod) -> bool {
    pod.owner_references().iter().any(|owner| Some(&owner.uid) == job.metadata.uid.as_ref())
}

/// The contents that a pod of a user mounts.
fn contents_of(pod: &Pod) -> Vec<String> {
    let mounts = pod.spec.iter().flat_map(|spec| &spec.containers).flat_map(|one| one.volume_mounts.iter().flatten());
    mounts.filter_map(|mount| Some(mount.sub_path.as_deref()?.rsplit_once("revisions/")?.1.to_owned())).collect()
}
