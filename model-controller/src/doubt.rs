//! How much of what the caches hold has to be read anew before it is acted on.
//!
//! Caches lag behind the API server, each by itself. What is written on old news could undo what another controller did
//! since, or start a second download. But each object that is read costs the API server and this controller as much as one
//! that is written, so nothing is read that could not change the outcome.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use model_core::decide::{Look, Write, is_verification_open};
use model_core::persisted::Persisted;

use crate::observe::Children;

/// What has to be read before a decision from caches is acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Nothing: all is as it should be.
    Nothing,
    /// Nothing either, to begin with: the API server itself takes no second claim and no second Job of a name, and no
    /// record of a Model that has changed since. A claim that can be made is new, and no older Job is for it.
    First,
    /// The Job and its pods, as far as they may still change: there is nothing to do but to record how they stand, and the
    /// API server takes no record of a Model that has changed since.
    Download,
    /// The Model and all of its children.
    All,
}

/// The doubt about a decision that was taken from caches. `is_settled`: it asks for nothing, not even a record.
pub(crate) fn doubt(
    model: &Persisted,
    children: &Children,
    (writes, wants): (&[Write], &[Look]),
    is_settled: bool,
    now: Timestamp,
) -> Doubt {
    if is_settled && !children.is_stuck() {
        Doubt::Nothing
    } else if !wants.is_empty() {
        Doubt::All
    } else if !writes.is_empty() && is_first(model, children, writes) {
        Doubt::First
    } else if writes.is_empty() && is_of_download(model, children, now) {
        Doubt::Download
    } else {
        Doubt::All
    }
}

/// Whether these writes begin the first download of a Model that nobody has looked at yet.
fn is_first(model: &Persisted, children: &Children, writes: &[Write]) -> bool {
    let begins = |write: &Write| matches!(write, Write::CreateClaim { .. } | Write::CreateJob | Write::CreatePlanJob);
    model.status.is_none() && children.are_none() && writes.iter().all(begins)
}

/// Whether the record can only have changed by the download: nothing else is under way or waited for.
fn is_of_download(model: &Persisted, children: &Children, now: Timestamp) -> bool {
    let has_others = children.plan.is_some() || children.prune.is_some() || children.verify.is_some();
    let waits_for_others = model.check_interval().is_some()
        || is_verification_open(model)
        || model.status.is_some_and(|status| !status.earlier.is_empty());
    let downloads = children.job.is_some() && children.claim.as_deref().is_some_and(is_bound);
    downloads && !has_others && !waits_for_others && !children.is_stuck() && !children.are_events_wanted(now)
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::batch::v1::Job;
    use model_core::api::Model;
    use serde_json::{Value, json};

    use super::*;

    const CREATES: [Write; 1] = [Write::CreateJob];

    fn model(annotations: &Value, status: &Value) -> Model {
        serde_json::from_value(json!({
            "metadata": {
                "name": "tiny", "namespace": "team", "uid": "u", "generation": 1, "annotations": annotations,
            },
            "spec": { "source": { "url": { "url": "https://host/a" } }, "storage": { "size": "1Gi" } },
            "status": status,
        }))
        .unwrap()
    }

    fn claim(phase: &str) -> Option<Box<PersistentVolumeClaim>> {
        serde_json::from_value(json!({ "metadata": { "name": "model-tiny" }, "status": { "phase": phase } })).unwrap()
    }

    /// A Job that was made this many seconds after 1970, without a pod.
    fn job(created: i64) -> Option<Box<Job>> {
        let created = Timestamp::from_second(created).unwrap();
        serde_json::from_value(json!({ "metadata": { "name": "model-download-tiny", "creationTimestamp": created } }))
            .unwrap()
    }

    #[test]
    fn only_what_could_change_the_outcome_is_read_anew() {
        let now = Timestamp::from_second(10_000).unwrap();
        let (new, known) = (model(&Value::Null, &Value::Null), model(&Value::Null, &json!({ "phase": "Downloading" })));
        let earlier = model(
            &Value::Null,
            &json!({ "earlier": [{ "id": "a", "path": "revisions/a", "since": "2026-01-01T00:00:00Z" }] }),
        );
        let asked = model(&json!({ "models.main-currents.news/verify": "now" }), &json!({ "phase": "Ready" }));
        let none = Children::default;
        let downloading = || Children { claim: claim("Bound"), job: job(9_999), ..none() };
        let pruning = Children { prune: job(9_999).map(|job| Box::new((*job, None))), ..downloading() };
        let unbound = Children { claim: claim("Pending"), ..downloading() };
        let podless = Children { job: job(1), ..downloading() };
        let claim_only = Children { claim: claim("Bound"), ..none() };
        let deletes = [Write::DeleteJob { uid: "j".into() }];
        let nothing: (&[Write], &[Look]) = (&[], &[]);
        for (case, model, children, asks, settled, want) in [
            ("all is as it should be", &known, &downloading(), nothing, true, Doubt::Nothing),
            ("the first look", &new, &none(), (&CREATES[..], &[][..]), false, Doubt::First),
            ("somebody has recorded something", &known, &none(), (&CREATES, &[]), false, Doubt::All),
            ("a claim is there", &new, &claim_only, (&CREATES, &[]), false, Doubt::All),
            ("something is deleted", &new, &none(), (&deletes, &[]), false, Doubt::All),
            ("the download moves on", &known, &downloading(), nothing, false, Doubt::Download),
            ("it is to be started again", &known, &downloading(), (&CREATES, &[]), false, Doubt::All),
            ("somebody has to look further", &known, &downloading(), (&[], &[Look::Users]), false, Doubt::All),
            ("there is no Job", &known, &claim_only, nothing, false, Doubt::All),
            ("the claim has no volume", &known, &unbound, nothing, false, Doubt::All),
            ("the Job has no pod, for long", &known, &podless, nothing, false, Doubt::All),
            ("earlier content is removed", &known, &pruning, nothing, false, Doubt::All),
            ("there is earlier content", &earlier, &downloading(), nothing, false, Doubt::All),
            ("a check of the content is asked for", &asked, &downloading(), nothing, false, Doubt::All),
        ] {
            let persisted = Persisted::try_from(model).unwrap();
            assert_eq!(doubt(&persisted, children, asks, settled, now), want, "{case}");
        }
    }
}
