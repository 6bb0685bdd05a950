//! One control plane with one controller for all tests; a namespace for each.

use std::fmt::Debug;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use dev_cluster::ControlPlane;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Namespace, PersistentVolumeClaim, Pod, ServiceAccount};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, CustomResourceExt, ResourceExt};
use model_controller::{DownloadSettings, controller};
use model_core::api::{Model, ModelStatus, Phase};
use model_core::persisted::Downloader;
use serde_json::{Value, json};

/// How long a test waits for what must come. It only bounds a failure.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);

static PLANE: LazyLock<ControlPlane> = LazyLock::new(|| {
    let plane = ControlPlane::start().expect("a control plane starts");
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).expect("its kubeconfig is there");
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || run_controller(kubeconfig, &ready));
    is_ready.recv().expect("the controller starts");
    plane
});

/// Runs a controller on a thread of its own, for as long as the tests run.
fn run_controller(kubeconfig: Kubeconfig, ready: &std::sync::mpsc::Sender<()>) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client = client(kubeconfig).await;
        install(&client).await;
        let controller = controller(client, settings());
        let readiness = controller.readiness();
        assert!(!readiness.is_ready());
        let running = tokio::spawn(controller.run_until(std::future::pending()));
        until("the controller is ready", async || readiness.is_ready().then_some(())).await;
        ready.send(()).expect("somebody waits");
        running.await.expect("the controller never ends").expect("it has no lease to lose");
    });
}

/// Downloads with the loader.
pub fn settings() -> DownloadSettings {
    let downloader = Downloader::Loader { image: "model-loader:dev".into() };
    DownloadSettings::new(downloader)
}

pub async fn client(kubeconfig: Kubeconfig) -> Client {
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config");
    Client::try_from(config).expect("a client")
}

/// Has the API server know Models and a default storage class.
pub async fn install(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply("test").force();
    let definition = Model::crd();
    definitions.patch(&definition.name_any(), &params, &Patch::Apply(&definition)).await.expect("the CRD is accepted");
    let class: StorageClass = serde_json::from_value(json!({
        "metadata": { "name": "default", "annotations": { "storageclass.kubernetes.io/is-default-class": "true" } },
        "provisioner": "nobody",
    }))
    .expect("a class");
    Api::all(client.clone()).create(&PostParams::default(), &class).await.expect("a default storage class");
    let models: Api<Model> = Api::all(client.clone());
    until("the API serves Models", async || models.list(&ListParams::default()).await.ok()).await;
}

/// Waits until `look` finds something.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "still waiting: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// A namespace of one test, with what a user and the cluster do in it.
pub struct Scene {
    pub client: Client,
    pub namespace: String,
    pub models: Api<Model>,
    pub claims: Api<PersistentVolumeClaim>,
    pub jobs: Api<Job>,
}

impl Scene {
    pub async fn new(namespace: &str) -> Self {
        let client = client(Kubeconfig::read_from(PLANE.kubeconfig()).expect("its kubeconfig is there")).await;
        Self::of(client, namespace).await
    }

    /// In the cluster of this client.
    pub async fn of(client: Client, namespace: &str) -> Self {
        let metadata = ObjectMeta { name: Some(namespace.to_owned()), ..ObjectMeta::default() };
        let own = Namespace { metadata, ..Namespace::default() };
        Api::all(client.clone()).create(&PostParams::default(), &own).await.expect("a namespace");
        Self {
            models: Api::namespaced(client.clone(), namespace),
            claims: Api::namespaced(client.clone(), namespace),
            jobs: Api::namespaced(client.clone(), namespace),
            namespace: namespace.to_owned(),
            client,
        }
    }

    pub async fn apply(&self, url: &str) -> Model {
        self.apply_with(url, Value::Null).await
    }

    pub async fn apply_with(&self, url: &str, class: Value) -> Model {
        let model = json!({
            "apiVersion": "models.main-currents.news/v1alpha1",
            "kind": "Model",
            "metadata": { "name": "llama" },
            "spec": { "source": { "url": { "url": url } }, "storage": { "size": "1Gi", "storageClass": class } },
        });
        let params = PatchParams::apply("user").force();
        self.models.patch("llama", &params, &Patch::Apply(&model)).await.expect("the Model is accepted")
    }

    pub async fn status(&self) -> ModelStatus {
        self.models.get("llama").await.expect("the Model is there").status.unwrap_or_default()
    }

