//! Has published content read again, and tells what was found.
//!
//! The operator does the reading, on request by annotation: it knows the image and where the volume can be attached, and
//! the right to change the Model is all that is asked of the person.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{ListParams, LogParams, Patch, PatchParams};
use model_core::api::{Model, Verification, VerificationResult};
use model_core::labels::{MODEL, VERIFY};
use model_core::names::verify_job_name;
use model_core::observed::{newest_pod, pod_outcome};
use model_core::persisted::verify_request;
use model_core::report::{CheckedFile, Outcome, Progress};
use model_resources::job::CONTAINER;
use serde_json::json;

use super::{FIELD_MANAGER, wait};
use crate::check::Check;
use crate::cli::Output;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::progress::{Bar, status_line};
use crate::text::{line, note, say};

/// How often Model and log are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// After so long without a word of the operator it is asked about.
const BEGINS_WITHIN: Duration = Duration::from_secs(30);
/// So long a cluster that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines and bytes that are read from the end of the log while the check runs.
const TAIL_LINES: i64 = 2;
const TAIL_BYTES: i64 = 4096;

/// Asks for a check, or joins the one that runs, and follows it to its end. `false`: files are not as they were published.
pub(super) async fn verify(
    cluster: &Cluster,
    name: &str,
    limit: Option<Duration>,
    output: Option<Output>,
) -> Result<bool, Error> {
    ask(cluster, name).await?;
    let bar = (output.is_none() && wait::is_terminal()).then(Bar::begin);
    let limit = limit.unwrap_or(Duration::MAX);
    let ended = tokio::select! {
        ended = follow(cluster, name, bar.as_ref()) => ended.map(Some),
        () = tokio::time::sleep(limit) => Ok(None),
        _ = tokio::signal::ctrl_c() => Ok(None),
    };
    if let Some(bar) = &bar {
        bar.end();
    }
    let Some(verification) = ended? else {
        let (job, namespace) = (verify_job_name(name), &cluster.namespace);
        note(&format!("the check goes on in the cluster; follow it: kubectl model verify {name} -n {namespace}"));
        note(&format!("or stop it: kubectl delete job {job} -n {namespace}"));
        return Ok(false);
    };
    let (log, reported) = match verification.result {
        VerificationResult::Intact | VerificationResult::Damaged => found(cluster, name, &verification.request).await,
        VerificationResult::Running | VerificationResult::Failed => Default::default(),
    };
    let check = Check::new(name, &cluster.namespace, verification, &log, reported);
    match output {
        Some(Output::Json) => say(&serde_json::to_string_pretty(&check).map_err(std::io::Error::from)?)?,
        None => say(&check.screen())?,
    }
    if check.verification.result == VerificationResult::Damaged {
        note(&format!(
            "what to do: kubectl model refresh {name} -n {}: it fetches what is damaged and keeps the rest; pods that run keep what they mount until they are restarted",
            cluster.namespace
        ));
    }
    Ok(check.is_intact())
}

/// Writes the request, unless there is one that is not answered yet.
async fn ask(cluster: &Cluster, name: &str) -> Result<(), Error> {
    let doing = format!("ask for a check of Model {name}");
    loop {
        let model = cluster.model(name).await?;
        let status = model.status.clone().unwrap_or_default();
        let Some(content) = &status.content else {
            let what = format!("nothing of it is published that could be read: {}", status_line(&model));
            return Err(Error::cluster(&doing, what, format!("wait for it: kubectl model wait {name}")));
        };
        if !content.path.ends_with(&content.id) {
            let what = "stock images downloaded it, which record nothing that files could be compared with";
            return Err(Error::cluster(&doing, what, "have the operator download with its loader image"));
        }
        if let Some(open) = open(&model) {
            note(&format!("a check of {name} runs already, asked for as {}: this follows it", line(open)));
            return Ok(());
        }
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        let metadata = json!({ "annotations": { VERIFY: now }, "resourceVersion": model.resource_version() });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match cluster.api::<Model>().patch(name, &params, &Patch::Merge(json!({ "metadata": metadata }))).await {
            Ok(_) => return Ok(()),
            // It has changed meanwhile: somebody may have asked.
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(error) => return Err(cluster.error(&doing, error)),
        }
    }
}

/// The request that the operator has not answered yet.
fn open(model: &Model) -> Option<&str> {
    let recorded = model.status.as_ref().and_then(|status| status.verification.as_ref());
    let runs = recorded.filter(|known| known.result == VerificationResult::Running);
    let asked = verify_request(model).filter(|asked| recorded.is_none_or(|known| known.request != *asked));
    runs.map(|known| known.request.as_str()).or(asked)
}

