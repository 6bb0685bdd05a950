//! What the webhook takes to answer the API server about pods.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use futures::stream::iter;
use hyper::body::Bytes;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use model_core::api::Model;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, NAMESPACE};
use crate::http::{Connection, Target};
use crate::process::{Process, Usage};

/// Ports of the webhook under test.
const PORTS: [u16; 3] = [19443, 18081, 18080];
/// Where the webhook answers about pods.
const PATH: &str = "/mutate-v1-pod";
/// Models that pods ask for, in turn.
const MODELS: usize = 100;
/// What the API server lets run at once of requests that change something (`--max-mutating-requests-inflight`); it
/// refuses more itself, with 429.
const IN_FLIGHT: usize = 200;
/// How long the API server waits for an answer, as our configuration says.
pub const TIME_LIMIT: Duration = Duration::from_secs(5);

/// What to do.
pub struct Plan {
    /// Requests of each kind.
    pub requests: usize,
    /// Connections that ask at once, each one request after another.
    pub connections: usize,
    /// How long the overload lasts.
    pub overload: Duration,
}

/// What was found.
pub struct Findings {
    /// Before the first request.
    pub idle: Usage,
    /// Pods that ask for a model.
    pub annotated: Round,
    /// Pods that do not.
    pub plain: Round,
    /// Memory after both, and after ten times as many annotated pods.
    pub memory: (Usage, Usage),
    /// One and a half times what it could answer before.
    pub overload: Overload,
}

/// Requests of one kind.
pub struct Round {
    /// How many.
    pub requests: usize,
    /// CPU-seconds of the webhook for all of them.
    pub cpu: f64,
    /// From the first to the last.
    pub wall: Duration,
    /// Time to answer, sorted.
    pub latencies: Vec<Duration>,
}

impl Round {
    /// Requests a second.
    #[expect(clippy::cast_precision_loss, reason = "a bench's count")]
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.wall.as_secs_f64()
    }

    /// The time within which so much of a hundred was answered.
    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get(last * percent / 100).copied().unwrap_or_default()
    }
}

/// More requests than can be answered.
pub struct Overload {
    /// Requests a second that came.
    pub offered: f64,
    /// How many came.
    pub requests: usize,
    /// How many of them the webhook answered.
    pub answered: usize,
    /// How many an API server would have refused before it asks.
    pub refused: usize,
    /// How many the webhook answered later than the API server waits, or not at all.
    pub lost: usize,
    /// The slowest answer.
    pub slowest: Duration,
    /// What the webhook has taken since it started, at the end.
    pub usage: Usage,
}

/// Measures it all.
pub async fn measure(program: &Path, plan: &Plan) -> anyhow::Result<Findings> {
    let cluster = Cluster::start().await?;
    ready_models(&cluster).await?;
    let folder = tempfile::tempdir()?;
    let (certificates, log) = (folder.path().join("tls"), folder.path().join("log"));
    let arguments = ["certificates", "--host", "localhost", "--out"].map(str::to_owned);
    let mut arguments = arguments.to_vec();
    arguments.push(certificates.display().to_string());
    let made = std::process::Command::new(program).args(&arguments).status();
    let made = made.with_context(|| format!("could not start {}: build it for release first", program.display()))?;
    if !made.success() {
        bail!("{} certificates: {made}", program.display());
    }
    let [port, health_port, metrics_port] = PORTS;
    let arguments = [
        format!("--kubeconfig={}", cluster.kubeconfig().display()),
        format!("--cert-dir={}", certificates.display()),
        format!("--port={port}"),
        format!("--health-port={health_port}"),
        format!("--metrics-port={metrics_port}"),
    ];
    let mut webhook = Process::start(program, &arguments, &log)?;
    webhook.is_ready(health_port).await?;
    let target = Target::new(&std::fs::read(certificates.join("ca.crt"))?, port)?;
    let idle = webhook.usage()?;

    let (asks, asks_not) = (reviews(true), reviews(false));
    // The first requests of a process are not like the others.
    round(&webhook, &target, plan.connections, 500, &asks).await?;
    let annotated = round(&webhook, &target, plan.connections, plan.requests, &asks).await?;
    let without = round(&webhook, &target, plan.connections, plan.requests, &asks_not).await?;
    let after = webhook.usage()?;
    round(&webhook, &target, plan.connections, 10 * plan.requests, &asks).await?;
    let memory = (after, webhook.usage()?);
    let overload = overload(&webhook, &target, annotated.rate() * 1.5, plan.overload, &asks).await?;
    Ok(Findings { idle, annotated, plain: without, memory, overload })
}

/// Models with content to mount.
async fn ready_models(cluster: &Cluster) -> anyhow::Result<()> {
    let models: Api<Model> = Api::namespaced(cluster.client(), NAMESPACE);
    for number in 0..MODELS {
        let name = format!("model-{number}");
        let model: Model = serde_json::from_value(json!({
            "apiVersion": "models.main-currents.news/v1alpha1",
            "kind": "Model",
            "metadata": { "name": name },
            "spec": {
                "source": { "huggingFace": { "repoId": format!("acme/{name}") } },
                "storage": { "size": "40Gi" },
            },
        }))?;
        models.create(&PostParams::default(), &model).await?;
        let status = json!({ "status": ready_status(&name) });
        models.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await?;
    }
    Ok(())
}

