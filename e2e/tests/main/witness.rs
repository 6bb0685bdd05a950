//! Which Jobs there were, and whose containers ran at the same time, as the API server told it while it happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use model_core::labels::CONTENT_ID;
use model_core::names::{job_name, prune_job_name};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::scene::Scene;

/// Kubernetes' own label on a Job's pods.
const JOB: &str = "batch.kubernetes.io/job-name";

/// Watches the Jobs of a Model `tiny` and their pods, until it is dropped.
pub struct Witness {
    seen: Arc<Mutex<Seen>>,
    _watches: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    /// UIDs of download Jobs by content id.
    downloads: BTreeMap<String, BTreeSet<String>>,
    /// Names of the Jobs of which a container runs, by the UID of its pod.
    running: BTreeMap<String, String>,
    /// What ran at the same time and must not.
    beside: BTreeSet<String>,
}

impl Witness {
    pub fn start(scene: &Scene) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut watches = JoinSet::new();
        watches.spawn(each(scene.api(), seen.clone(), Seen::job));
        watches.spawn(each(scene.api(), seen.clone(), Seen::pod));
        Self { seen, _watches: watches }
    }

    /// So many contents were downloaded, each by one Job, and nothing wrote beside anything else.
    pub fn saw_one_download_of_each(&self, contents: usize) {
        let seen = self.seen.lock().expect("nobody panicked");
        assert!(seen.downloads.values().all(|jobs| jobs.len() == 1), "Jobs by content: {:?}", seen.downloads);
        assert_eq!(seen.downloads.len(), contents, "contents that a Job was made for: {:?}", seen.downloads);
        assert!(seen.beside.is_empty(), "ran at the same time: {:?}", seen.beside);
    }
}

/// Notes every change of one kind of object.
async fn each<K>(objects: Api<K>, seen: Arc<Mutex<Seen>>, note: fn(&mut Seen, &K, bool))
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut changes = watcher(objects, Config::default()).default_backoff().boxed();
    while let Some(change) = changes.next().await {
        let mut seen = seen.lock().expect("nobody panicked");
        match &change {
            Ok(Event::Apply(object) | Event::InitApply(object)) => note(&mut seen, object, true),
            Ok(Event::Delete(object)) => note(&mut seen, object, false),
            // A watch that breaks off goes on by itself.
            Ok(Event::Init | Event::InitDone) | Err(_) => {}
        }
    }
}

impl Seen {
    fn job(&mut self, job: &Job, _is_there: bool) {
        let content = job.annotations().get(CONTENT_ID).filter(|_| job.name_any() == job_name("tiny"));
        if let (Some(content), Some(uid)) = (content, job.uid()) {
            self.downloads.entry(content.clone()).or_default().insert(uid);
        }
    }

    fn pod(&mut self, pod: &Pod, is_there: bool) {
        let writes = [job_name("tiny"), prune_job_name("tiny")];
        let job = pod.labels().get(JOB).filter(|name| writes.contains(name));
        let (Some(job), Some(uid)) = (job, pod.uid()) else { return };
        let mut containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        if is_there && containers.any(|known| known.state.as_ref().is_some_and(|state| state.running.is_some())) {
            let others = self.running.iter().filter(|(other, _)| **other != uid);
            self.beside.extend(others.map(|(other, theirs)| format!("{theirs} ({other}) and {job} ({uid})")));
            self.running.insert(uid, job.clone());
        } else {
            self.running.remove(&uid);
        }
    }
}
