//! The objects that belong to a Model, each in one line.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use model_core::labels;
use model_core::names::job_name;

use super::{Context, Part};
use crate::source::shown;
use crate::text::line;
use crate::usage::size;
use model_core::figures::age;

/// A screen holds so many pods.
const PODS: usize = 6;

/// Source, claim, Job and pods.
pub(super) fn parts(context: &Context) -> Vec<Part> {
    let view = context.view;
    let spec = &view.model.spec;
    let secret = spec.credentials_secret.as_deref().map(|secret| format!("secret {}", line(secret)));
    let version = spec.version.as_deref().map(|version| format!("version {}", line(version)));
    let source = [Some(spec.source.source_type().as_str().to_owned()), version, secret];
    let mut parts = vec![
        part("source", shown(&spec.source), source.into_iter().flatten().collect::<Vec<_>>().join(", ")),
        part("claim", spec.storage.claim_name(context.name), view.claim.as_ref().map_or_else(absent, claim_state)),
        part("Job", job_name(context.name), view.job.as_ref().map_or_else(absent, |job| job_state(context, job))),
    ];
    parts.extend(view.pods.iter().take(PODS).map(|pod| part("pod", pod.name_any(), pod_state(context, pod))));
    if view.pods.len() > PODS {
        let more = format!("{} more mount it: kubectl model usage -n {}", view.pods.len() - PODS, context.namespace);
        parts.push(part("pod", "…".to_owned(), more));
    }
    parts
}

pub(super) fn part(what: &'static str, name: String, state: String) -> Part {
    Part { what, name, state }
}

fn absent() -> String {
    "absent".to_owned()
}

fn claim_state(claim: &PersistentVolumeClaim) -> String {
    let phase = claim.status.as_ref().and_then(|status| status.phase.clone());
    let going = claim.metadata.deletion_timestamp.is_some();
    let phase = if going { Some("being deleted".to_owned()) } else { phase };
    let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone());
    let class = class.map(|class| format!("storage class {class}"));
    line(&[phase, size(claim), class].into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn job_state(context: &Context, job: &Job) -> String {
    if job.metadata.deletion_timestamp.is_some() {
        return "being deleted".to_owned();
    }
    let status = job.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let ended = conditions
        .iter()
        .find(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True");
    if let Some(end) = ended {
        let since = age(end.last_transition_time.as_ref().map(|time| time.0), context.now);
        return format!("{} {since} ago", if end.type_ == "Failed" { "failed" } else { "complete" });
    }
    let failed = status.failed.unwrap_or(0);
    let since = age(job.metadata.creation_timestamp.as_ref().map(|time| time.0), context.now);
    let before = if failed > 0 { format!(", {failed} of its pods failed") } else { String::new() };
    format!("running for {since}{before}")
}

fn pod_state(context: &Context, pod: &Pod) -> String {
    let role = if is_download(pod, context.name) { "downloads" } else { "mounts it" };
    format!("{role}, {}", pod_phase(pod))
}

/// Whether this is a pod of the Model's Job.
pub(super) fn is_download(pod: &Pod, model: &str) -> bool {
    pod.labels().get(labels::MODEL).is_some_and(|name| name == model)
}

/// The phase of a pod, and the node it is on.
pub(super) fn pod_phase(pod: &Pod) -> String {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    let phase = if pod.metadata.deletion_timestamp.is_some() { "being deleted" } else { phase };
    match pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) {
        Some(node) => format!("{} on {}", line(phase), line(node)),
        None => line(phase),
    }
}