fn ready_status(name: &str) -> Value {
    json!({
        "phase": "Ready",
        "observedGeneration": 1,
        "pvcName": format!("model-{name}"),
        "content": {
            "id": "0123456789abcdef0123",
            "path": "revisions/0123456789abcdef0123",
            "source": { "huggingFace": { "repoId": format!("acme/{name}") } },
        },
    })
}

/// What the API server asks, once for each Model.
fn reviews(annotated: bool) -> Arc<Vec<Bytes>> {
    let pod: Value = serde_json::from_str(include_str!("pod.json")).expect("the pod of the bench is JSON");
    let review = |number: usize| {
        let mut pod = pod.clone();
        if annotated {
            let names = json!({ "models.main-currents.news/inject": format!("model-{number}") });
            pod["metadata"]["annotations"] = names;
        }
        let review = json!({
            "kind": "AdmissionReview",
            "apiVersion": "admission.k8s.io/v1",
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
                "kind": { "group": "", "version": "v1", "kind": "Pod" },
                "resource": { "group": "", "version": "v1", "resource": "pods" },
                "requestKind": { "group": "", "version": "v1", "kind": "Pod" },
                "requestResource": { "group": "", "version": "v1", "resource": "pods" },
                "namespace": NAMESPACE,
                "operation": "CREATE",
                "userInfo": {
                    "username": "system:serviceaccount:kube-system:replicaset-controller",
                    "uid": "014fbff9a07c",
                    "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
                },
                "object": pod,
                "oldObject": null,
                "dryRun": false,
                "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
            },
        });
        Bytes::from(review.to_string())
    };
    Arc::new((0..MODELS).map(review).collect())
}

/// Asks `requests` times over so many connections, each as fast as it is answered.
async fn round(
    webhook: &Process,
    target: &Target,
    connections: usize,
    requests: usize,
    reviews: &Arc<Vec<Bytes>>,
) -> anyhow::Result<Round> {
    let opened: Vec<anyhow::Result<Connection>> =
        iter(0..connections).then(|_| async { target.connect().await }).collect().await;
    let before = webhook.usage()?;
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for (first, connection) in opened.into_iter().enumerate() {
        let (mut connection, reviews) = (connection?, reviews.clone());
        clients.spawn(async move {
            let mut latencies = Vec::with_capacity(requests / connections + 1);
            for number in (first..requests).step_by(connections) {
                let asked = Instant::now();
                let answer = connection.review(PATH, reviews[number % reviews.len()].clone()).await?;
                latencies.push(asked.elapsed());
                if number % 100 == 0 {
                    check(&answer, &reviews[number % reviews.len()])?;
                }
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Vec::with_capacity(requests);
    while let Some(ended) = clients.join_next().await {
        latencies.extend(ended??);
    }
    let wall = start.elapsed();
    latencies.sort_unstable();
    Ok(Round { requests, cpu: webhook.usage()?.cpu - before.cpu, wall, latencies })
}

/// That the answer admits the pod, with a patch if it asks for a model.
fn check(answer: &[u8], review: &[u8]) -> anyhow::Result<()> {
    let (answer, review): (Value, Value) = (serde_json::from_slice(answer)?, serde_json::from_slice(review)?);
    let asks = review["request"]["object"]["metadata"]["annotations"].is_object();
    let response = &answer["response"];
    if response["allowed"] != json!(true) || response["patch"].is_string() != asks {
        bail!("a pod was not answered as it should: {answer}");
    }
    Ok(())
}

/// So many requests a second, whether they are answered or not: on a connection that is free, or a new one.
#[expect(clippy::cast_precision_loss, reason = "a bench's count")]
async fn overload(
    webhook: &Process,
    target: &Target,
    offered: f64,
    lasts: Duration,
    reviews: &Arc<Vec<Bytes>>,
) -> anyhow::Result<Overload> {
    let (places, start) = (Arc::new(Semaphore::new(IN_FLIGHT)), Instant::now());
    let free: Arc<std::sync::Mutex<Vec<Connection>>> = Arc::default();
    let (mut asked, mut refused) = (JoinSet::new(), 0);
    let (mut requests, mut answered, mut lost, mut slowest) = (0_usize, 0, 0, Duration::ZERO);
    let mut count = |ended: Option<Duration>| match ended {
        Some(took) if took <= TIME_LIMIT => {
            answered += 1;
            slowest = slowest.max(took);
        }
        _ => lost += 1,
    };
    while start.elapsed() < lasts {
        // All that should have come by now.
        while (requests as f64) < start.elapsed().as_secs_f64() * offered {
            requests += 1;
            let Ok(place) = places.clone().try_acquire_owned() else {
                refused += 1;
                continue;
            };
            let (target, free, body) = (target.clone(), free.clone(), reviews[requests % reviews.len()].clone());
            asked.spawn(async move {
                let came = Instant::now();
                let idle = free.lock().ok()?.pop();
                let mut connection = match idle {
                    Some(connection) => connection,
                    None => target.connect().await.ok()?,
                };
                connection.review(PATH, body).await.ok()?;
                free.lock().ok()?.push(connection);
                drop(place);
                Some(came.elapsed())
            });
        }
        while let Some(ended) = asked.try_join_next() {
            count(ended?);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while let Some(ended) = asked.join_next().await {
        count(ended?);
    }
    let offered = requests as f64 / lasts.as_secs_f64();
    Ok(Overload { offered, requests, answered, refused, lost, slowest, usage: webhook.usage()? })
}
