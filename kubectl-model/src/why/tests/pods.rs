//! Pods that want Models.

use k8s_openapi::api::core::v1::{Event, Pod};
use serde_json::{Value, json};

use super::*;
use crate::why::{Asked, Report, of_pod, screen};

fn pod(annotations: &Value, sub_path: Option<&str>, status: &Value) -> Pod {
    let volumes =
        sub_path.map(|_| json!([{ "name": "model-llama", "persistentVolumeClaim": { "claimName": "model-llama" } }]));
    let mounts = sub_path.map(|path| json!([{ "name": "model-llama", "mountPath": "/models/llama", "subPath": path }]));
    serde_json::from_value(json!({
        "metadata": { "name": "server-1", "namespace": "team", "annotations": annotations },
        "spec": { "containers": [{ "name": "app", "volumeMounts": mounts }], "volumes": volumes },
        "status": status,
    }))
    .unwrap()
}

fn asks() -> Value {
    json!({ "models.main-currents.news/inject": "llama" })
}

fn ready() -> ModelView {
    let source = json!({ "huggingFace": { "repoId": "meta-llama/Llama-3.1-8B", "revision": "main" } });
    let status = json!({
        "phase": "Ready", "progress": 100, "observedGeneration": 1, "message": "ready to mount",
        "content": { "id": wanted(), "path": "revisions/new", "source": source, "verified": true },
    });
    view(model(&status), bound(), None, Value::Null, json!([]), json!([]))
}

fn failed() -> ModelView {
    let message = "no such repository";
    let status = failed_status("SourceNotFound", message, "2026-01-01T11:55:00Z");
    view(model(&status), bound(), None, job_failed(), json!([pod_failed("SourceNotFound", message)]), json!([]))
}

fn report(pod: &Pod, view: Option<&ModelView>, events: &[Event]) -> Report {
    let asked: Asked = match crate::why::wanted(pod) {
        Ok(names) => names.into_iter().map(|name| (name, view.cloned())).collect(),
        Err(_) => Asked::new(),
    };
    of_pod(pod, &asked, events, Vec::new(), now())
}

#[test]
fn a_pod_whose_model_failed_says_what_failed() {
    let report = report(&pod(&asks(), None, &json!({ "phase": "Pending" })), Some(&failed()), &[]);
    insta::assert_snapshot!(screen(&report));
}

#[test]
fn each_hindrance_of_a_pod_has_its_reason() {
    let container = |state: Value| json!({ "phase": "Running", "containerStatuses": [{ "name": "app", "image": "", "imageID": "", "ready": false, "restartCount": 4, "state": state }] });
    let crashing = container(json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 5m0s" } }));
    let running = container(json!({ "running": {} }));
    let unplaced = json!({
        "phase": "Pending",
        "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu" }],
    });
    let unmounted = json!({
        "phase": "Pending",
        "conditions": [
            { "type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T11:50:00Z" },
            { "type": "PodReadyToStartContainers", "status": "False" },
        ],
    });
    let attach = json!([event("server-1", "FailedAttachVolume", "Multi-Attach error: volume is used on another node")]);
    let mut gated = pod(&asks(), Some("revisions/new"), &json!({ "phase": "Pending" }));
    if let Some(spec) = &mut gated.spec {
        spec.scheduling_gates =
            Some(vec![k8s_openapi::api::core::v1::PodSchedulingGate { name: "kueue.x-k8s.io/admission".into() }]);
    }
    let bad = json!({ "models.main-currents.news/inject": "llama", "models.main-currents.news/read-only": "maybe" });
    for (name, pod, view, events, want) in vec![
        ("asks for nothing", pod(&json!({}), None, &running), None, json!([]), vec![("NotAsked", false)]),
        ("means nothing", pod(&bad, None, &running), None, json!([]), vec![("AnnotationInvalid", true)]),
        ("no such Model", pod(&asks(), None, &running), None, json!([]), vec![("ModelNotFound", true)]),
        ("not injected", pod(&asks(), None, &running), Some(ready()), json!([]), vec![("NotInjected", true)]),
        ("all is well", pod(&asks(), Some("revisions/new"), &running), Some(ready()), json!([]), vec![]),
        (
            "earlier content",
            pod(&asks(), Some("revisions/old"), &running),
            Some(ready()),
            json!([]),
            vec![("ContentSuperseded", false)],
        ),
        (
            "crashing",
            pod(&asks(), Some("revisions/new"), &crashing),
            Some(ready()),
            json!([]),
            vec![("CrashLoopBackOff", true)],
        ),
        (
            "no node",
            pod(&asks(), Some("revisions/new"), &unplaced),
            Some(ready()),
            json!([]),
            vec![("Unschedulable", true)],
        ),
        (
            "no volume",
            pod(&asks(), Some("revisions/new"), &unmounted),
            Some(ready()),
            attach,
            vec![("VolumeNotMounted", true)],
        ),
        ("gated", gated, Some(ready()), json!([]), vec![("SchedulingGated", true)]),
    ] {
        let events: Vec<Event> = serde_json::from_value(events).unwrap();
        let report = report(&pod, view.as_ref(), &events);
        let words: Vec<_> = report.findings.iter().map(|finding| (finding.reason.as_str(), finding.blocks)).collect();
        assert_eq!(words, want, "{name}");
        assert!(report.findings.iter().all(|finding| !finding.advice.is_empty()), "{name}: {report:?}");
    }
}
