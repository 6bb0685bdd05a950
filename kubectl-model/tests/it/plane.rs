//! One control plane for all tests; a namespace for each.

use std::fmt::Debug;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use dev_cluster::ControlPlane;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::{Client, Config, CustomResourceExt, Resource, ResourceExt};
use model_core::api::Model;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How long a test waits for what must come. It only bounds a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// The content id of every download that a test plays.
const ID: &str = "aaaaaaaaaaaaaaaaaaaa";

pub static PLANE: LazyLock<Plane> = LazyLock::new(Plane::start);

pub struct Plane {
    pub control: ControlPlane,
    /// `kubectl model list` before the cluster knew Models.
    pub before: Run,
}

/// How a process ended.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("output is text");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Run {
    /// Asserts the exit code and gives standard output.
    #[track_caller]
    pub fn ends(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{self:#?}");
        &self.out
    }

    /// Asserts the exit code, and that standard error holds each of these.
    #[track_caller]
    pub fn complains(&self, code: i32, parts: &[&str]) {
        self.ends(code);
        for part in parts {
            assert!(self.err.contains(part), "{part:?} in {self:#?}");
        }
    }
}

impl Plane {
    fn start() -> Self {
        let control = ControlPlane::start().expect("a control plane starts");
        let before = Run::from(plugin(control.kubeconfig(), &["list"]).output().expect("it runs"));
        let kubeconfig = control.kubeconfig().to_owned();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async { install(&client(&kubeconfig).await).await });
        })
        .join()
        .expect("the CRD is there");
        Self { control, before }
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("its kubeconfig is there");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config");
    Client::try_from(config).expect("a client")
}

async fn install(client: &Client) {
    let definition = Model::crd();
    let params = PatchParams::apply("test").force();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.patch(&definition.name_any(), &params, &Patch::Apply(&definition)).await.expect("the CRD is accepted");
    let models: Api<Model> = Api::all(client.clone());
    until("the API serves Models", async || models.list(&ListParams::default()).await.ok()).await;
}

/// The plugin with an environment of its own, ready to run.
pub fn plugin(kubeconfig: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-model"));
    command.env_clear().env("KUBECONFIG", kubeconfig).env("HOME", "/nonexistent").args(args).stdin(Stdio::null());
    command
}

/// Waits until `look` finds something.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "still waiting: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A namespace of one test.
pub struct Scene {
    pub client: Client,
    pub namespace: String,
}

impl Scene {
    pub async fn new(namespace: &str) -> Self {
        // It blocks while it starts.
        tokio::task::spawn_blocking(|| LazyLock::force(&PLANE)).await.expect("the plane starts");
        let client = client(PLANE.control.kubeconfig()).await;
        let metadata = ObjectMeta { name: Some(namespace.to_owned()), ..ObjectMeta::default() };
        let own = Namespace { metadata, ..Namespace::default() };
        Api::all(client.clone()).create(&PostParams::default(), &own).await.expect("a namespace");
        Self { client, namespace: namespace.to_owned() }
    }

    pub fn api<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Runs the plugin in this namespace until it ends.
    pub async fn run(&self, args: &[&str]) -> Run {
        self.run_with(PLANE.control.kubeconfig().to_owned(), args).await
    }

    /// As [`Scene::run`], with another kubeconfig.
    pub async fn run_with(&self, kubeconfig: PathBuf, args: &[&str]) -> Run {
        let mut command = plugin(&kubeconfig, args);
        command.args(["-n", &self.namespace]);
        tokio::task::spawn_blocking(move || command.output().expect("it runs").into()).await.expect("it ends")
    }

