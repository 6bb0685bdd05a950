//! Models that wait, fail, or are well.

use serde_json::{Value, json};

use super::*;
use crate::why::{of_model, screen};

fn pending() -> Value {
    json!({ "phase": "Pending", "progress": 0, "observedGeneration": 1, "message": "waiting" })
}

fn downloading() -> Value {
    json!({
        "phase": "Downloading", "progress": 50, "observedGeneration": 1, "message": "downloading",
        "conditions": [{ "type": "Downloaded", "status": "False", "reason": "Downloading", "message": "downloading", "lastTransitionTime": "2026-01-01T11:50:00Z" }],
        "download": { "id": wanted(), "attempt": 1, "startedAt": "2026-01-01T11:50:00Z", "totalBytes": 16_106_127_360_i64, "downloadedBytes": 8_053_063_680_i64, "bytesPerSecond": 104_857_600 },
    })
}

fn shown(view: &ModelView) -> String {
    screen(&of_model(view, now()))
}

#[test]
fn a_failed_download_names_reason_cause_and_remedy() {
    let message = "meta-llama/Llama-3.1-8B asks for its terms to be accepted";
    let status = failed_status("GatedRepository", message, "2026-01-01T11:55:00Z");
    let pods = json!([pod_failed("GatedRepository", message)]);
    let events = json!([event("llama", "GatedRepository", message)]);
    insta::assert_snapshot!(shown(&view(model(&status), bound(), None, job_failed(), pods, events)));
}

#[test]
fn a_model_that_is_being_downloaded_is_not_blocked() {
    let pods = json!([download_pod(&json!({ "phase": "Running" }))]);
    insta::assert_snapshot!(shown(&view(model(&downloading()), bound(), None, running(), pods, json!([]))));
}

#[test]
fn a_missing_storage_class_is_named() {
    let unplaced = download_pod(&json!({
        "phase": "Pending",
        "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "pod has unbound immediate PersistentVolumeClaims" }],
    }));
    insta::assert_snapshot!(shown(&view(
        model(&downloading()),
        unbound(),
        Some(false),
        running(),
        json!([unplaced]),
        json!([])
    )));
}

#[test]
fn a_failed_download_whose_job_is_gone_says_when_it_is_tried_again() {
    let again = failed_status("NetworkError", "hub.example did not answer", "2026-01-01T10:59:30Z");
    let mut second = again.clone();
    second["download"]["attempt"] = json!(3);
    let never = failed_status("SourceNotFound", "no such repository", "2026-01-01T10:00:00Z");
    let screens =
        [second, never].map(|status| shown(&view(model(&status), bound(), None, Value::Null, json!([]), json!([]))));
    insta::assert_snapshot!(screens.join("\n\n"));
}

fn running() -> Value {
    job(&json!({ "active": 1 }))
}

fn unbound() -> Value {
    claim(&json!({ "phase": "Pending" }))
}

fn foreign(mut object: Value) -> Value {
    object["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs", "uid": "x", "controller": true }]);
    object
}

fn going(mut object: Value) -> Value {
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T11:59:00Z");
    object
}

/// Asserts the reasons of the findings, whether each blocks, and that each that blocks says what to do.
#[track_caller]
fn assert_reasons(name: &str, view: &ModelView, want: &[(&str, bool)]) {
    let report = of_model(view, now());
    let found: Vec<_> = report.findings.iter().map(|finding| (finding.reason.as_str(), finding.blocks)).collect();
    assert_eq!(found, want, "{name}");
    assert!(report.findings.iter().all(|finding| !finding.blocks || !finding.advice.is_empty()), "{name}: {report:?}");
}

#[test]
fn what_stops_the_model_or_its_claim_has_its_reason() {
    let mut newer = model(&downloading());
    newer["metadata"]["generation"] = json!(2);
    let provision = json!([event("model-llama", "ProvisioningFailed", "no space in pool")]);
    let consumer = json!([event("model-llama", "WaitForFirstConsumer", "waiting for first consumer to be created")]);
    let lost = claim(&json!({ "phase": "Lost" }));
    let (no, none) = (|| json!([]), || Value::Null);
    for (name, model, claim, job, events, want) in [
        ("nobody looked", model(&none()), none(), none(), no(), &[("NotObserved", true)][..]),
        ("a newer spec", newer, bound(), running(), no(), &[("NotObserved", true)]),
        ("being deleted", going(model(&downloading())), bound(), none(), no(), &[("Deleting", true)]),
        ("claim of others", model(&pending()), foreign(bound()), none(), no(), &[("ClaimConflict", true)]),
        ("claim is lost", model(&pending()), lost, none(), no(), &[("ClaimLost", true)]),
        ("claim goes", model(&pending()), going(bound()), none(), no(), &[("ClaimLost", true)]),
        ("no volume", model(&downloading()), unbound(), running(), provision, &[("ClaimPending", true)]),
        ("first consumer", model(&downloading()), unbound(), running(), consumer, &[]),
    ] {
        assert_reasons(name, &view(model, claim, Some(true), job, no(), events), want);
    }
}

