//! The commands: read, say, write.

mod look;
mod pull;
mod retry;
mod verify;
mod wait;

use std::io::IsTerminal as _;

use clap::CommandFactory as _;
use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::api::{ListParams, LogParams, Patch, PatchParams};
use model_core::api::{Model, Phase};
use model_core::labels;
use model_core::names::job_name;
use model_core::observed::newest_pod;
use model_resources::job::CONTAINER;
use serde_json::json;

use crate::cli::{Cli, Command, Output};
use crate::cluster::{Cluster, model_name};
use crate::error::Error;
use crate::text::{note, say};
use crate::{list, progress, usage, why};

/// Whoever writes through the API server says who it is.
const FIELD_MANAGER: &str = "kubectl-model";

/// Carries out one command line. `false`: the Model failed or is not ready.
pub(crate) async fn run(cli: Cli) -> Result<bool, Error> {
    if let Command::Completion { shell } = cli.command {
        return completion(shell.into());
    }
    // A wrong name is said before the cluster is asked for anything.
    check_names(&cli.command)?;
    let cluster = Cluster::connect(&cli.place).await?;
    match cli.command {
        Command::List { all_namespaces } => list_models(&cluster, all_namespaces).await,
        Command::Status { name, watch: true } => wait::wait(&cluster, &name, None).await,
        Command::Status { name, watch: false } => status(&cluster, &name).await,
        Command::Why { name, output } => Box::pin(explain(&cluster, &name, output)).await,
        Command::Wait { name, timeout } => wait::wait(&cluster, &name, timeout).await,
        Command::Pull(wish) => Box::pin(pull::pull(&cluster, &wish)).await,
        Command::Retry { name } => retry::retry(&cluster, &name).await,
        Command::Refresh { name } => refresh(&cluster, &name).await,
        Command::Verify { name, timeout, output } => Box::pin(verify::verify(&cluster, &name, timeout, output)).await,
        Command::Logs { name, follow } => logs(&cluster, &name, follow).await,
        Command::Usage { all_namespaces } => show_usage(&cluster, all_namespaces).await,
        Command::Completion { shell } => completion(shell.into()),
    }
}

fn check_names(command: &Command) -> Result<(), Error> {
    match command {
        Command::Status { name, .. }
        | Command::Wait { name, .. }
        | Command::Retry { name }
        | Command::Refresh { name }
        | Command::Verify { name, .. }
        | Command::Logs { name, .. } => model_name(name).map(drop),
        Command::Why { name, .. } => look::Subject::parse(name).map(drop),
        Command::Pull(wish) => pull::model(wish).map(drop),
        Command::List { .. } | Command::Usage { .. } | Command::Completion { .. } => Ok(()),
    }
}

fn completion(shell: clap_complete::Shell) -> Result<bool, Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kubectl-model", &mut script);
    say(&String::from_utf8_lossy(&script))?;
    Ok(true)
}

async fn list_models(cluster: &Cluster, all_namespaces: bool) -> Result<bool, Error> {
    let models: Vec<Model> =
        cluster.list(&cluster.api_in(all_namespaces), "list Models", &ListParams::default()).await?;
    if models.is_empty() {
        note(&no_models(cluster, all_namespaces));
        return Ok(true);
    }
    say(&list::list(&models, all_namespaces, Timestamp::now()))?;
    Ok(true)
}

fn no_models(cluster: &Cluster, all_namespaces: bool) -> String {
    if all_namespaces {
        return "there are no Models in this cluster".to_owned();
    }
    format!("there are no Models in namespace {}; -A shows those of all namespaces", cluster.namespace)
}

async fn status(cluster: &Cluster, name: &str) -> Result<bool, Error> {
    let model = cluster.model(name).await?;
    say(&progress::status_line(&model))?;
    Ok(progress::phase(&model) == Phase::Ready)
}

async fn explain(cluster: &Cluster, name: &str, output: Option<Output>) -> Result<bool, Error> {
    let subject = look::Subject::parse(name)?;
    let report = Box::pin(look::report(cluster, &subject)).await?;
    match output {
        Some(Output::Json) => {
            let text = serde_json::to_string_pretty(&report).map_err(std::io::Error::from)?;
            say(&text)?;
        }
        None => say(&why::screen(&report))?,
    }
    // Where standard output is no terminal the remark would not be missed in a file.
    if output.is_none() && std::io::stdout().is_terminal() && !report.findings.is_empty() {
        note("for a support ticket: kubectl model why -o json");
    }
    Ok(!report.is_blocked())
}

async fn refresh(cluster: &Cluster, name: &str) -> Result<bool, Error> {
    cluster.model(name).await?;
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let patch = json!({ "metadata": { "annotations": { labels::REFRESH: now } } });
    let doing = format!("annotate Model {name}");
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let models = cluster.api::<Model>();
    models.patch(name, &params, &Patch::Merge(&patch)).await.map_err(|error| cluster.error(&doing, error))?;
    say(&format!(
        "asked for a new download of {name}: annotation {} is {now}. Pods keep what they mount; new pods mount it once it is complete.",
        labels::REFRESH
    ))?;
    Ok(true)
}

async fn logs(cluster: &Cluster, name: &str, follow: bool) -> Result<bool, Error> {
    let doing = format!("read the log of Model {name}");
    let model = cluster.model(name).await?;
    let job = job_name(name);
    let found = cluster.api::<Job>().get_opt(&job).await.map_err(|error| cluster.error(&doing, error))?;
    let of_model = ListParams::default().labels(&format!("{}={name}", labels::MODEL));
    let pods: Vec<Pod> = cluster.list(&cluster.api(), &doing, &of_model).await?;
    let Some(pod) = found.as_ref().and_then(|job| newest_pod(job, &pods)) else {
        let what = match found {
            Some(_) => format!("Job {job} has no pod"),
            None => {
                format!("Job {job} is not there: Kubernetes removes it an hour after it ended, and its log with it")
            }
        };
        let advice = format!("`kubectl model why {name}` says how it ended: {}", progress::status_line(&model));
        return Err(Error::cluster(&doing, what, advice));
    };
    let params = LogParams { container: Some(CONTAINER.to_owned()), follow, ..LogParams::default() };
    let log = cluster.api::<Pod>().log_stream(&pod.name_any(), &params).await;
    let mut lines = log.map_err(|error| cluster.error(&doing, error))?.lines();
    while let Some(line) = lines.try_next().await? {
        say(&line)?;
    }
    Ok(true)
}

async fn show_usage(cluster: &Cluster, all_namespaces: bool) -> Result<bool, Error> {
    let all = ListParams::default();
    let models: Vec<Model> = cluster.list(&cluster.api_in(all_namespaces), "list Models", &all).await?;
    if models.is_empty() {
        note(&no_models(cluster, all_namespaces));
        return Ok(true);
    }
    let ours = ListParams::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGER));
    let claims: Vec<PersistentVolumeClaim> =
        cluster.list(&cluster.api_in(all_namespaces), "list claims", &ours).await?;
    let pods: Vec<Pod> = cluster.list(&cluster.api_in(all_namespaces), "list pods", &all).await?;
    say(&usage::usage(&models, &claims, &pods))?;
    Ok(true)
}
