//! Pods that wait for the Model `llama`. Nothing admits or runs pods there: each test plays webhook and scheduler.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use dev_cluster::ControlPlane;
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Event, Pod, ServiceAccount};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::config::Kubeconfig;
use model_controller::{LeaseLost, controller};
use model_core::api::{Model, Phase};
use model_core::persisted::wanted_content_id;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::plane::{Scene, client, install, settings, until};

const GATE: &str = "models.main-currents.news/model-not-ready";
const FOREIGN: &str = "kueue.x-k8s.io/admission";

/// A pod as the webhook leaves it while the Model is not Ready.
fn gated(name: &str, model: &Model) -> Pod {
    let id = wanted_content_id(model);
    serde_json::from_value(json!({
        "metadata": {
            "name": name,
            "labels": { "models.main-currents.news/gated": "true", "models.main-currents.news/injected": "true" },
            "annotations": {
                "models.main-currents.news/inject": "llama",
                "models.main-currents.news/waits-for": format!("llama={id}"),
            },
        },
        "spec": {
            "automountServiceAccountToken": false,
            "schedulingGates": [{ "name": FOREIGN }, { "name": GATE }],
            "volumes": [{ "name": "model-llama", "persistentVolumeClaim": { "claimName": "model-llama", "readOnly": true } }],
            "containers": [{
                "name": "app", "image": "app",
                "volumeMounts": [{ "name": "model-llama", "mountPath": "/models/llama", "subPath": format!("revisions/{id}") }],
            }],
        },
    }))
    .expect("a pod")
}

/// The same, with a `ReplicaSet` that would make a new one.
fn owned(name: &str, model: &Model) -> Pod {
    let owner =
        json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app", "uid": "u", "controller": true }]);
    let mut pod = gated(name, model);
    pod.metadata.owner_references = serde_json::from_value(owner).expect("an owner");
    pod
}

struct Pods(Api<Pod>, Api<Event>);

impl Pods {
    async fn of(scene: &Scene) -> Self {
        // The namespace's service account is made by a controller that does not run here.
        let account = serde_json::from_value(json!({ "metadata": { "name": "default" } })).unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(scene.client.clone(), &scene.namespace);
        accounts.create(&PostParams::default(), &account).await.unwrap();
        let (client, namespace) = (scene.client.clone(), &scene.namespace);
        Self(Api::namespaced(client.clone(), namespace), Api::namespaced(client, namespace))
    }

    async fn create(&self, pod: &Pod) -> Pod {
        self.0.create(&PostParams::default(), pod).await.unwrap()
    }

    async fn gates(&self, name: &str) -> Vec<String> {
        let pod = self.0.get(name).await.unwrap();
        pod.spec.unwrap().scheduling_gates.unwrap_or_default().into_iter().map(|gate| gate.name).collect()
    }

    async fn let_go(&self, name: &str) {
        until("the gate is taken off", async || (self.gates(name).await == [FOREIGN]).then_some(())).await;
        let labels = self.0.get(name).await.unwrap().metadata.labels.unwrap();
        assert_eq!(labels, BTreeMap::from([("models.main-currents.news/injected".to_owned(), "true".to_owned())]));
    }

    /// `REASON MESSAGE` of the Events on a pod.
    async fn told(&self, pod: &str) -> Vec<String> {
        let of_pod = ListParams::default().fields(&format!("involvedObject.name={pod}"));
        let mut events = self.1.list(&of_pod).await.unwrap().items;
        events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
        let line = |event: Event| format!("{} {}", event.reason.unwrap(), event.message.unwrap());
        events.into_iter().map(line).collect()
    }

    async fn is_told(&self, pod: &str, start: &str) -> String {
        until(start, async || self.told(pod).await.into_iter().find(|line| line.starts_with(start))).await
    }
}

#[tokio::test]
async fn a_pod_is_let_go_when_its_model_is_ready() {
    let scene = Scene::new("gates").await;
    let pods = Pods::of(&scene).await;
    let model = scene.apply("https://example.com/a").await;
    scene.phase(Phase::Downloading).await;
    pods.create(&gated("app", &model)).await;
    pods.is_told("app", "WaitingForModel waiting for model llama: it is Downloading").await;
    assert_eq!(pods.gates("app").await, [FOREIGN, GATE]);

    scene.job_ends("Failed").await;
    let failed = pods.is_told("app", "WaitingForModel waiting for model llama: it is Failed").await;
    assert!(failed.contains("kubectl describe --namespace gates model/llama"), "{failed}");
    scene.delete_job().await;
    scene.phase(Phase::Downloading).await;
    scene.job_ends("Complete").await;
    pods.let_go("app").await;
    pods.is_told("app", "ModelsReady all models of the pod are published").await;

    // One that comes late, as when the Model became Ready while it was being admitted, is let go at once.
    pods.create(&gated("late", &model)).await;
    pods.let_go("late").await;
    let mut told = pods.told("app").await;
    let all = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), all, "told twice: {told:?}");
}

