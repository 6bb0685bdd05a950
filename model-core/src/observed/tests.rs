//! Real Kubernetes objects in, values out.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use super::{
    ClaimState, JobState, Podless, Refusal, claim_details, claim_state, job_state, newest_pod, pod_trouble,
    pod_unmounted,
};
use crate::api::Model;
use crate::persisted::Persisted;
use crate::reason::Reason;
use crate::report::{Failure, Published};

fn model() -> Model {
    serde_json::from_value(json!({
        "apiVersion": "models.main-currents.news/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "llama", "namespace": "default", "uid": "model-uid", "generation": 1},
        "spec": {"source": {"url": {"url": "https://example.com/x"}}, "storage": {"size": "1Gi"}}
    }))
    .unwrap()
}

fn ours() -> Value {
    json!([{"apiVersion": "models.main-currents.news/v1alpha1", "kind": "Model", "name": "llama", "uid": "model-uid", "controller": true}])
}

fn claim(metadata: &Value, phase: &str) -> PersistentVolumeClaim {
    serde_json::from_value(
        json!({"metadata": metadata, "spec": {"storageClassName": "fast"}, "status": {"phase": phase}}),
    )
    .unwrap()
}

#[test]
fn a_claim_is_ours_only_by_the_uid_of_its_controller() {
    let model = model();
    let model = Persisted::try_from(&model).unwrap();
    let state = |metadata: Value, phase: &str| claim_state(&model, Some(&claim(&metadata, phase)), None, None);
    let foreign = |owner: &str| ClaimState::Foreign { owner: owner.into() };
    let namesake =
        json!([{"apiVersion": "v1", "kind": "Model", "name": "llama", "uid": "older-uid", "controller": true}]);
    let user = json!([{"apiVersion": "v1", "kind": "Model", "name": "llama", "uid": "model-uid"}]);

    assert_eq!(claim_state(&model, None, None, None), ClaimState::Absent);
    assert_eq!(state(json!({"uid": "c"}), "Bound"), foreign("nobody"));
    assert_eq!(state(json!({"uid": "c", "ownerReferences": namesake}), "Bound"), foreign("Model/llama"));
    assert_eq!(state(json!({"uid": "c", "ownerReferences": user}), "Bound"), foreign("Model/llama"));
    assert_eq!(
        state(json!({"uid": "c", "ownerReferences": ours()}), "Bound"),
        ClaimState::Ours { uid: "c".into(), bound: true, trouble: None }
    );
    assert_eq!(
        state(json!({"uid": "c", "ownerReferences": ours()}), "Pending"),
        ClaimState::Ours { uid: "c".into(), bound: false, trouble: None }
    );
    assert_eq!(state(json!({"uid": "c", "ownerReferences": ours()}), "Lost"), ClaimState::Lost);
    let going = json!({"uid": "c", "ownerReferences": ours(), "deletionTimestamp": "2026-01-01T00:00:00Z"});
    assert_eq!(state(going, "Bound"), ClaimState::Terminating);
}

#[test]
fn an_existing_claim_is_used_whoever_made_it_unless_it_goes_with_a_model() {
    let mut model = model();
    model.spec.storage.existing_claim = Some("weights".into());
    let model = Persisted::try_from(&model).unwrap();
    let state = |metadata: Value, phase: &str| claim_state(&model, Some(&claim(&metadata, phase)), None, None);
    let used = |bound| ClaimState::Ours { uid: "c".into(), bound, trouble: None };
    let set = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "s", "controller": true}]);
    let another =
        json!([{"apiVersion": "models.main-currents.news/v1beta1", "kind": "Model", "name": "other", "uid": "o"}]);

    assert_eq!(claim_state(&model, None, None, None), ClaimState::Missing);
    assert_eq!(state(json!({"uid": "c"}), "Bound"), used(true));
    assert_eq!(state(json!({"uid": "c"}), "Pending"), used(false));
    assert_eq!(state(json!({"uid": "c", "ownerReferences": set}), "Bound"), used(true));
    for owner in [another, ours()] {
        let ClaimState::Foreign { owner } = state(json!({"uid": "c", "ownerReferences": owner}), "Bound") else {
            panic!("{owner}")
        };
        assert!(owner.starts_with("Model/"), "{owner}");
    }
    assert_eq!(state(json!({"uid": "c"}), "Lost"), ClaimState::Lost);
    let going = json!({"uid": "c", "deletionTimestamp": "2026-01-01T00:00:00Z"});
    assert_eq!(state(going, "Bound"), ClaimState::Terminating);
}

