//! What the controller takes to bring Models to Ready, while the bench plays who runs their Jobs.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Client, ResourceExt as _};
use model_core::api::{Model, Phase};
use model_core::labels::MODEL;
use model_core::names::claim_name;
use model_core::persisted::{Downloader, Persisted};
use model_resources::{DownloadSettings, claim, download_job};
use serde_json::{Value, json};

use crate::cluster::{Cluster, NAMESPACE, Requests};
use crate::process::{Process, Usage};

/// Ports of the controller under test.
const PORTS: [u16; 2] = [18083, 18082];
/// The image that Jobs name. Nothing runs them.
const LOADER_IMAGE: &str = "model-loader:bench";
/// The size of claims.
const SIZE: &str = "40Gi";
/// Requests of the bench itself that run at once.
const AT_ONCE: usize = 8;
/// How long the controller is left alone to see what it takes while nothing happens.
const IDLE: Duration = Duration::from_secs(30);
/// What a Model's life is made of.
pub const LIFE: [&str; 3] = ["POST persistentvolumeclaims", "POST jobs", "APPLY models/status"];

/// What was found with so many Models.
pub struct Findings {
    /// How many Models.
    pub models: usize,
    /// From the first Model's creation until the last was Ready.
    pub wall: Duration,
    /// CPU-seconds of the controller for that.
    pub cpu: f64,
    /// Memory and CPU when all were Ready.
    pub usage: Usage,
    /// What the API server was asked by then, without what the bench itself asked.
    pub requests: Requests,
    /// CPU-seconds while nothing happened, and for how long.
    pub idle: (f64, Duration),
    /// What was asked while nothing happened.
    pub idle_requests: Requests,
    /// After a restart, once it has looked at every Model.
    pub restart: Usage,
    /// What the restart asked.
    pub restart_requests: Requests,
}

/// Who brings the Models to Ready.
pub enum Operator<'a> {
    /// Ours, at this path.
    Ours(&'a Path),
    /// The one of `peer/`, at this path.
    Peer(&'a Path),
}

impl Operator<'_> {
    fn program(&self) -> &Path {
        let (Self::Ours(program) | Self::Peer(program)) = self;
        program
    }

    /// What each is told beside what both are told. Files that it needs go to `folder`.
    fn arguments(&self, folder: &Path) -> anyhow::Result<Vec<String>> {
        Ok(match self {
            Self::Ours(_) => vec![format!("--loader-image={LOADER_IMAGE}"), "--leader-election=false".to_owned()],
            Self::Peer(_) => {
                let path = folder.join("children.json");
                fs::write(&path, children()?.to_string())?;
                vec![format!("--children={}", path.display())]
            }
        })
    }
}

/// Measures with so many Models, on a control plane of its own.
pub async fn measure(operator: &Operator<'_>, models: usize) -> anyhow::Result<Findings> {
    let cluster = Cluster::start().await?;
    let folder = tempfile::tempdir()?;
    let [health_port, metrics_port] = PORTS;
    let mut arguments = operator.arguments(folder.path())?;
    arguments.extend([
        format!("--kubeconfig={}", cluster.kubeconfig().display()),
        format!("--health-port={health_port}"),
        format!("--metrics-port={metrics_port}"),
    ]);
    let (program, log) = (operator.program(), folder.path().join("log"));
    let mut controller = Process::start(program, &arguments, &log)?;
    controller.is_ready(health_port).await?;
    let completing = tokio::spawn(complete_jobs(cluster.client()));

    let (before, start) = (controller.usage()?, Instant::now());
    let asked_before = cluster.requests().await?;
    create(cluster.client(), models).await?;
    all_ready(&cluster, models).await?;
    let wall = start.elapsed();
    settled(&controller).await?;
    let usage = controller.usage()?;
    let requests = without_ours(&cluster.requests().await?.since(&asked_before));

    let asked_before = cluster.requests().await?;
    let quiet = Instant::now();
    tokio::time::sleep(IDLE).await;
    let idle = (controller.usage()?.cpu - usage.cpu, quiet.elapsed());
    let idle_requests = without_ours(&cluster.requests().await?.since(&asked_before));

    drop(controller);
    let asked_before = cluster.requests().await?;
    let mut controller = Process::start(program, &arguments, &log)?;
    controller.is_ready(health_port).await?;
    settled(&controller).await?;
    let restart = controller.usage()?;
    let restart_requests = without_ours(&cluster.requests().await?.since(&asked_before));
    if completing.is_finished() {
        completing.await??;
        bail!("nobody completed Jobs any more");
    }
    completing.abort();
    Ok(Findings {
        models,
        wall,
        cpu: usage.cpu - before.cpu,
        usage,
        requests,
        idle,
        idle_requests,
        restart,
        restart_requests,
    })
}

