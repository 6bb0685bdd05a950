//! The prune Job as a value, and which pods still name what it would take away.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, VolumeMount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::job::{condition, failure};
use super::placement::{Placement, is_misplaced};
use super::{ClaimState, is_ours};
use crate::labels::{CLAIM_UID, GROUP, MANAGED_BY, MANAGER, PRUNE};
use crate::names::{REVISIONS, job_name, prune_job_name};
use crate::persisted::Persisted;

/// What one prune Job does. It stands in the Job's annotation [`PRUNE`] as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PruneStep {
    /// Renames these contents, so that no pod can mount them any more. Nothing is lost.
    SetAside(Vec<String>),
    /// Ends what a Job before it began.
    #[serde(rename_all = "camelCase")]
    Finish {
        /// Contents that a pod names after all: their names are given back.
        #[serde(default)]
        put_back: Vec<String>,
        /// Contents that nobody names: what was set aside of them is deleted.
        #[serde(default)]
        delete: Vec<String>,
    },
}

impl PruneStep {
    /// Whether it only gives contents their names back.
    #[must_use]
    pub fn only_restores(&self) -> bool {
        matches!(self, Self::Finish { delete, .. } if delete.is_empty())
    }
}

/// The prune Job, reduced to what can change the outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PruneJob {
    /// There is none.
    #[default]
    Absent,
    /// It is being deleted, or gone already; its pod may still work.
    Terminating,
    /// It has not ended.
    Running {
        /// Its UID.
        uid: String,
        /// What it does.
        step: PruneStep,
        /// When it was made.
        since: Timestamp,
        /// Whether it is bound to nodes that the claim's volume has left. False where nobody looked.
        misplaced: bool,
    },
    /// It did all of its step.
    Done {
        /// Its UID.
        uid: String,
        /// What it did.
        step: PruneStep,
    },
    /// It gave up. It stays to be looked at until its TTL removes it, and then it is tried again.
    Failed {
        /// Its UID.
        uid: String,
        /// What it may have done in part.
        step: PruneStep,
        /// What its pod said, else what the Job says.
        why: String,
    },
    /// It was made for another claim, or says nothing that we understand.
    Stale {
        /// Its UID.
        uid: String,
    },
    /// It belongs to somebody else, so nothing is pruned.
    Foreign,
}

impl PruneJob {
    /// What it does, did or may have done. `None`: nothing that is known.
    #[must_use]
    pub const fn step(&self) -> Option<&PruneStep> {
        match self {
            Self::Running { step, .. } | Self::Done { step, .. } | Self::Failed { step, .. } => Some(step),
            Self::Absent | Self::Terminating | Self::Stale { .. } | Self::Foreign => None,
        }
    }
}

/// Reduces the prune Job of our name, with its newest pod. `placement` is where a new Job can mount the claim; `None` where
/// nobody looked.
#[must_use]
pub fn prune_job(
    model: &Persisted,
    claim: &ClaimState,
    job: Option<&Job>,
    pod: Option<&Pod>,
    placement: Option<&Placement>,
) -> PruneJob {
    let Some(job) = job else { return PruneJob::Absent };
    let meta = &job.metadata;
    if !is_ours(meta, model) {
        return PruneJob::Foreign;
    }
    if meta.deletion_timestamp.is_some() {
        return PruneJob::Terminating;
    }
    let uid = meta.uid.clone().unwrap_or_default();
    let annotation = |key| meta.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str);
    let step = annotation(PRUNE).and_then(|json| serde_json::from_str(json).ok());
    let (Some(step), true) = (step, claim.uid().is_some() && annotation(CLAIM_UID) == claim.uid()) else {
        return PruneJob::Stale { uid };
    };
    match (condition(job, "Complete"), condition(job, "Failed")) {
        (Some(_), _) => PruneJob::Done { uid, step },
        (None, Some(failed)) => PruneJob::Failed { uid, step, why: failure(failed, pod).message },
        (None, None) => {
            let since = meta.creation_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0);
            let misplaced = placement.is_some_and(|placement| is_misplaced(job, placement));
            PruneJob::Running { uid, step, since, misplaced }
        }
    }
}

/// Whether a pod of the prune Job of our name has not ended. It outlives a Job that is deleted in the background, as
/// `kubectl delete job` does, and may still rename.
#[must_use]
pub fn is_pruning<'a>(model: &Persisted, pods: impl IntoIterator<Item = &'a Pod>) -> bool {
    works(&prune_job_name(model.name), pods)
}