#[test]
fn a_claim_that_a_model_of_this_name_left_is_ours_again() {
    let model = model();
    let model = Persisted::try_from(&model).unwrap();
    let state = |metadata: Value| claim_state(&model, Some(&claim(&metadata, "Bound")), None, None);
    let labels =
        |model: &str, by: &str| json!({"models.main-currents.news/model": model, "app.kubernetes.io/managed-by": by});
    let other = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "other"}]);
    let left = json!({"uid": "c", "labels": labels("llama", "model-operator")});
    assert_eq!(state(left.clone()), ClaimState::Ours { uid: "c".into(), bound: true, trouble: None });
    assert!(!claim_details(&model, &claim(&left, "Bound"), None).owned);
    assert!(claim_details(&model, &claim(&json!({"uid": "c", "ownerReferences": ours()}), "Bound"), None).owned);
    for (owner, theirs) in [
        ("nobody", json!({"uid": "c", "labels": labels("llama-2", "model-operator")})),
        ("nobody", json!({"uid": "c", "labels": labels("llama", "helm")})),
        ("ConfigMap/x", json!({"uid": "c", "labels": labels("llama", "model-operator"), "ownerReferences": other})),
    ] {
        assert_eq!(state(theirs), ClaimState::Foreign { owner: owner.into() });
    }
}

#[test]
fn a_missing_storage_class_is_named() {
    let model = model();
    let model = Persisted::try_from(&model).unwrap();
    let claim = claim(&json!({"uid": "c", "ownerReferences": ours()}), "Pending");
    let ClaimState::Ours { trouble: Some(trouble), .. } = claim_state(&model, Some(&claim), Some(false), Some("no"))
    else {
        panic!()
    };
    assert_eq!(trouble.reason, Reason::StorageClassNotFound);
    assert_eq!(trouble.message, "PVC stuck Pending: storage class \"fast\" not found: verify storage class exists");
    assert_eq!(
        claim_state(&model, Some(&claim), Some(true), None),
        ClaimState::Ours { uid: "c".into(), bound: false, trouble: None }
    );
    let ClaimState::Ours { trouble: Some(trouble), .. } =
        claim_state(&model, Some(&claim), Some(true), Some("no host"))
    else {
        panic!()
    };
    assert_eq!((trouble.reason, &*trouble.message), (Reason::ClaimPending, "PVC stuck Pending: no host"));
}

fn job(model: &Persisted, condition: Option<Value>) -> Job {
    serde_json::from_value(json!({
        "metadata": {
            "name": "model-download-llama", "uid": "j", "ownerReferences": ours(),
            "annotations": {
                "models.main-currents.news/content-id": model.content_id,
                "models.main-currents.news/claim-uid": "c",
            },
        },
        "status": {"conditions": condition.into_iter().collect::<Vec<_>>()},
    }))
    .unwrap()
}

fn pod(status: &Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
}

fn terminated(exit_code: i32, reason: &str, message: &str) -> Value {
    json!({"containerStatuses": [{
        "name": "loader", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": exit_code, "reason": reason, "message": message}},
    }]})
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"containerStatuses": [{
        "name": "loader", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": reason, "message": message}},
    }]})
}

#[test]
fn a_job_counts_only_for_its_content_and_its_claim() {
    let model = model();
    let model = Persisted::try_from(&model).unwrap();
    let claim = ClaimState::Ours { uid: "c".into(), bound: true, trouble: None };
    let complete = json!({"type": "Complete", "status": "True"});
    let state = |claim: &ClaimState, job: &Job| {
        job_state(&model, claim, Some(job), None, None, Refusal::Unknown, Timestamp::UNIX_EPOCH)
    };
    let outdated = JobState::Stale { uid: "j".into() };

    let mut done = job(&model, Some(complete.clone()));
    assert_eq!(state(&claim, &done), JobState::Succeeded { published: None });
    let remade = ClaimState::Ours { uid: "d".into(), bound: true, trouble: None };
    for other in [ClaimState::Absent, ClaimState::Terminating, ClaimState::Lost, remade] {
        assert_eq!(state(&other, &done), outdated, "{other:?}");
    }
    done.metadata.annotations = None;
    assert_eq!(state(&claim, &done), outdated);
    done.metadata.owner_references = None;
    assert_eq!(state(&claim, &done), JobState::Foreign { owner: "nobody".into() });

    let mut going = job(&model, Some(complete));
    going.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
    assert_eq!(state(&claim, &going), JobState::Terminating);
    let running = job(&model, Some(json!({"type": "Failed", "status": "False"})));
    assert_eq!(
        state(&claim, &running),
        JobState::Running { trouble: None, progress: None, unmounted: None, podless: None }
    );
}