/// Waits until the newest request is answered.
async fn follow(cluster: &Cluster, name: &str, bar: Option<&Bar>) -> Result<Verification, Error> {
    let begun = Instant::now();
    let (mut heard, mut said, mut warned) = (Instant::now(), String::new(), false);
    loop {
        match cluster.api::<Model>().get_opt(name).await {
            Ok(Some(model)) => {
                heard = Instant::now();
                let known = model.status.as_ref().and_then(|status| status.verification.clone());
                match (open(&model), known) {
                    (None, Some(ended)) => return Ok(ended),
                    (None, None) => return Err(withdrawn(name)),
                    (Some(_), known) => {
                        let runs = known.is_some_and(|known| known.result == VerificationResult::Running);
                        if !runs && !warned && begun.elapsed() > BEGINS_WITHIN {
                            warned = true;
                            note(
                                "the operator has not begun; see whether it runs: kubectl get pods -A -l app.kubernetes.io/part-of=model-operator",
                            );
                        }
                    }
                }
                show(cluster, &model, bar, &mut said).await?;
            }
            Ok(None) => return Err(cluster.no_such_model(name).await?),
            Err(error) if is_refused(&error) || heard.elapsed() > PATIENCE => {
                return Err(cluster.error(&format!("follow the check of Model {name}"), error));
            }
            Err(_) => {}
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// What the API server refuses, it refuses again.
fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404))
}

fn withdrawn(name: &str) -> Error {
    let what = "somebody has taken the request back: the annotation is gone";
    Error::cluster(&format!("follow the check of Model {name}"), what, "ask again")
}

/// The bar, or a line where something holds the check up.
async fn show(cluster: &Cluster, model: &Model, bar: Option<&Bar>, said: &mut String) -> Result<(), Error> {
    let name = model.name_any();
    let known = model.status.as_ref().and_then(|status| status.verification.as_ref());
    // What an earlier check found holds nothing up.
    let runs = known.filter(|known| known.result == VerificationResult::Running);
    let trouble = runs.and_then(|known| known.message.clone());
    let progress = match (bar, runs) {
        (Some(_), Some(known)) => newest_progress(cluster, &name, &known.request).await,
        _ => None,
    };
    let message = trouble.as_deref().map(line).unwrap_or_default();
    match bar {
        Some(bar) => bar.draw_check(&name, progress.as_ref(), &message),
        None if message != *said => {
            if !message.is_empty() {
                note(&format!("{name}: the check is held up: {message}"));
            }
            *said = message;
        }
        None => {}
    }
    Ok(())
}

/// The pod that reads, or has read, for this request, as far as the person may see it.
async fn pod(cluster: &Cluster, name: &str, request: &str) -> Option<Pod> {
    let job = cluster.api::<Job>().get_opt(&verify_job_name(name)).await.ok()??;
    if job.annotations().get(VERIFY).is_none_or(|its| its != request) {
        return None;
    }
    let of_model = ListParams::default().labels(&format!("{MODEL}={name}"));
    let pods = cluster.api::<Pod>().list(&of_model).await.ok()?;
    newest_pod(&job, &pods.items).cloned()
}

async fn newest_progress(cluster: &Cluster, name: &str, request: &str) -> Option<Progress> {
    let pod = pod(cluster, name, request).await?;
    let params = LogParams {
        container: Some(CONTAINER.to_owned()),
        tail_lines: Some(TAIL_LINES),
        limit_bytes: Some(TAIL_BYTES),
        ..LogParams::default()
    };
    let log = cluster.api::<Pod>().logs(&pod.name_any(), &params).await.ok()?;
    Progress::newest_in(&log)
}

/// The log of the pod, and the faults that its termination message names. What the person may not see is empty.
async fn found(cluster: &Cluster, name: &str, request: &str) -> (String, Vec<CheckedFile>) {
    let Some(pod) = pod(cluster, name, request).await else { return Default::default() };
    let reported = match pod_outcome(&pod) {
        Some(Outcome::Verified(verified)) => verified.faults,
        _ => Vec::new(),
    };
    let params = LogParams { container: Some(CONTAINER.to_owned()), ..LogParams::default() };
    let log = cluster.api::<Pod>().logs(&pod.name_any(), &params).await.unwrap_or_default();
    (log, reported)
}