async fn create(client: Client, models: usize) -> anyhow::Result<()> {
    let api: Api<Model> = Api::namespaced(client, NAMESPACE);
    stream::iter((0..models).map(anyhow::Ok))
        .try_for_each_concurrent(AT_ONCE, async |number| {
            let model = serde_json::from_value(model(&format!("model-{number}")))?;
            api.create(&PostParams::default(), &model).await?;
            Ok(())
        })
        .await
}

fn model(name: &str) -> Value {
    json!({
        "apiVersion": "models.main-currents.news/v1alpha1",
        "kind": "Model",
        "metadata": { "name": name },
        "spec": {
            "source": { "huggingFace": { "repoId": format!("acme/{name}") } },
            "storage": { "size": SIZE },
        },
    })
}

/// Claim and Job as ours makes them, for the peer to make the same.
fn children() -> anyhow::Result<Value> {
    let name = "placeholder";
    let mut object = model(name);
    object["metadata"] = json!({ "name": name, "namespace": NAMESPACE, "uid": "", "generation": 1 });
    let object: Model = serde_json::from_value(object)?;
    let model = Persisted::try_from(&object)?;
    let mut settings = DownloadSettings::default();
    settings.downloader = Downloader::Loader { image: LOADER_IMAGE.to_owned() };
    Ok(json!({ "placeholder": name, "claim": claim(&model, SIZE), "job": download_job(&model, &settings, "") }))
}

/// Gives every claim a volume and completes every Job as soon as they are there, in place of provisioner and nodes.
async fn complete_jobs(client: Client) -> anyhow::Result<()> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), NAMESPACE);
    let jobs: Api<Job> = Api::namespaced(client, NAMESPACE);
    let created = watcher(jobs.clone(), watcher::Config::default()).try_filter_map(async |event| match event {
        watcher::Event::Apply(job) | watcher::Event::InitApply(job) => Ok(Some(job)),
        _ => Ok(None),
    });
    let status = |now: &str| {
        json!({ "status": {
        "startTime": now,
        "completionTime": now,
        "succeeded": 1,
        "uncountedTerminatedPods": {},
        "conditions": [
            { "type": "SuccessCriteriaMet", "status": "True", "lastTransitionTime": now },
            { "type": "Complete", "status": "True", "lastTransitionTime": now },
        ],
    } })
    };
    let open = created.map_err(anyhow::Error::from).try_filter(|job| {
        let ended = job.status.as_ref().is_some_and(|status| status.completion_time.is_some());
        std::future::ready(!ended)
    });
    let bound = json!({ "status": {
        "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "40Gi" },
    } });
    open.try_for_each_concurrent(AT_ONCE, async |job| {
        let model = job.labels().get(MODEL).context("a Job without the label of its Model")?;
        claims.patch_status(&claim_name(model), &PatchParams::default(), &Patch::Merge(&bound)).await?;
        let now = job.creation_timestamp().context("a Job without the time of its creation")?.0.to_string();
        jobs.patch_status(&job.name_any(), &PatchParams::default(), &Patch::Merge(&status(&now))).await?;
        Ok(())
    })
    .await
}

/// Waits until so many Models are Ready.
async fn all_ready(cluster: &Cluster, models: usize) -> anyhow::Result<()> {
    let api: Api<Model> = Api::namespaced(cluster.client(), NAMESPACE);
    let mut changes = watcher(api, watcher::Config::default()).boxed();
    let mut ready = std::collections::BTreeSet::new();
    let patience = Duration::from_secs(600);
    while ready.len() < models {
        let Ok(event) = tokio::time::timeout(patience, changes.next()).await else {
            bail!("{} of {models} Models are Ready, and nothing has changed for ten minutes", ready.len());
        };
        if let Some(watcher::Event::Apply(model) | watcher::Event::InitApply(model)) = event.transpose()? {
            let phase = model.status.as_ref().and_then(|status| status.phase);
            if phase == Some(Phase::Ready) {
                ready.insert(model.name_any());
            }
        }
    }
    Ok(())
}

/// Waits until the controller has taken no CPU for three seconds.
async fn settled(controller: &Process) -> anyhow::Result<()> {
    let mut last = controller.usage()?.cpu;
    let mut quiet = 0;
    while quiet < 6 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let cpu = controller.usage()?.cpu;
        // One tick of the kernel's clock is the least that can be told.
        quiet = if cpu - last < 0.015 { quiet + 1 } else { 0 };
        last = cpu;
    }
    Ok(())
}

/// Leaves out what the bench asked: it creates Models, binds claims, completes Jobs, and watches.
fn without_ours(requests: &Requests) -> Requests {
    requests.only(|key| {
        let of_the_bench = ["POST models", "PATCH persistentvolumeclaims/status", "PATCH jobs/status"].contains(&key);
        let of_the_api_server =
            ["leases", "apiservices", "endpoint", "openapi", "limitranges"].iter().any(|other| key.contains(other));
        !of_the_bench && !of_the_api_server
    })
}

/// Whether a request changes something.
pub fn is_write(key: &str) -> bool {
    ["POST ", "PUT ", "PATCH ", "APPLY ", "DELETE "].iter().any(|verb| key.starts_with(verb))
}
