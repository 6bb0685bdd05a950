//! How long a Model takes from `kubectl apply` until it is Ready, and where each second goes. A measurement on an otherwise
//! idle node: it prints a table and asserts nothing about time.

use std::time::{Duration, Instant};

use e2e::Error;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerState, PersistentVolumeClaim, Pod};
use kube::api::Api;
use kube::runtime::watcher::{self, watcher};
use model_core::api::{Model, Phase};
use model_core::labels::MODEL;
use serde_json::{Value, json};
use test_hub::fixtures::random_safetensors;

use crate::scene::{PATIENCE, Scene, hugging_face, model};

/// MiB of the one file of each Model.
const SIZES: [u64; 2] = [1, 1024];
const ROUNDS: usize = 5;

/// What a Model waits for, in this order. Each name says what the time up to it was for.
const STEPS: [&str; 8] = [
    "kubectl; the controller makes the Job",
    "the Job controller makes the pod",
    "a volume is made; the scheduler binds the pod",
    "the kubelet mounts the volume and starts the loader",
    "the loader ends",
    "*of it: downloading and verifying*",
    "kubelet and Job controller tell that it has ended",
    "the controller sets Ready",
];
/// The place of the pure download among the steps: within the one before it.
const DOWNLOAD: usize = 5;

pub async fn time_to_ready(scene: Scene) -> Result<(), Error> {
    let mut columns = Vec::new();
    for size in SIZES {
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            rounds.push(measure(&scene, size, round).await?);
        }
        columns.push(medians(&rounds));
    }
    let row = |name: &str, seconds: &dyn Fn(&[f64]) -> f64| {
        let cells: Vec<_> = columns.iter().map(|column| format!("{:.2}", seconds(column))).collect();
        println!("| {name} | {} |", cells.join(" | "));
    };
    println!("| median of {ROUNDS}, seconds |{}", SIZES.map(|size| format!(" {size} MiB |")).concat());
    println!("|---|---|---|");
    for (index, name) in STEPS.iter().enumerate() {
        row(name, &|column| column[index]);
    }
    row("from `kubectl apply` to Ready", &|column| column[STEPS.len()]);
    row("without the pure download", &|column| column[STEPS.len()] - column[DOWNLOAD]);
    Ok(())
}

/// The seconds of each step, and of all together.
async fn measure(scene: &Scene, mib: u64, round: usize) -> Result<Vec<f64>, Error> {
    let name = format!("m{mib}-{round}");
    let repository = scene.repository(&name);
    let file = scene.hub.root().join(format!("hf/{repository}/model.safetensors"));
    random_safetensors(&file, mib + round as u64, mib << 20).expect("the hub's directory can be written");
    let mut wish = model(&name, &hugging_face(&repository));
    wish["spec"]["storage"]["size"] = json!("2Gi");

    let start = Instant::now();
    let job_name = format!("model-download-{name}");
    let moment = async |found: Result<(), Error>| found.map(|()| start.elapsed());
    let job_made = async { moment(scene.find(&job_name, "exist", |_: &Job| Some(())).await).await };
    let job_ended = async { moment(scene.find(&job_name, "be complete", is_complete).await).await };
    let is_ready = |model: &Model| (model.status.as_ref()?.phase? == Phase::Ready).then_some(());
    let ready = async { moment(scene.find(&name, "be Ready", is_ready).await).await };
    let pod = async { Ok(pod_moments(scene, &name, start).await) };
    let apply = async { scene.apply(&wish) };
    let (job_made, job_ended, ready, [made, bound, started, ended], ()) =
        futures::try_join!(job_made, job_ended, ready, pod, apply)?;

    let log = scene.kubectl(&["logs", &format!("job/{job_name}")])?;
    let fetched =
        log.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok()?["totals"]["fetchSeconds"].as_f64());
    let fetched = fetched.unwrap_or_else(|| panic!("the loader tells how long it fetched: {log}"));
    scene.kubectl(&["delete", "model", &name])?;
    scene.gone::<PersistentVolumeClaim>(&format!("model-{name}")).await?;
    std::fs::remove_file(&file).expect("the hub's directory can be written");

    let ends = [job_made, made, bound, started, ended, job_ended, ready];
    let mut steps: Vec<f64> = ends
        .iter()
        .scan(Duration::ZERO, |before, end| Some(end.saturating_sub(std::mem::replace(before, *end))))
        .map(|step| step.as_secs_f64())
        .collect();
    steps.insert(DOWNLOAD, fetched);
    steps.push(ready.as_secs_f64());
    Ok(steps)
}

fn is_complete(job: &Job) -> Option<()> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().any(|known| known.type_ == "Complete" && known.status == "True").then_some(())
}

/// When the download pod was made, bound to a node, started and ended.
async fn pod_moments(scene: &Scene, model: &str, start: Instant) -> [Duration; 4] {
    let pods: Api<Pod> = scene.api();
    let mut changes = watcher(pods, watcher::Config::default().labels(&format!("{MODEL}={model}"))).boxed();
    let mut moments = [None; 4];
    let deadline = start + Duration::from_secs(PATIENCE);
    while moments[3].is_none() {
        assert!(Instant::now() < deadline, "the download pod did not end: {moments:?}");
        let Ok(Some(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod))) = changes.try_next().await else {
            continue;
        };
        let state = state(&pod).unwrap_or_default();
        let ended = state.terminated.is_some();
        let is_bound = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        for (moment, happened) in moments.iter_mut().zip([true, is_bound, ended || state.running.is_some(), ended]) {
            if happened {
                moment.get_or_insert(start.elapsed());
            }
        }
    }
    moments.map(Option::unwrap_or_default)
}

fn state(pod: &Pod) -> Option<ContainerState> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()?.state.clone()
}

/// The median of each column.
fn medians(rows: &[Vec<f64>]) -> Vec<f64> {
    let column = |index: usize| {
        let mut column: Vec<f64> = rows.iter().map(|row| row[index]).collect();
        column.sort_by(f64::total_cmp);
        column[column.len() / 2]
    };
    (0..rows[0].len()).map(column).collect()
}
