//! The example, asked by a real API server.

use std::net::TcpListener;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use dev_cluster::ControlPlane;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, WebhookClientConfig};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, CustomResourceExt};
use model_core::api::Model;
use model_webhook::{Certificates, PATH, registration};
use serde_json::json;

/// Only bounds a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends with the test.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "still waiting: {what}: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn pod(name: &str, model: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": name, "annotations": { "models.main-currents.news/inject": model } },
        "spec": { "containers": [{ "name": "app", "image": "myapp:latest" }] },
    }))
    .expect("a pod")
}

#[tokio::test]
async fn pods_are_injected_by_a_server_that_has_routes_of_its_own() {
    let plane = ControlPlane::start().expect("a control plane");
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).expect("its kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config");
    let client = Client::try_from(config).expect("a client");
    let create = PostParams::default();
    Api::<CustomResourceDefinition>::all(client.clone()).create(&create, &Model::crd()).await.expect("the CRD");
    let models: Api<Model> = Api::default_namespaced(client.clone());
    until("Models are served", async || models.list(&ListParams::default()).await.map_err(|error| error.to_string()))
        .await;
    let model = serde_json::from_value(json!({
        "apiVersion": "models.main-currents.news/v1alpha1",
        "kind": "Model",
        "metadata": { "name": "tiny" },
        "spec": { "source": { "huggingFace": { "repoId": "acme/tiny" } }, "storage": { "size": "1Gi" } },
    }))
    .expect("a Model");
    models.create(&create, &model).await.expect("accepted");
    let content = json!({
        "id": "0123456789abcdef0123",
        "path": "revisions/0123456789abcdef0123",
        "source": { "huggingFace": { "repoId": "acme/tiny", "revision": "main" } },
        "verified": true,
    });
    let ready = json!({ "status": { "phase": "Ready", "progress": 100, "content": content } });
    models.patch_status("tiny", &PatchParams::default(), &Patch::Merge(&ready)).await.expect("played the controller");
    // No controller makes it here, and pods need one.
    let account: ServiceAccount = serde_json::from_value(json!({ "metadata": { "name": "default" } })).expect("one");
    Api::default_namespaced(client.clone()).create(&create, &account).await.expect("a service account");

    let directory = tempfile::tempdir().expect("a directory");
    let certificates = Certificates::generate(&["127.0.0.1".to_owned()]).expect("certificates");
    certificates.write(directory.path()).expect("written");
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr()).expect("a free port").port();
    let _service = Service(
        Command::new(env!("CARGO_BIN_EXE_injection-service"))
            .arg(port.to_string())
            .args(["tls.crt", "tls.key"].map(|file| directory.path().join(file)))
            .env("KUBECONFIG", plane.kubeconfig())
            .spawn()
            .expect("it starts"),
    );
    let client_config = WebhookClientConfig {
        url: Some(format!("https://127.0.0.1:{port}{PATH}")),
        ca_bundle: Some(ByteString(certificates.ca.clone().into_bytes())),
        service: None,
    };
    let configuration = registration::configuration(client_config, "model-system");
    Api::<MutatingWebhookConfiguration>::all(client.clone()).create(&create, &configuration).await.expect("registered");

    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    until("a pod of an unknown model is denied by the service", async || {
        match pods.create(&PostParams { dry_run: true, ..create.clone() }, &pod("lost", "no-such-model")).await {
            Err(kube::Error::Api(status)) if status.message.contains("model not found") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let injected = pods.create(&create, &pod("reader", "tiny")).await.expect("admitted").spec.expect("a spec");
    let mounts = injected.containers[0].volume_mounts.as_ref().expect("mounts");
    let mount = mounts.iter().find(|mount| mount.mount_path == "/models/tiny").expect("the model is mounted");
    assert_eq!((mount.name.as_str(), mount.read_only), ("model-tiny", Some(true)));
}