#[tokio::test]
async fn a_pod_whose_content_was_superseded_is_replaced_or_told() {
    let scene = Scene::new("superseded").await;
    let pods = Pods::of(&scene).await;
    let first = scene.apply("https://example.com/a").await;
    let old_job = scene.job(None).await.uid();
    pods.create(&owned("owned", &first)).await;
    pods.create(&gated("bare", &first)).await;
    pods.is_told("bare", "WaitingForModel").await;

    let second = scene.apply("https://example.com/b").await;
    until("the owned pod is deleted", async || pods.0.get_opt("owned").await.unwrap().is_none().then_some(())).await;
    for name in ["owned", "bare"] {
        let told = pods.is_told(name, "ContentSuperseded model llama now asks for other content").await;
        assert!(told.contains("delete the pod and create it again"), "{told}");
    }
    assert_eq!(pods.gates("bare").await, [FOREIGN, GATE]);
    // What its ReplicaSet makes in its place waits for the new content.
    pods.create(&owned("new", &second)).await;
    let job = scene.job(old_job.as_deref()).await;
    scene.job_ends("Complete").await;
    pods.let_go("new").await;
    assert_eq!(pods.gates("bare").await, [FOREIGN, GATE], "the new content is not what it mounts");

    // It is not lost for good.
    scene.apply("https://example.com/a").await;
    scene.job(job.uid().as_deref()).await;
    scene.job_ends("Complete").await;
    pods.let_go("bare").await;
}

#[tokio::test]
async fn a_pod_outlives_the_model_that_it_waits_for() {
    let scene = Scene::new("gate-model-gone").await;
    let pods = Pods::of(&scene).await;
    let model = scene.apply("https://example.com/a").await;
    let job = scene.job(None).await.uid();
    pods.create(&owned("app", &model)).await;
    pods.is_told("app", "WaitingForModel").await;
    scene.models.delete("llama", &DeleteParams::default()).await.unwrap();
    let told = pods.is_told("app", "ModelGone model llama is gone").await;
    assert!(told.contains("create it again with the same source and version"), "{told}");
    assert_eq!(pods.gates("app").await, [FOREIGN, GATE]);
    // No garbage collector runs here.
    scene.delete_job().await;
    scene.lose_claim().await;
    scene.apply("https://example.com/a").await;
    scene.job(job.as_deref()).await;
    scene.job_ends("Complete").await;
    pods.let_go("app").await;
}

/// A controller that can be stopped, and that `stop` waits for.
struct Running(oneshot::Sender<()>, tokio::task::JoinHandle<Result<(), LeaseLost>>);

impl Running {
    async fn start(plane: &ControlPlane) -> Self {
        let client = client(Kubeconfig::read_from(plane.kubeconfig()).unwrap()).await;
        let (stop, stopped) = oneshot::channel::<()>();
        let running = controller(client, settings()).run_until(async move { _ = stopped.await });
        Self(stop, tokio::spawn(running))
    }

    async fn stop(self) {
        self.0.send(()).unwrap();
        self.1.await.unwrap().expect("it has no lease to lose");
    }
}

/// On a control plane of its own, because its controller is stopped while the Model becomes Ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_pods_are_let_go_after_a_restart() {
    const PODS: usize = 1000;
    let plane = tokio::task::spawn_blocking(|| ControlPlane::start().expect("a control plane starts")).await.unwrap();
    let client = client(Kubeconfig::read_from(plane.kubeconfig()).unwrap()).await;
    install(&client).await;
    let scene = Scene::of(client, "thousand").await;
    let pods = Pods::of(&scene).await;
    let first = Running::start(&plane).await;
    let model = scene.apply("https://example.com/a").await;
    scene.phase(Phase::Downloading).await;
    let create = |index: usize| {
        let (pods, pod) = (&pods, gated(&format!("app-{index}"), &model));
        async move { pods.create(&pod).await }
    };
    stream::iter(0..PODS).map(create).buffer_unordered(16).for_each(async |_| ()).await;
    let told = async |reason: &str| {
        let of_reason = ListParams::default().fields(&format!("reason={reason}"));
        pods.1.list_metadata(&of_reason).await.unwrap().items.len()
    };
    until("each pod is told", async || (told("WaitingForModel").await >= PODS).then_some(())).await;
    first.stop().await;

    scene.job_ends("Complete").await;
    let start = Instant::now();
    let second = Running::start(&plane).await;
    let waiting = ListParams::default().labels("models.main-currents.news/gated=true");
    until("no pod waits", async || pods.0.list_metadata(&waiting).await.unwrap().items.is_empty().then_some(())).await;
    println!("{PODS} pods were let go {:.1} s after the controller's start", start.elapsed().as_secs_f32());
    until("each pod is told", async || (told("ModelsReady").await == PODS).then_some(())).await;
    // The second controller said nothing that the first had said already, but for what was new to it.
    let all = pods.0.list(&ListParams::default()).await.unwrap();
    assert_eq!(all.items.len(), PODS);
    for pod in &all {
        let gates: Value = json!(pod.spec.as_ref().unwrap().scheduling_gates);
        assert_eq!(gates, json!([{ "name": FOREIGN }]), "{}", pod.name_any());
    }
    let mut lines = BTreeSet::new();
    for event in pods.1.list(&ListParams::default()).await.unwrap() {
        let line = (event.involved_object.name, event.reason, event.message);
        assert!(lines.insert(line.clone()), "told twice: {line:?}");
    }
    second.stop().await;
}