/// Whether a pod of the download Job of our name has not ended. It outlives its Job in the same way, and may still write.
#[must_use]
pub fn is_downloading<'a>(model: &Persisted, pods: impl IntoIterator<Item = &'a Pod>) -> bool {
    works(&job_name(model.name), pods)
}

fn works<'a>(job: &str, pods: impl IntoIterator<Item = &'a Pod>) -> bool {
    pods.into_iter().any(|pod| {
        let meta = &pod.metadata;
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        is_own_job(meta)
            && meta.owner_references.iter().flatten().any(|owner| owner.controller == Some(true) && owner.name == job)
            && !matches!(phase, Some("Succeeded" | "Failed"))
    })
}

/// The contents of a claim that pods name, whatever phase these pods are in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    ids: BTreeSet<String>,
    /// A pod mounts the claim as a whole, so it may use any of them.
    all: bool,
}

impl Users {
    /// Whether a pod names this content.
    #[must_use]
    pub fn name(&self, id: &str) -> bool {
        self.all || self.ids.contains(id)
    }

    /// Reads the pods of a namespace. Our own Jobs mount the claim as a whole, and use none of it.
    #[must_use]
    pub fn of_claim<'a>(claim: &str, pods: impl IntoIterator<Item = &'a Pod>) -> Self {
        let mut users = Self::default();
        for pod in pods.into_iter().filter(|pod| !is_own_job(&pod.metadata)) {
            users.add(claim, pod);
        }
        users
    }

    fn add(&mut self, claim: &str, pod: &Pod) {
        let Some(spec) = &pod.spec else { return };
        let of_claim =
            spec.volumes.iter().flatten().filter(|volume| {
                volume.persistent_volume_claim.as_ref().is_some_and(|source| source.claim_name == claim)
            });
        let volumes: BTreeSet<_> = of_claim.map(|volume| volume.name.as_str()).collect();
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        // The API server refuses a subPath there, so what they mount of the claim they mount as a whole.
        let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| &container.volume_mounts);
        let mounts = containers.map(|container| &container.volume_mounts).chain(ephemeral);
        let mounts = mounts.flat_map(|mounts: &Option<Vec<VolumeMount>>| mounts.iter().flatten());
        for mount in mounts.filter(|mount| volumes.contains(mount.name.as_str())) {
            match mount.sub_path.as_deref().and_then(content_of) {
                Some(id) if mount.sub_path_expr.is_none() => {
                    self.ids.insert(id.to_owned());
                }
                _ => self.all = true,
            }
        }
    }
}

/// The content id in a path on the claim: what follows `revisions/`, at the root or in the directory of a Model that
/// shares the claim. Namespaces and Models may be called `revisions`, too.
fn content_of(path: &str) -> Option<&str> {
    let mut segments = path.split('/');
    if path.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with('/')) {
        // The group, the namespace, the Model.
        segments.nth(2)?;
    }
    segments.next().filter(|segment| *segment == REVISIONS)?;
    segments.next().filter(|id| !id.is_empty() && *id != "." && *id != "..")
}

