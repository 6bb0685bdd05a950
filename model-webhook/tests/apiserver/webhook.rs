//! A webhook that runs in the test's process, registered with the API server for one namespace.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use clap::{Args, FromArgMatches};

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration, WebhookClientConfig};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
use kube::Client;
use kube::api::{Api, PostParams};
use model_webhook::{Certificates, Options, PATH, Server, ServerError, registration};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::cluster::{client, eventually, namespace};

/// Who the webhook is in the cluster: it has the rights of `config/rbac/webhook.yaml` and no others.
const IDENTITY: &str = "system:serviceaccount:model-system:model-webhook";

/// A namespace with a webhook of its own.
pub struct World {
    pub client: Client,
    pub namespace: String,
    /// `None` once it was stopped.
    server: Option<Running>,
}

impl World {
    /// A namespace of this name, whose annotated pods go through a webhook of its own.
    pub async fn new(name: &str) -> Self {
        Self::with(name, |_| ()).await
    }

    /// The same, with a change to the registration.
    pub async fn with(name: &str, change: impl FnOnce(&mut MutatingWebhook)) -> Self {
        let client = client(None).await;
        namespace(&client, name).await;
        let server = Running::start().await;
        let client_config = client_config(server.port, PATH, &server.certificates);
        register(&client, name, client_config, change).await;
        let world = Self { client, namespace: name.to_owned(), server: Some(server) };
        // The API server asks about pods a moment after it was told to.
        eventually(|| async {
            match world.create(world.pod("probe", "no-such-model"), true).await {
                Err(denied) if denied.contains("model not found") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        world
    }

    /// Stops the webhook, and leaves it registered.
    pub async fn stop_webhook(&mut self) {
        self.server.take().unwrap().stop().await.unwrap().unwrap();
    }

    /// A pod of this name that asks for these models.
    pub fn pod(&self, name: &str, models: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "annotations": { "models.main-currents.news/inject": models }
            },
            "spec": { "containers": [{ "name": "app", "image": "myapp:latest" }] }
        })
    }

    /// Creates the pod; what was stored, or the message of the refusal.
    pub async fn create(&self, pod: Value, dry_run: bool) -> Result<Pod, String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = PostParams { dry_run, ..PostParams::default() };
        pods.create(&params, &serde_json::from_value(pod).unwrap()).await.map_err(|error| match error {
            kube::Error::Api(status) => status.message,
            other => other.to_string(),
        })
    }

    /// Creates the pod as soon as the webhook has seen the Model's last change.
    pub async fn create_eventually(&self, pod: Value) -> Pod {
        eventually(|| self.create(pod.clone(), false)).await
    }
}

/// Registers what `config/` registers, for this namespace alone, because all tests share the API server.
pub async fn register(
    client: &Client,
    namespace: &str,
    client_config: WebhookClientConfig,
    change: impl FnOnce(&mut MutatingWebhook),
) {
    register_as(&format!("model-webhook-{namespace}"), client, namespace, client_config, change).await;
}

/// The same, under this name.
pub async fn register_as(
    name: &str,
    client: &Client,
    namespace: &str,
    client_config: WebhookClientConfig,
    change: impl FnOnce(&mut MutatingWebhook),
) {
    let mut configuration = registration::configuration(client_config, "model-system");
    configuration.metadata.name = Some(name.to_owned());
    let webhook = &mut configuration.webhooks.as_mut().unwrap()[0];
    webhook.namespace_selector.as_mut().unwrap().match_expressions.as_mut().unwrap().push(LabelSelectorRequirement {
        key: "kubernetes.io/metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![namespace.to_owned(), "model-system".to_owned()]),
    });
    change(webhook);
    let configurations = Api::<MutatingWebhookConfiguration>::all(client.clone());
    configurations.create(&PostParams::default(), &configuration).await.unwrap();
}

/// Free ports, the loader's place of files, and this directory of certificates.
pub fn options(cert_dir: &Path, namespaces: &[&str]) -> Options {
    let command = Options::augment_args(clap::Command::new("model-webhook"));
    let matches = command.get_matches_from(["model-webhook", "--downloader", "loader"]);
    let mut options = Options::from_arg_matches(&matches).unwrap();
    (options.port, options.health_port, options.metrics_port) = (0, 0, 0);
    cert_dir.clone_into(&mut options.cert_dir);
    options.watch_namespaces = namespaces.iter().map(|&name| name.to_owned()).collect();
    options
}

/// A webhook that runs.
pub struct Running {
    pub port: u16,
    pub health_port: u16,
    pub metrics_port: u16,
    pub certificates: Certificates,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), ServerError>>,
    _directory: TempDir,
}

impl Running {
    /// Starts one on free ports and waits until it is ready.
    pub async fn start() -> Self {
        Self::start_as(IDENTITY, &[]).await
    }

    /// The same for some namespaces, with the rights of another user.
    pub async fn start_as(identity: &str, namespaces: &[&str]) -> Self {
        let client = client(Some(identity)).await;
        let directory = tempfile::tempdir().unwrap();
        let certificates = Certificates::generate(&["127.0.0.1".to_owned()]).unwrap();
        certificates.write(directory.path()).unwrap();
        let options = options(directory.path(), namespaces);
        let server = Server::bind(&options).await.unwrap();
        let (port, health_port) = (server.port().unwrap(), server.health_port().unwrap());
        let metrics_port = server.metrics_port().unwrap();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(server.run(client, async move { _ = stopped.await }));
        let running = Self { port, health_port, metrics_port, certificates, stop, ended, _directory: directory };
        eventually(|| async {
            let ready = get(health_port, "/readyz").await;
            if ready.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(ready) }
        })
        .await;
        running
    }

    /// Asks the webhook to stop; the task then ends by itself.
    pub fn stop(self) -> JoinHandle<Result<(), ServerError>> {
        self.stop.send(()).unwrap();
        self.ended
    }
}

/// How the API server reaches a server on this machine.
pub fn client_config(port: u16, path: &str, certificates: &Certificates) -> WebhookClientConfig {
    WebhookClientConfig {
        url: Some(format!("https://127.0.0.1:{port}{path}")),
        ca_bundle: Some(ByteString(certificates.ca.clone().into_bytes())),
        service: None,
    }
}

/// The whole answer of a health port; empty when nobody answers.
pub async fn get(health_port: u16, path: &str) -> String {
    let mut answer = String::new();
    let exchange = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, health_port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_string(&mut answer).await
    };
    let _nobody_answered = tokio::time::timeout(Duration::from_secs(10), exchange).await;
    answer
}
