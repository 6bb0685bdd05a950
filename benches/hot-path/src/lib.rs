//! What runs for every Model and every pod, as cases that can be timed (`cargo bench -p bench-hot-path`) and whose
//! instructions and allocations can be counted (`ci/instructions`). Counts repeat; times do not.

use std::hint::black_box;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use model_core::api::{HuggingFaceSource, Model, ModelSpec, Source, Storage};
use model_core::decide::{Decision, decide};
use model_core::observed::{
    Observed, Placement, PlanState, PruneJob, Refusal, VerifyJob, claim_details, claim_state, job_state,
};
use model_core::persisted::{Downloader, Persisted};
use model_core::status::status;
use model_loader::manifest::Manifest;
use model_resources::inject::{inject, parse, ready_model};
use model_resources::{DownloadSettings, claim, download_job};
use serde_json::{Value, json};

const POD: &str = include_str!("../../operator/src/pod.json");

/// One thing that is done often.
pub struct Case {
    /// A word for tables.
    pub name: &'static str,
    run: Box<dyn Fn()>,
}

impl Case {
    fn new<T>(name: &'static str, run: impl Fn() -> T + 'static) -> Self {
        Self { name, run: Box::new(move || drop(black_box(run()))) }
    }

    /// Does it once.
    pub fn run(&self) {
        (self.run)();
    }
}

/// All of them.
#[must_use]
pub fn cases() -> Vec<Case> {
    let settled = Scene::settled();
    let ready = settled.model.clone();
    let pod = asking_pod();
    let (sent, manifest) = (pod.to_string().into_bytes(), manifest(1000));
    vec![
        Case::new("decide-new", || Scene::new().pass()),
        Case::new("decide-settled", move || settled.pass()),
        Case::new("build-claim-and-job", build),
        Case::new("inject", move || patch(&pod, &ready)),
        Case::new("read-pod", move || serde_json::from_slice::<Value>(&sent).is_ok()),
        Case::new("read-manifest", move || serde_json::from_slice::<Manifest>(&manifest).is_ok()),
    ]
}

/// A Model with its children, as the watch caches hold them.
struct Scene {
    model: Model,
    claim: Option<PersistentVolumeClaim>,
    job: Option<Job>,
}

impl Scene {
    fn new() -> Self {
        let source = Source::HuggingFace(HuggingFaceSource::new("meta-llama/Llama-3.1-8B-Instruct"));
        let mut model = Model::new("llama-3-8b", ModelSpec::new(source, Storage::of_size("40Gi")));
        model.metadata.namespace = Some("team-a".into());
        model.metadata.uid = Some("0b5ee3ac-0d9c-4b1c-a2fd-7a1b6b5bb001".into());
        model.metadata.generation = Some(1);
        Self { model, claim: None, job: None }
    }

    /// Downloaded, and nothing to do any more.
    fn settled() -> Self {
        let mut scene = Self::new();
        let (mut claim, mut job) = children(&persisted(&scene.model));
        claim.metadata.uid = Some(CLAIM_UID.into());
        claim.status = serde_json::from_value(json!({ "phase": "Bound", "capacity": { "storage": "40Gi" } })).ok();
        job.metadata.uid = Some("job-uid".into());
        let complete = json!({ "conditions": [{ "type": "Complete", "status": "True" }] });
        job.status = serde_json::from_value(complete).ok();
        (scene.claim, scene.job) = (Some(claim), Some(job));
        for _ in 0..3 {
            let (_, recorded) = scene.pass();
            scene.model.status = Some(recorded);
        }
        assert!(scene.pass().0.writes.is_empty(), "the scene is settled");
        scene
    }

    /// Observe and decide, as for every change of an object.
    fn pass(&self) -> (Decision, model_core::api::ModelStatus) {
        let now: Timestamp = Timestamp::UNIX_EPOCH;
        let model = persisted(&self.model);
        let claim = claim_state(&model, self.claim.as_ref(), None, None);
        let job = job_state(&model, &claim, self.job.as_ref(), None, None, Refusal::NotRead, now);
        let seen = Observed {
            model: &model,
            wanted_path: model.content_path(&downloader()),
            claim_details: self.claim.as_ref().map(|claim| claim_details(&model, claim, None)),
            claim,
            placement: Placement::default(),
            job,
            plan: PlanState::Absent,
            checks_full: false,
            writer: None,
            queue: None,
            prune: PruneJob::Absent,
            users: None,
            verify: VerifyJob::Absent,
            can_verify: true,
        };
        let decision = decide(&seen, now);
        let status = status(&seen, &decision, now);
        (decision, status)
    }
}

const CLAIM_UID: &str = "f3b6a7ac-2d6d-4c6e-9f57-1d5be5a7c001";

fn downloader() -> Downloader {
    Downloader::Loader { image: "registry.example.com/models/model-loader:v1".into() }
}

fn persisted(model: &Model) -> Persisted<'_> {
    Persisted::try_from(model).expect("the Model has all that an API server sets")
}

fn children(model: &Persisted) -> (PersistentVolumeClaim, Job) {
    (claim(model, "40Gi"), download_job(model, &DownloadSettings::new(downloader()), CLAIM_UID))
}

/// The children of a new Model, as they are sent.
fn build() -> (Vec<u8>, Vec<u8>) {
    let scene = Scene::new();
    let (claim, job) = children(&persisted(&scene.model));
    let sent = |value| serde_json::to_vec(value).unwrap_or_default();
    (sent(&json!(claim)), sent(&json!(job)))
}

fn asking_pod() -> Value {
    let mut pod: Value = serde_json::from_str(POD).expect("the pod of the bench is JSON");
    pod["metadata"]["annotations"] = json!({ "models.main-currents.news/inject": "llama-3-8b" });
    pod
}

/// What the webhook computes for a pod that asks for a Model.
fn patch(pod: &Value, model: &Model) -> Vec<u8> {
    let wish = parse(pod).expect("the annotations are sound").expect("the pod asks for a Model");
    let ready = ready_model("llama-3-8b", "team-a", Some(model)).expect("the Model is ready");
    let patch = inject(pod, &wish, &[ready]).expect("it can be mounted");
    serde_json::to_vec(&patch).unwrap_or_default()
}

/// The manifest of a model of so many files.
fn manifest(files: usize) -> Vec<u8> {
    let file = |number: usize| {
        json!({
            "path": format!("model-{number:05}-of-{files:05}.safetensors"),
            "size": 4_976_698_672_u64,
            "digest": format!("sha256:{number:064x}"),
            "verified": true,
        })
    };
    let manifest = json!({
        "formatVersion": 1,
        "source": "hf://meta-llama/Llama-3.1-8B-Instruct@main",
        "request": "0123456789abcdef",
        "resolvedRevision": "0e9e39f249a16976918f6564b8830bc894c89659",
        "bytes": 4_976_698_672_u64,
        "files": (0..files).map(file).collect::<Vec<_>>(),
        "startedAt": "2026-01-01T00:00:00Z",
        "finishedAt": "2026-01-01T00:10:00Z",
    });
    manifest.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cases_do_what_they_say() {
        let pod = asking_pod();
        assert!(String::from_utf8_lossy(&patch(&pod, &Scene::settled().model)).contains("volumeMounts"));
        let read: Manifest = serde_json::from_slice(&manifest(3)).expect("the manifest is sound");
        assert_eq!(read.files.len(), 3);
        assert!(!Scene::new().pass().0.writes.is_empty());
        for case in cases() {
            case.run();
        }
    }
}
