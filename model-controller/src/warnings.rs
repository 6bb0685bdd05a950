//! Warnings that others left on our children: the only place where Kubernetes says why a Job has no pod, a pod does not
//! start, or a claim has no volume.
//!
//! Events are many and short-lived, so none are watched: those of one object are listed, where its state gives cause.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use model_core::observed::{NOT_STARTED_WARNINGS, Refusal, not_started, refusal};

/// Events that are read of one object at most.
const AT_MOST: u32 = 50;

/// A claim that is younger than this may well be served without a warning.
const CLAIM_PATIENCE: SignedDuration = SignedDuration::from_secs(10);

/// Why a Job has no pod, in the words of the Job controller.
pub(crate) async fn of_job(client: &Client, job: &Job) -> Refusal {
    match newest(client, job, &["FailedCreate"]).await {
        Some((_, words)) => Refusal::Known(refusal(&words)),
        None => Refusal::Unknown,
    }
}

/// Why a pod does not start on its node, in the words of the kubelet.
pub(crate) async fn of_pod(client: &Client, pod: &Pod) -> Refusal {
    match newest(client, pod, &NOT_STARTED_WARNINGS).await {
        Some((warning, words)) => Refusal::Known(not_started(&warning, &words)),
        None => Refusal::Unknown,
    }
}

/// Why a claim has no volume, in the words of its provisioner. `None` also for one that is bound or very young.
pub(crate) async fn of_claim(client: &Client, claim: &PersistentVolumeClaim, now: Timestamp) -> Option<String> {
    let bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let young = claim.creation_timestamp().is_none_or(|created| now.duration_since(created.0) < CLAIM_PATIENCE);
    if bound || young {
        return None;
    }
    Some(newest(client, claim, &["ProvisioningFailed", "FailedBinding"]).await?.1)
}

/// The newest warning about this object with one of these reasons: the reason and the words. A list that fails is no warning: the pass has more
/// to do than that.
async fn newest(client: &Client, object: &impl ResourceExt, reasons: &[&str]) -> Option<(String, String)> {
    let (namespace, uid) = (object.namespace()?, object.uid()?);
    let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let of_object = ListParams::default().fields(&format!("regarding.uid={uid},type=Warning")).limit(AT_MOST);
    let found = events.list(&of_object).await;
    let found = found.inspect_err(|error| tracing::warn!(%error, "could not list the Events of a child")).ok()?;
    let wanted = |event: &Event| event.reason.as_deref().is_some_and(|reason| reasons.contains(&reason));
    let newest = found.items.into_iter().filter(wanted).max_by_key(last_seen)?;
    Some((newest.reason?, newest.note?))
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().map(|series| series.last_observed_time.0);
    let counted = event.deprecated_last_timestamp.as_ref().map(|time| time.0);
    let first = event.event_time.as_ref().map(|time| time.0);
    series.or(counted).or(first).or(event.metadata.creation_timestamp.as_ref().map(|time| time.0))
}