/// Whether this is the pod of a Job that the operator made and that uses none of the content. One that reads it does.
fn is_own_job(meta: &ObjectMeta) -> bool {
    let managed = meta.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == MANAGER);
    managed
        && meta.owner_references.iter().flatten().any(|owner| {
            owner.controller == Some(true)
                && owner.kind == "Job"
                && ["model-download-", "model-prune-"].iter().any(|prefix| owner.name.starts_with(prefix))
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::Model;

    fn pod(phase: &str, mount: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "p" },
            "spec": {
                "volumes": [
                    { "name": "model-llama", "persistentVolumeClaim": { "claimName": "model-llama" } },
                    { "name": "other", "persistentVolumeClaim": { "claimName": "model-other" } },
                ],
                "containers": [{ "name": "app", "volumeMounts": [mount] }],
            },
            "status": { "phase": phase },
        }))
        .unwrap()
    }

    #[test]
    fn every_pod_counts_for_the_content_that_it_names() {
        let mount = |volume: &str, path: &str| json!({ "name": volume, "mountPath": "/m", "subPath": path });
        let whole = json!({ "name": "model-llama", "mountPath": "/m" });
        let computed = json!({ "name": "model-llama", "mountPath": "/m", "subPathExpr": "$(X)" });
        let of_a = mount("model-llama", "revisions/a");
        let shared = |model: &str| format!("{}/revisions/a", crate::names::shared_directory("revisions", model));
        for (case, phase, mount, a, b) in [
            ("it runs", "Running", &of_a, true, false),
            ("it is gated or pending", "Pending", &of_a, true, false),
            ("it has ended", "Succeeded", &of_a, true, false),
            ("it failed", "Failed", &of_a, true, false),
            ("a directory of the content", "Running", &mount("model-llama", "revisions/a/onnx"), true, false),
            ("a claim of several Models", "Running", &mount("model-llama", &shared("llama")), true, false),
            ("a Model of an odd name", "Running", &mount("model-llama", &shared("revisions")), true, false),
            ("no path of ours", "Running", &mount("model-llama", "x/revisions/a"), true, true),
            ("another claim", "Running", &mount("other", "revisions/a"), false, false),
            ("the whole claim", "Running", &whole, true, true),
            ("all revisions", "Running", &mount("model-llama", "revisions"), true, true),
            ("a path that is computed", "Running", &computed, true, true),
        ] {
            let pod = pod(phase, mount);
            let users = Users::of_claim("model-llama", [&pod]);
            assert_eq!((users.name("a"), users.name("b")), (a, b), "{case}");
        }
        let mut init = pod("Running", &mount("other", "x"));
        let spec = init.spec.as_mut().unwrap();
        spec.init_containers = Some(pod("Running", &mount("model-llama", "revisions/a")).spec.unwrap().containers);
        assert!(Users::of_claim("model-llama", [&init]).name("a"));

        // Whoever debugs a pod may have the claim, and then all of it.
        let mut debugged = pod("Running", &of_a);
        let container = json!([{ "name": "debugger", "volumeMounts": [whole] }]);
        debugged.spec.as_mut().unwrap().ephemeral_containers = serde_json::from_value(container).unwrap();
        assert!(Users::of_claim("model-llama", [&debugged]).name("b"));
    }

    #[test]
    fn the_pods_of_our_own_jobs_do_not_count_and_nobody_can_pretend_to_be_one() {
        let owned = |kind: &str, name: &str, labels: Value| -> Pod {
            let mut pod = pod("Running", &json!({ "name": "model-llama", "mountPath": "/models" }));
            let owner =
                json!([{ "apiVersion": "batch/v1", "kind": kind, "name": name, "uid": "u", "controller": true }]);
            pod.metadata.owner_references = serde_json::from_value(owner).unwrap();
            pod.metadata.labels = serde_json::from_value(labels).unwrap();
            pod
        };
        let ours = json!({ "app.kubernetes.io/managed-by": "model-operator" });
        let used = |pod: Pod| Users::of_claim("model-llama", [&pod]).name("a");
        assert!(!used(owned("Job", "model-download-llama", ours.clone())));
        assert!(!used(owned("Job", "model-prune-llama", ours.clone())));
        // It reads what it names, so that must stay.
        assert!(used(owned("Job", "model-verify-llama", ours.clone())));
        assert!(used(owned("Job", "train", ours.clone())));
        assert!(used(owned("ReplicaSet", "model-download-llama", ours)));
        assert!(used(owned("Job", "model-download-llama", json!({}))));
    }

    #[test]
    fn a_prune_pod_works_until_it_ends() {
        let model: Model = serde_json::from_value(json!({
            "apiVersion": "models.main-currents.news/v1alpha1",
            "kind": "Model",
            "metadata": { "name": "llama", "namespace": "default", "uid": "model-uid", "generation": 1 },
            "spec": { "source": { "url": { "url": "https://example.com/x" } }, "storage": { "size": "1Gi" } },
        }))
        .unwrap();
        let model = Persisted::try_from(&model).unwrap();
        let of = |job: &str, by: &str, phase: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {
                    "labels": { "app.kubernetes.io/managed-by": by },
                    "ownerReferences": [
                        { "apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": "u", "controller": true },
                    ],
                },
                "status": { "phase": phase },
            }))
            .unwrap()
        };
        for (job, by, phase, works) in [
            ("model-prune-llama", MANAGER, "Running", true),
            ("model-prune-llama", MANAGER, "Pending", true),
            ("model-prune-llama", MANAGER, "Succeeded", false),
            ("model-prune-llama", MANAGER, "Failed", false),
            ("model-prune-other", MANAGER, "Running", false),
            ("model-download-llama", MANAGER, "Running", false),
            ("model-prune-llama", "somebody", "Running", false),
        ] {
            assert_eq!(is_pruning(&model, &[of(job, by, phase)]), works, "{job} {by} {phase}");
        }
        let download = |phase: &str| is_downloading(&model, &[of("model-download-llama", MANAGER, phase)]);
        assert!(download("Running") && !download("Succeeded"));
        assert!(!is_downloading(&model, &[of("model-prune-llama", MANAGER, "Running")]));
    }
}
