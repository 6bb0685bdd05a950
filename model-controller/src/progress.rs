//! Progress of running downloads, read from the ends of their logs.
//!
//! One task reads for the whole operator, a bounded number of logs a second, whatever the number of downloads. A line
//! that is lost, forged or huge changes nothing but the figures of its own Model.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::channel::mpsc::UnboundedSender;
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, LogParams};
use kube::runtime::reflector::ObjectRef;
use kube::{Client, ResourceExt};
use model_core::labels;
use model_core::names::job_name;
use model_core::report::Progress;
use model_resources::job::CONTAINER;
use tokio::time::{MissedTickBehavior, interval};

use crate::children::model_of;
use crate::pods::Pods;
use crate::watched_model::WatchedModel;

/// How often each running download is asked, while there are few of them.
const ROUND: Duration = Duration::from_secs(2);
/// Logs that are read at once: a node that does not answer holds up none but its own.
const AT_ONCE: usize = 32;
/// Lines and bytes that are read from the end of a log. The loader prints one short line every two seconds.
const TAIL_LINES: i64 = 2;
const TAIL_BYTES: i64 = 4096;
/// Longest wait for one log.
const PATIENCE: Duration = Duration::from_secs(5);

/// The newest progress line by UID of its Job.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProgressLines(Arc<Mutex<HashMap<String, Progress>>>);

impl ProgressLines {
    pub(crate) fn of_job(&self, job_uid: &str) -> Option<Progress> {
        self.lines().get(job_uid).cloned()
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, HashMap<String, Progress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a line. Says whether it is news.
    fn remember(&self, job_uid: &str, progress: &Progress) -> bool {
        self.lines().insert(job_uid.to_owned(), progress.clone()).as_ref() != Some(progress)
    }

    fn forget_all_but(&self, job_uids: &HashSet<String>) {
        self.lines().retain(|uid, _| job_uids.contains(uid));
    }
}

/// Reads the logs of running downloads for ever, at most `per_second` of them a second, and asks for a pass over each Model
/// that has news.
pub(crate) async fn read_logs(
    client: Client,
    pods: Pods,
    lines: ProgressLines,
    news: UnboundedSender<ObjectRef<WatchedModel>>,
    per_second: NonZeroU32,
) {
    let steady = |period| {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let mut rounds = steady(ROUND);
    let starts = &tokio::sync::Mutex::new(steady(Duration::from_secs(1) / per_second.get()));
    let (client, lines, news) = (&client, &lines, &news);
    loop {
        rounds.tick().await;
        let running = pods.downloading();
        let uids = running.iter().filter_map(job_uid).collect();
        lines.forget_all_but(&uids);
        let read = async |pod: Pod| {
            starts.lock().await.tick().await;
            read_log(client, &pod, lines, news).await;
        };
        stream::iter(running).for_each_concurrent(AT_ONCE, read).await;
    }
}

async fn read_log(client: &Client, pod: &Pod, lines: &ProgressLines, news: &UnboundedSender<ObjectRef<WatchedModel>>) {
    let (Some(job_uid), Some((namespace, model))) = (job_uid(pod), model_of(pod)) else { return };
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let params = LogParams {
        container: Some(CONTAINER.to_owned()),
        tail_lines: Some(TAIL_LINES),
        limit_bytes: Some(TAIL_BYTES),
        ..LogParams::default()
    };
    let log = match tokio::time::timeout(PATIENCE, pods.logs(&pod.name_any(), &params)).await {
        Ok(Ok(log)) => log,
        Ok(Err(error)) => return tracing::debug!(pod = %pod.name_any(), %error, "could not read the log"),
        Err(_) => return tracing::debug!(pod = %pod.name_any(), "the log took too long"),
    };
    let Some(progress) = Progress::newest_in(&log) else { return };
    if lines.remember(&job_uid, &progress) {
        // The receiver goes only when the controller ends.
        let _ = news.unbounded_send(ObjectRef::new(&model).within(&namespace));
    }
}

/// Whether a download runs in this pod. A pod of another Job of ours prints no progress.
pub(crate) fn is_download(pod: &ObjectMeta, status: Option<&PodStatus>) -> bool {
    let running = status.and_then(|status| status.phase.as_deref()) == Some("Running");
    let owner = pod.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let model = pod.labels.as_ref().and_then(|labels| labels.get(labels::MODEL));
    running && owner.zip(model).is_some_and(|(owner, model)| owner.name == job_name(model))
}

fn job_uid(pod: &Pod) -> Option<String> {
    let owner = pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    Some(owner.uid.clone())
}