    /// Waits until the status is as wanted.
    pub async fn status_with(&self, what: &str, wanted: impl Fn(&ModelStatus) -> bool) -> ModelStatus {
        let mut last = ModelStatus::default();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status().await;
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "still waiting: {what}; the status is {last:#?}");
            last = status;
            tokio::time::sleep(LOOK).await;
        }
    }

    pub async fn phase(&self, phase: Phase) -> ModelStatus {
        self.status_with(phase.as_str(), |status| status.phase == Some(phase)).await
    }

    /// Waits for a download Job other than `not`.
    pub async fn job(&self, not: Option<&str>) -> Job {
        until("a new Job", async || {
            let job = self.jobs.get_opt("model-download-llama").await.expect("Jobs can be read")?;
            (job.uid().as_deref() != not && job.metadata.deletion_timestamp.is_none()).then_some(job)
        })
        .await
    }

    pub async fn job_ends(&self, condition: &str) {
        self.ends("model-download-llama", condition).await;
    }

    /// The Job of this name ends.
    pub async fn ends(&self, job: &str, condition: &str) {
        let status = end_of_job(&self.client, condition).await;
        self.patch_status(&self.jobs, job, &status).await;
    }

    /// Has the namespace the account that pods need.
    pub async fn takes_pods(&self) {
        let account = json!({ "metadata": { "name": "default" } });
        let account: ServiceAccount = serde_json::from_value(account).expect("an account");
        let accounts = Api::namespaced(self.client.clone(), &self.namespace);
        accounts.create(&PostParams::default(), &account).await.expect("the account is accepted");
    }

    /// The pod of the Model's Job runs on this node.
    pub async fn runs(&self, model: &str, node: &str) {
        let job_name = format!("model-download-{model}");
        let job: Job = until("a Job", async || self.jobs.get_opt(&job_name).await.expect("Jobs can be read")).await;
        let owner = json!([{ "apiVersion": "batch/v1", "kind": "Job", "name": job_name, "uid": job.uid(), "controller": true }]);
        let pod = json!({
            "metadata": {
                "name": model, "ownerReferences": owner,
                "labels": { "models.main-currents.news/model": model, "app.kubernetes.io/managed-by": "model-operator" },
            },
            "spec": {
                "nodeName": node, "automountServiceAccountToken": false,
                "containers": [{ "name": "download", "image": "loader" }],
            },
        });
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let pod = serde_json::from_value(pod).expect("a pod");
        pods.create(&PostParams::default(), &pod).await.expect("the pod is accepted");
        self.patch_status(&pods, model, &json!({ "phase": "Running" })).await;
    }

    pub async fn patch_status<K>(&self, api: &Api<K>, name: &str, status: &Value)
    where
        K: Clone + Debug + serde::de::DeserializeOwned,
    {
        let patch = json!({ "status": status });
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("the status is accepted");
    }

    pub async fn delete_job(&self) {
        self.jobs.delete("model-download-llama", &DeleteParams::background()).await.expect("the Job is deleted");
    }

    /// Deletes the claim and, as the cluster does once no pod mounts it, takes its finalizer off.
    pub async fn lose_claim(&self) {
        self.claims.delete("model-llama", &DeleteParams::default()).await.expect("the claim is deleted");
        let free = json!({ "metadata": { "finalizers": null } });
        self.claims.patch("model-llama", &PatchParams::default(), &Patch::Merge(&free)).await.ok();
    }

    /// The reasons of the Events on the Model, in order.
    pub async fn events(&self) -> Vec<String> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut all = events.list(&ListParams::default()).await.expect("Events can be listed").items;
        all.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
        all.into_iter().filter_map(|event| event.reason).collect()
    }
}

/// The status of a Job that has ended with this condition, as the Job controller of this API server's version writes it.
pub async fn end_of_job(client: &Client, condition: &str) -> Value {
    let now = "2026-01-01T00:00:00Z";
    // From 1.31 on Jobs first say that they will end, and those that do not are refused. 1.30 refuses those that do.
    let version = client.apiserver_version().await.expect("the API server tells its version");
    let foretells = version.minor != "30";
    let before = if condition == "Complete" { "SuccessCriteriaMet" } else { "FailureTarget" };
    let before = foretells.then(|| json!({ "type": before, "status": "True", "lastTransitionTime": now }));
    let end =
        json!({ "type": condition, "status": "True", "lastTransitionTime": now, "message": "played by the test" });
    let mut status = json!({
        "startTime": now,
        "uncountedTerminatedPods": {},
        "conditions": before.into_iter().chain([end]).collect::<Vec<_>>(),
    });
    if condition == "Complete" {
        status["completionTime"] = json!(now);
    }
    status
}
