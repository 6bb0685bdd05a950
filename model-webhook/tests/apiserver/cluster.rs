//! One control plane for all tests of this binary, and what each test does with it.

use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use dev_cluster::ControlPlane;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use model_core::api::Model;
use serde_json::{Value, json};

/// Far beyond what any machine needs.
const PATIENCE: Duration = Duration::from_secs(90);

/// CRD, namespace and rights are applied from `config/`, as an installation does. It ends with the process.
static CLUSTER: LazyLock<ControlPlane> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cluster = ControlPlane::start().unwrap();
    for path in ["manager/namespace.yaml", "crd", "rbac"] {
        run(&cluster, &["apply", "-f", config(path).to_str().unwrap()], "");
    }
    run(
        &cluster,
        &["wait", "--for=condition=Established", "crd/models.models.main-currents.news", "--timeout=60s"],
        "",
    );
    cluster
});

/// A path below `config/`.
pub fn config(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(path)
}

fn run(cluster: &ControlPlane, args: &[&str], stdin: &str) -> Output {
    let output = kubectl_in(cluster, args, stdin);
    assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn kubectl_in(cluster: &ControlPlane, args: &[&str], stdin: &str) -> Output {
    let mut command = cluster.kubectl();
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Runs `kubectl`; the output on success, else what it says on standard error.
pub async fn kubectl(args: &[&str], stdin: &str) -> Result<String, String> {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    let stdin = stdin.to_owned();
    let output =
        blocking(move || kubectl_in(&CLUSTER, &args.iter().map(String::as_str).collect::<Vec<_>>(), &stdin)).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// Runs `kubectl` and gives all that it says, warnings among it.
pub async fn kubectl_says(args: &[&str], stdin: &str) -> String {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    let stdin = stdin.to_owned();
    let output =
        blocking(move || kubectl_in(&CLUSTER, &args.iter().map(String::as_str).collect::<Vec<_>>(), &stdin)).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    [output.stderr, output.stdout].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

/// The administrator's.
pub async fn kubeconfig() -> Kubeconfig {
    blocking(|| Kubeconfig::read_from(CLUSTER.kubeconfig()).unwrap()).await
}

/// Runs commands as a person would, with `kubectl` as the administrator; what they say on standard error if one fails.
pub async fn bash(commands: &str) -> Result<(), String> {
    let commands = format!("set -euo pipefail\n{commands}");
    let output = blocking(move || {
        let kubectl = CLUSTER.kubectl();
        let directory = Path::new(kubectl.get_program()).parent().unwrap();
        let path = std::env::join_paths(
            [directory.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &commands]).envs(kubectl.get_envs().filter_map(|(key, value)| Some((key, value?))));
        bash.env("PATH", path.unwrap()).env("KUBECONFIG", CLUSTER.kubeconfig()).output().unwrap()
    })
    .await;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8(output.stderr).unwrap()) }
}

/// A client of the administrator, or of the identity that the administrator takes on.
pub async fn client(identity: Option<&str>) -> Client {
    let mut config = Config::from_custom_kubeconfig(kubeconfig().await, &KubeConfigOptions::default()).await.unwrap();
    config.auth_info.impersonate = identity.map(str::to_owned);
    Client::try_from(config).unwrap()
}

/// A new namespace of this name.
pub async fn namespace(client: &Client, name: &str) {
    let namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
}

/// A Model in this namespace, with a status as the controller would write it.
pub async fn model(client: &Client, namespace: &str, name: &str, status: Value) {
    let models: Api<Model> = Api::namespaced(client.clone(), namespace);
    let model = serde_json::from_value(json!({
        "apiVersion": "models.main-currents.news/v1alpha1",
        "kind": "Model",
        "metadata": { "name": name },
        "spec": {
            "source": { "huggingFace": { "repoId": "meta-llama/Llama-3.1-8B-Instruct" } },
            "storage": { "size": "20Gi" }
        }
    }));
    models.create(&PostParams::default(), &model.unwrap()).await.unwrap();
    set_status(client, namespace, name, status).await;
}

/// Changes the Model's status.
pub async fn set_status(client: &Client, namespace: &str, name: &str, status: Value) {
    let models: Api<Model> = Api::namespaced(client.clone(), namespace);
    let patch = Patch::Merge(json!({ "status": status }));
    models.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

/// The status of a Model whose files are published.
pub fn ready() -> Value {
    json!({
        "phase": "Ready",
        "progress": 100,
        "content": {
            "id": "0123456789abcdef0123",
            "path": "revisions/0123456789abcdef0123",
            "source": { "huggingFace": { "repoId": "meta-llama/Llama-3.1-8B-Instruct", "revision": "main" } },
            "verified": true
        }
    })
}

/// Asks until the answer is there: what one part of a cluster writes, another sees a little later.
pub async fn eventually<T, F: Future<Output = Result<T, String>>>(mut ask: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(instead) => assert!(start.elapsed() < PATIENCE, "still: {instead}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