#[test]
fn what_stops_the_job_or_its_pod_has_its_reason() {
    let waiting = |reason: &str, message: &str| {
        let state = json!({ "waiting": { "reason": reason, "message": message } });
        let status = json!({ "name": "download", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state });
        json!([download_pod(&json!({ "phase": "Pending", "containerStatuses": [status] }))])
    };
    let unmounted = json!([download_pod(&json!({
        "phase": "Pending",
        "conditions": [
            { "type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T11:50:00Z" },
            { "type": "PodReadyToStartContainers", "status": "False" },
        ],
    }))]);
    let mut stale = running();
    stale["metadata"]["annotations"]["models.main-currents.news/claim-uid"] = json!("older");
    let full = json!([event("model-download-llama", "FailedCreate", "exceeded quota: pods")]);
    let mount = json!([event("model-download-llama-x7", "FailedMount", "configmap \"ca\" not found")]);
    let network = json!([event("model-download-llama-x7", "FailedCreatePodSandBox", "no IPs available")]);
    let (no_image, no_secret) = (
        waiting("ImagePullBackOff", "no such image"),
        waiting("CreateContainerConfigError", "secret \"hub\" not found"),
    );
    let no = || json!([]);
    for (name, status, job, pods, events, want) in [
        ("Job of others", pending(), foreign(running()), no(), no(), ("JobConflict", true)),
        ("old Job goes", pending(), going(running()), no(), no(), ("JobTerminating", false)),
        ("stale Job", pending(), stale, no(), no(), ("JobStale", false)),
        ("quota", downloading(), running(), no(), full, ("QuotaExceeded", true)),
        ("image", downloading(), running(), no_image, no(), ("ImagePullFailed", true)),
        ("secret", downloading(), running(), no_secret, no(), ("CredentialsMissing", true)),
        ("mount", downloading(), running(), unmounted.clone(), mount, ("VolumeNotMounted", true)),
        ("network", downloading(), running(), unmounted, network, ("SandboxFailed", true)),
    ] {
        assert_reasons(name, &view(model(&status), bound(), None, job, pods, events), &[want]);
    }
}

#[test]
fn a_ready_model_is_not_blocked_by_what_its_refresh_meets() {
    let source = json!({ "huggingFace": { "repoId": "meta-llama/Llama-3.1-8B", "revision": "main" } });
    let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({ "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T11:55:00Z" });
    let message = "8.0 GiB needed, 2.0 GiB free; raise spec.storage.size, then delete the Job to retry";
    let status = json!({
        "phase": "Ready", "progress": 100, "observedGeneration": 1, "message": format!("ready with earlier content; newer content: {message}"),
        "conditions": [
            condition("Ready", "True", "Downloaded", "earlier content is ready to mount"),
            condition("Downloaded", "False", "DiskFull", message),
            condition("ContentWritable", "True", "WritableMount", "pod trainer may change the content; remove the annotation"),
            condition("PruneFailed", "True", "PruneFailed", "earlier content could not be removed: the volume is read-only; look at the Job"),
        ],
        "content": { "id": "old", "path": "revisions/old", "source": source, "bytes": 8_589_934_592_i64, "verified": true },
    });
    let pods = json!([pod_failed("DiskFull", "8.0 GiB needed, 2.0 GiB free")]);
    let view = view(model(&status), bound(), None, job_failed(), pods, json!([]));
    assert!(!of_model(&view, now()).is_blocked());
    insta::assert_snapshot!(shown(&view));
}

#[test]
fn newer_content_and_a_source_that_did_not_answer_block_nothing() {
    let at = "2026-01-01T11:30:00Z";
    let message = "at 2026-01-01T11:30:00Z the source had revision new; mounted is old; fetch it with `kubectl model refresh llama`";
    let status = json!({
        "phase": "Ready", "progress": 100, "observedGeneration": 1, "message": "ready to mount",
        "conditions": [
            { "type": "Downloaded", "status": "True", "reason": "Downloaded", "message": "", "lastTransitionTime": at },
            { "type": "UpToDate", "status": "False", "reason": "NewRevision", "message": message, "lastTransitionTime": at },
        ],
        "check": { "since": at, "lastFailure": { "reason": "NetworkError", "message": "no route to the hub", "at": at } },
    });
    insta::assert_snapshot!(shown(&view(model(&status), bound(), None, Value::Null, json!([]), json!([]))));
}