#[test]
fn the_loader_says_how_it_ended() {
    let model = model();
    let model = Persisted::try_from(&model).unwrap();
    let claim = ClaimState::Ours { uid: "c".into(), bound: true, trouble: None };
    let state = |condition: Value, pod: &Pod| {
        job_state(
            &model,
            &claim,
            Some(&job(&model, Some(condition))),
            Some(pod),
            None,
            Refusal::Unknown,
            Timestamp::UNIX_EPOCH,
        )
    };
    let complete = json!({"type": "Complete", "status": "True"});
    let report = r#"{"succeeded":{"resolvedRevision":"abc","bytes":7,"files":1}}"#;
    let published = Published { resolved_revision: Some("abc".into()), bytes: 7, files: 1, ..Published::default() };
    assert_eq!(
        state(complete.clone(), &pod(&terminated(0, "Completed", report))),
        JobState::Succeeded { published: Some(published) }
    );
    let forged = r#"{"failed":{"reason":"Evicted","message":""}}"#;
    assert_eq!(state(complete, &pod(&terminated(0, "Completed", forged))), JobState::Succeeded { published: None });

    let failed = json!({
        "type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too many retries",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let report = r#"{"failed":{"reason":"GatedRepository","message":"terms of a/b are not accepted"}}"#;
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    let failure = |reason, message: &str| JobState::Failed { failure: Failure { reason, message: message.into() }, at };
    for (pod, want) in [
        (terminated(2, "Error", report), failure(Reason::GatedRepository, "terms of a/b are not accepted")),
        (
            terminated(137, "OOMKilled", ""),
            failure(Reason::OutOfMemory, "the download used more memory than its limit"),
        ),
        (terminated(22, "Error", "curl: (22) 404\n"), failure(Reason::DownloadFailed, "exit code 22: curl: (22) 404")),
        (json!({}), failure(Reason::DownloadFailed, "too many retries")),
    ] {
        assert_eq!(state(failed.clone(), &super::tests::pod(&pod)), want);
    }
    let late = json!({"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    assert_eq!(state(late, &pod(&json!({}))), failure(Reason::DeadlineExceeded, "too long"));
}

#[test]
fn what_holds_a_pod_up_is_named() {
    let unschedulable = |message: &str| json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]});
    for (status, want) in [
        (json!({}), None),
        (waiting("ContainerCreating", ""), None),
        (waiting("ImagePullBackOff", "Back-off pulling image \"x\""), Some(Reason::ImagePullFailed)),
        (waiting("InvalidImageName", ""), Some(Reason::ImagePullFailed)),
        (waiting("CreateContainerConfigError", "secret \"hf\" not found"), Some(Reason::CredentialsMissing)),
        (
            waiting("CreateContainerConfigError", "couldn't find key HF_TOKEN in Secret a/hf"),
            Some(Reason::CredentialsMissing),
        ),
        (
            waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root"),
            Some(Reason::ContainerNotStarted),
        ),
        (waiting("RegistryUnavailable", ""), Some(Reason::ImagePullFailed)),
        (waiting("CreateContainerError", "no command specified"), Some(Reason::ContainerNotStarted)),
        (terminated(128, "StartError", "exec: \"x\": not found"), Some(Reason::ContainerNotStarted)),
        (
            terminated(128, "StartError", "container init was OOM-killed (memory limit too low?)"),
            Some(Reason::OutOfMemory),
        ),
        (json!({"phase": "Failed", "reason": "OutOfcpu", "message": "Pod was rejected"}), Some(Reason::Unschedulable)),
        (json!({"phase": "Failed", "reason": "NodeAffinity"}), Some(Reason::Unschedulable)),
        (json!({"phase": "Failed", "reason": "Terminated", "message": "node shutdown"}), Some(Reason::Evicted)),
        (json!({"phase": "Failed", "reason": "DeadlineExceeded"}), None),
        (unschedulable("0/1 nodes are available: 1 node(s) had untolerated taint"), Some(Reason::Unschedulable)),
        (unschedulable("pod has unbound immediate PersistentVolumeClaims"), Some(Reason::ClaimPending)),
        (json!({"phase": "Failed", "reason": "Evicted", "message": "low on disk"}), Some(Reason::Evicted)),
        (terminated(1, "Error", &"x".repeat(9000)), Some(Reason::DownloadFailed)),
    ] {
        let trouble = pod_trouble(&pod(&status));
        assert_eq!(trouble.as_ref().map(|trouble| trouble.reason), want, "{status}");
        assert!(trouble.is_none_or(|trouble| trouble.message.len() < 800));
    }
}

#[test]
fn the_youngest_pod_of_the_job_speaks_for_it() {
    let pod = |name: &str, owner: &str, created: &str| -> Pod {
        serde_json::from_value(json!({"metadata": {
            "name": name, "creationTimestamp": created,
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": owner}],
        }}))
        .unwrap()
    };
    let model = model();
    let job = job(&Persisted::try_from(&model).unwrap(), None);
    let pods = [
        pod("first", "j", "2026-01-01T00:00:00Z"),
        pod("second", "j", "2026-01-01T00:00:09Z"),
        pod("of another job", "k", "2026-01-01T01:00:00Z"),
    ];
    assert_eq!(newest_pod(&job, &pods).unwrap().metadata.name.as_deref(), Some("second"));
    assert!(newest_pod(&job, []).is_none());
}

#[test]
fn a_pod_that_was_placed_and_waits_for_its_volumes_names_them() {
    let pod = |phase: &str, scheduled: &str, mounted: &str| -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "creationTimestamp": "2025-12-31T23:59:00Z"},
            "spec": {"containers": [], "volumes": [
                {"name": "models", "persistentVolumeClaim": {"claimName": "model-llama"}},
                {"name": "home", "emptyDir": {}},
                {"name": "ca", "configMap": {"name": "company-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"name": "all", "configMap": {"name": "settings"}},
                {"name": "key", "secret": {"secretName": "key"}},
            ]},
            "status": {"phase": phase, "conditions": [
                {"type": "PodReadyToStartContainers", "status": mounted},
                {"type": "PodScheduled", "status": scheduled, "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ]},
        }))
        .unwrap()
    };
    let found = pod_unmounted(&pod("Pending", "True", "False"), Refusal::NotRead).unwrap();
    assert_eq!(found.since, "2026-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(
        found.volumes,
        "claim model-llama, ConfigMap company-ca with key ca.crt, ConfigMap settings, secret key"
    );
    // The condition also turns false when a pod has ended.
    for (phase, scheduled, mounted) in [
        ("Pending", "True", "True"),
        ("Pending", "False", "False"),
        ("Running", "True", "False"),
        ("Failed", "True", "False"),
        ("Succeeded", "True", "False"),
    ] {
        assert_eq!(
            pod_unmounted(&pod(phase, scheduled, mounted), Refusal::NotRead),
            None,
            "{phase} {scheduled} {mounted}"
        );
    }
    assert_eq!(pod_unmounted(&Pod::default(), Refusal::NotRead), None);
    // Neither placed nor refused: the scheduler waits for a volume to be made.
    let unplaced = pod_unmounted(&pod("Pending", "Unknown", "False"), Refusal::NotRead).unwrap();
    assert_eq!((unplaced.placed, unplaced.since), (false, "2025-12-31T23:59:00Z".parse().unwrap()));
}

#[test]
fn a_job_without_a_pod_is_late_unless_it_is_held_back_or_has_had_one() {
    let model = model();
    let model = Persisted::try_from(&model).unwrap();
    let claim = ClaimState::Ours { uid: "c".into(), bound: true, trouble: None };
    let found = |change: fn(&mut Job), with: Option<&Pod>| {
        let mut job = job(&model, None);
        job.metadata.creation_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time("2026-01-01T00:00:00Z".parse().unwrap()));
        change(&mut job);
        let state = job_state(
            &model,
            &claim,
            Some(&job),
            with,
            None,
            Refusal::NotRead,
            "2026-01-01T01:00:00Z".parse().unwrap(),
        );
        let JobState::Running { trouble, podless, .. } = state else { panic!("{state:?}") };
        (trouble.map(|trouble| trouble.reason), podless)
    };
    let since = "2026-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(found(|_| {}, None), (None, Some(Podless { since, refusal: Refusal::NotRead })));
    assert_eq!(found(|_| {}, Some(&pod(&json!({})))), (None, None));
    assert_eq!(found(|job| job.status.as_mut().unwrap().failed = Some(1), None), (None, None));
    let suspend = |job: &mut Job| job.spec.get_or_insert_default().suspend = Some(true);
    assert_eq!(found(suspend, None), (Some(Reason::Suspended), None));
}
