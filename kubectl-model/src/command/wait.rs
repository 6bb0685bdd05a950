//! Waiting for a Model, with a bar on a terminal and lines elsewhere.

use std::env;
use std::io::{self, IsTerminal as _};
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::runtime::{WatchStreamExt as _, watcher};
use model_core::api::Model;
use model_core::names::job_name;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::error::Error;
use crate::progress::{Bar, Waiting, is_news, phase, status_line, waiting};
use crate::text::{note, say};

/// So long a cluster that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a Model that may have failed for good is looked at again, where no change of it tells.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Follows a Model until it is ready or has failed. `false`: it has failed, or the time is over.
pub(super) async fn wait(cluster: &Cluster, name: &str, limit: Option<Duration>) -> Result<bool, Error> {
    // Says what is wrong with the name or the cluster before the screen changes.
    cluster.model(name).await?;
    let bar = is_terminal().then(Bar::begin);
    let ended = match limit {
        Some(limit) => timeout(limit, follow(cluster, name, bar.as_ref())).await.ok().transpose(),
        None => follow(cluster, name, bar.as_ref()).await.map(Some),
    };
    if let Some(bar) = &bar {
        bar.end();
    }
    let model = cluster.model(name).await?;
    let ended = ended?;
    if bar.is_some() {
        say(&status_line(&model))?;
    }
    match (ended, limit) {
        (Some(Waiting::Ready), _) => Ok(true),
        (None, Some(limit)) => {
            let what = format!("it is {} after {} s", phase(&model).as_str(), limit.as_secs());
            let advice = format!("see what holds it up: kubectl model why {name}; or wait longer");
            Err(Error::cluster(&format!("wait for Model {name}"), what, advice))
        }
        (Some(Waiting::Failed | Waiting::GoesOn) | None, _) => {
            note(&format!("see why, and what to do: kubectl model why {name} -n {}", cluster.namespace));
            Ok(false)
        }
    }
}

/// A bar can be drawn there.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

async fn follow(cluster: &Cluster, name: &str, bar: Option<&Bar>) -> Result<Waiting, Error> {
    let doing = format!("watch Model {name}");
    let mut changes = pin!(watcher::watch_object(cluster.api::<Model>(), name).default_backoff());
    let mut shown: Option<Model> = None;
    let mut lost: Option<Instant> = None;
    loop {
        // Whether the Job of a failed Model is there shows in no change of the Model.
        let next = match shown {
            Some(_) => timeout(LOOK_AGAIN, changes.next()).await.ok(),
            None => Some(changes.next().await),
        };
        match next {
            Some(Some(Ok(Some(model)))) => {
                lost = None;
                show(&model, shown.as_ref(), bar)?;
                shown = Some(model);
            }
            Some(Some(Ok(None)) | None) => return Err(cluster.no_such_model(name).await?),
            Some(Some(Err(error))) => {
                let since = *lost.get_or_insert_with(Instant::now);
                give_up(cluster, &doing, error, since)?;
            }
            None => {}
        }
        if let Some(model) = &shown {
            match ended(cluster, model, &doing).await? {
                Waiting::GoesOn => {}
                end => return Ok(end),
            }
        }
    }
}

fn show(model: &Model, before: Option<&Model>, bar: Option<&Bar>) -> Result<(), Error> {
    match bar {
        Some(bar) => bar.draw(model),
        None if is_news(before, model) => say(&status_line(model))?,
        None => {}
    }
    Ok(())
}

/// The Job is asked for only where it matters.
async fn ended(cluster: &Cluster, model: &Model, doing: &str) -> Result<Waiting, Error> {
    let now = Timestamp::now();
    let without_job = waiting(model, false, now);
    if without_job == waiting(model, true, now) {
        return Ok(without_job);
    }
    let name = job_name(model.metadata.name.as_deref().unwrap_or_default());
    let job = cluster.api::<Job>().get_metadata_opt(&name).await.map_err(|error| cluster.error(doing, error))?;
    let stays = job.is_some_and(|job| job.metadata.deletion_timestamp.is_none());
    Ok(waiting(model, stays, now))
}

/// A connection that broke, at `since` for the first time, is made again for a while. What the API server refuses, it
/// refuses again.
fn give_up(cluster: &Cluster, doing: &str, error: watcher::Error, since: Instant) -> Result<(), Error> {
    let refused =
        |error: &kube::Error| matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404));
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error)
            if refused(&error) || since.elapsed() > PATIENCE =>
        {
            Err(cluster.error(doing, error))
        }
        _ => Ok(()),
    }
}