    /// Starts the plugin in this namespace, to be followed line by line.
    pub fn follow(&self, args: &[&str]) -> Following {
        let mut command = plugin(PLANE.control.kubeconfig(), args);
        command.args(["-n", &self.namespace]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let (sender, lines) = unbounded_channel();
        let out = BufReader::new(child.stdout.take().expect("its output"));
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Following { child, lines }
    }

    pub async fn create<K>(&self, object: &Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + serde::Serialize,
    {
        let object: K = serde_json::from_value(object.clone()).expect("an object of this kind");
        self.api::<K>().create(&PostParams::default(), &object).await.expect("the object is accepted")
    }

    pub async fn model(&self, name: &str) -> Model {
        self.create(&json!({
            "apiVersion": "models.main-currents.news/v1alpha1",
            "kind": "Model",
            "metadata": { "name": name },
            "spec": { "source": { "huggingFace": { "repoId": "acme/tiny" } }, "storage": { "size": "1Gi" } },
        }))
        .await
    }

    /// Plays the operator: writes a part of the status.
    pub async fn status<K>(&self, name: &str, status: &Value)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api::<K>().patch_status(name, &PatchParams::default(), &patch).await.expect("the status is accepted");
    }

    /// The download Job of a Model, as the operator creates it.
    pub async fn job(&self, model: &Model, claim_uid: &str) -> k8s_openapi::api::batch::v1::Job {
        let persisted = model_core::persisted::Persisted::try_from(model).expect("a Model that was stored");
        let job = model_resources::download_job(&persisted, &model_resources::DownloadSettings::default(), claim_uid);
        self.api().create(&PostParams::default(), &job).await.expect("the Job is accepted")
    }

    /// The claim of a Model, as the operator creates it.
    pub async fn claim(&self, model: &Model) -> k8s_openapi::api::core::v1::PersistentVolumeClaim {
        let persisted = model_core::persisted::Persisted::try_from(model).expect("a Model that was stored");
        self.api()
            .create(&PostParams::default(), &model_resources::claim(&persisted, "1Gi"))
            .await
            .expect("the claim is accepted")
    }

    pub async fn job_fails(&self, name: &str) {
        let now = "2026-01-01T00:00:00Z";
        let conditions = ["FailureTarget", "Failed"].map(|kind| json!({ "type": kind, "status": "True", "lastTransitionTime": now, "message": "played by the test" }));
        let status = json!({ "startTime": now, "uncountedTerminatedPods": {}, "conditions": conditions });
        self.status::<k8s_openapi::api::batch::v1::Job>(name, &status).await;
    }
}

/// A plugin that runs.
pub struct Following {
    child: Child,
    lines: UnboundedReceiver<String>,
}

impl Drop for Following {
    fn drop(&mut self) {
        // Where the test failed it may still run.
        let _ = self.child.kill();
    }
}

impl Following {
    /// The next line of its output. `None`: it has ended.
    pub async fn line(&mut self) -> Option<String> {
        tokio::time::timeout(PATIENCE, self.lines.recv()).await.expect("a line, or the end")
    }

    /// Its exit code and errors, once its output has ended.
    pub async fn end(mut self) -> Run {
        while self.line().await.is_some() {}
        let mut err = String::new();
        self.child.stderr.take().expect("its errors").read_to_string(&mut err).expect("errors are text");
        Run { code: self.child.wait().expect("it ran").code(), out: String::new(), err }
    }
}

/// A status with a phase, as the operator writes it.
pub fn phase(phase: &str, progress: i32, message: &str) -> Value {
    json!({ "phase": phase, "progress": progress, "message": message, "observedGeneration": 1 })
}

/// A status with published content.
pub fn ready(message: &str) -> Value {
    let mut status = phase("Ready", 100, message);
    let source = json!({ "huggingFace": { "repoId": "acme/tiny", "revision": "main" } });
    status["content"] =
        json!({ "id": ID, "path": format!("revisions/{ID}"), "source": source, "bytes": 4 << 20, "verified": true });
    status
}

/// The part of a status that tells how far a download is.
pub fn downloading(downloaded: i64, total: i64, speed: i64) -> Value {
    let progress = i32::try_from(downloaded * 100 / total).expect("a percentage");
    let mut status = phase("Downloading", progress, "downloading");
    status["download"] = json!({
        "id": ID, "attempt": 1, "startedAt": "2026-01-01T00:00:00Z",
        "totalBytes": total, "downloadedBytes": downloaded, "bytesPerSecond": speed,
    });
    status
}
