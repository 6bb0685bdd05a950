//! Watches, caches and the queue.

use std::fmt::Debug;
use std::future::Future;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::channel::mpsc::unbounded;
use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodSpec};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Error;
use kube::runtime::reflector::{Lookup, ObjectRef, Store, reflector, store};
use kube::runtime::{Config, WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use model_core::api::Model;
use model_core::labels::{self, MANAGED_BY, MANAGER};
use model_core::queue::Limits;
use model_resources::DownloadSettings;
use model_watch::Namespaces;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::backoff::Backoff;
use crate::certificates::{WebhookCertificates, keep_webhook_certificates};
use crate::context::Context;
use crate::downloads::Downloads;
use crate::gates::{self, lift_gates};
use crate::leader::{Elector, LeaderElection, Leadership, LeaseLost};
use crate::metrics::{Caches, Metrics};
use crate::own_writes::OwnWrites;
use crate::pods::Pods;
use crate::progress::{ProgressLines, read_logs};
use crate::reconcile::{after_error, reconcile};
use crate::shared_claims::{models_on, watch_shared_claims};
use crate::writers::{Writers, watch_writers, writer_events};

/// Passes that run at once.
const CONCURRENCY: u16 = 16;

/// How long a Model has to be left alone before a pass. What is made in one pass comes back as one change for each object,
/// and so do the steps of a pod that starts: one pass sees them all.
const QUIET: Duration = Duration::from_millis(50);

/// How long one watch call lasts. Less than the client's read timeout, so that only a dead connection runs into that.
pub(crate) const WATCH_SECONDS: u32 = 60;

/// Logs that are read a second, unless something else is asked for.
pub(crate) const LOG_READS: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// Where `kubectl apply` keeps what it was given.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The name under which Events are reported.
pub(crate) const REPORTER: &str = "model-controller";

pub(crate) type WatchedModel = DeserializeGuard<Model>;

/// A controller that has not started yet.
pub struct Controller {
    client: Client,
    settings: DownloadSettings,
    namespaces: Namespaces,
    election: Option<LeaderElection>,
    limits: Limits,
    certificates: Option<WebhookCertificates>,
    log_reads: NonZeroU32,
    readiness: Readiness,
    metrics: Metrics,
}

/// Whether the first list of all Models was read.
// Not the cache's own `wait_until_ready`: it wakes one waiter only, and that is the queue.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Whether the controller knows all Models.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn heard<K>(&self, event: &Result<watcher::Event<K>, watcher::Error>) {
        if matches!(event, Ok(watcher::Event::InitDone)) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// A controller of the Models of all namespaces, unless told otherwise. It starts with [`Controller::run_until`].
#[must_use]
pub fn controller(client: Client, settings: DownloadSettings) -> Controller {
    let (readiness, metrics) = (Readiness::default(), Metrics::new());
    let (namespaces, limits) = (Namespaces::default(), Limits::default());
    Controller {
        client,
        settings,
        namespaces,
        election: None,
        limits,
        certificates: None,
        log_reads: LOG_READS,
        readiness,
        metrics,
    }
}

impl Controller {
    /// Looks at these namespaces and at no other, and needs no rights elsewhere.
    #[must_use]
    pub fn with_namespaces(mut self, namespaces: Namespaces) -> Self {
        self.namespaces = namespaces;
        self
    }

    /// Acts only while it holds the lease of this election. Until then it keeps its caches filled and writes nothing.
    #[must_use]
    pub fn with_leader_election(mut self, election: LeaderElection) -> Self {
        self.election = Some(election);
        self
    }

    /// Runs at most so many downloads at once; 0, the default: as many as there are. Other Models wait in a line, oldest
    /// first, with the reason `Queued`.
    #[must_use]
    pub fn with_max_concurrent_downloads(mut self, limit: usize) -> Self {
        self.limits.total = NonZeroUsize::new(limit);
        self
    }

    /// Runs at most so many downloads from one host at once; 0, the default: as many as there are. Who waits for a busy
    /// host holds up nobody who asks another one.
    #[must_use]
    pub fn with_max_concurrent_downloads_per_host(mut self, limit: usize) -> Self {
        self.limits.per_host = NonZeroUsize::new(limit);
        self
    }

    /// Also makes and renews the webhook's certificate, while this replica leads.
    #[must_use]
    pub fn with_webhook_certificates(mut self, certificates: WebhookCertificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// Reads at most so many logs a second for the progress of all downloads together; 10 by default.
    #[must_use]
    pub fn with_max_log_reads_per_second(mut self, limit: NonZeroU32) -> Self {
        self.log_reads = limit;
        self
    }

    /// Tells whether the controller is ready, now and later.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// The controller's figures, now and later.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Runs until `stop` resolves; passes that run then are finished, and the lease is released after them. API errors
    /// never end it: they are retried.
    ///
    /// # Errors
    /// With an election: when the lease was lost. Passes that ran then are dropped where they stood.
    pub async fn run_until(mut self, stop: impl Future<Output = ()> + Send + Sync + 'static) -> Result<(), LeaseLost> {
        let Some(election) = self.election.take() else {
            self.run(Leadership::alone(), stop).await;
            return Ok(());
        };
        let (elector, leadership) = Elector::start(&self.client, election);
        leadership.clone().while_held(self.run(leadership, stop)).await?;
        elector.release().await;
        Ok(())
    }

    async fn run(self, leadership: Leadership, stop: impl Future<Output = ()> + Send + Sync + 'static) {
        let Self { client, settings, namespaces, election: _, limits, certificates, log_reads, readiness, metrics } =
            self;
        let (models, writer) = store();
        let (claims, claim_changes) = children(&client, &namespaces, trim_claim);
        let (shared_claims, shared_claim_changes) = watch_shared_claims(&client, &namespaces);
        let (jobs, job_changes) = children(&client, &namespaces, trim_job);
        let (cached_pods, pod_changes) = children(&client, &namespaces, trim_pod);
        let pods = Pods::new(cached_pods.clone());
        let heard = pods.clone();
        let pod_changes = pod_changes.inspect(move |event| event.iter().for_each(|event| heard.heard(event)));
        let (for_gates, of_models) = unbounded();
        let mut beside = JoinSet::new();
        beside.spawn(lift_gates(client.clone(), namespaces.clone(), models.clone(), of_models, leadership.clone()));
        let model_changes = watch(&client, &namespaces, writer, watcher::Config::default(), trim_model)
            .inspect(move |event| {
                readiness.heard(event);
                gates::pass_on(event, &for_gates);
            })
            .applied_objects();
        let (news, own_news) = unbounded();
        let progress = ProgressLines::default();
        metrics.read(Caches { models: models.clone(), jobs: jobs.clone(), leadership: leadership.clone() });
        // Logs are read for the whole operator, not by each replica.
        let reading = read_logs(client.clone(), cached_pods, progress.clone(), news.clone(), log_reads);
        beside.spawn(leadership.clone().gained().then(|()| reading));
        if let Some(certificates) = certificates {
            let keep = leadership.clone().while_held(keep_webhook_certificates(client.clone(), certificates));
            beside.spawn(leadership.clone().gained().then(|()| keep).map(drop));
        }
        let writers = Writers::default();
        let listed = Arc::new(Notify::new());
        let downloads = Downloads::new(limits, settings.env.clone(), models.clone(), jobs.clone(), news.clone());
        beside.spawn(watch_writers(writer_events(&client, &namespaces), writers.clone(), news, listed.clone()));
        let running = jobs.clone();
        // The first passes already know who writes, or each restart would take back a condition that still holds. And
        // they know which downloads run, or each restart would start too many.
        let model_changes = async move {
            listed.notified().await;
            // It fails only when nobody fills the cache any more, which is when the controller ends.
            let _ = running.wait_until_ready().await;
            model_changes
        }
        .flatten_stream();
        let context = Arc::new(Context {
            client,
            settings,
            claims,
            shared_claims,
            jobs,
            pods,
            progress,
            writers,
            downloads: downloads.clone(),
            backoff: Backoff::default(),
            own_writes: OwnWrites::default(),
            leadership: leadership.clone(),
            metrics,
        });
        let named_by = models.clone();
        kube::runtime::Controller::for_stream(model_changes, models)
            .with_config(Config::default().concurrency(CONCURRENCY).debounce(QUIET))
            .watches_stream(claim_changes.touched_objects(), |claim| model_of(&claim))
            .watches_stream(shared_claim_changes, move |claim| models_on(&named_by, &claim))
            .watches_stream(job_changes.touched_objects(), |job| model_of(&job))
            .watches_stream(pod_changes.touched_objects(), |pod| model_of(&pod))
            .reconcile_on(own_news)
            .reconcile_all_on(leadership.begins())
            .graceful_shutdown_on(stop)
            .run(reconcile, |model, error, context| after_error(&model, error, &context), context)
            .for_each(|pass| {
                if let Err(Error::ObjectNotFound(model)) = &pass {
                    downloads.is_gone(model.namespace.as_deref().unwrap_or_default(), &model.name);
                }
                async move {
                    match pass {
                        // Failed passes were logged with their Model.
                        Ok(_) | Err(Error::ReconcilerFailed(..)) => {}
                        Err(Error::ObjectNotFound(model)) => tracing::debug!(%model, "gone"),
                        Err(error) => {
                            let cause = std::error::Error::source(&error).map(ToString::to_string);
                            tracing::warn!(%error, cause, "a watch broke off; it goes on");
                        }
                    }
                }
            })
            .await;
    }
}

/// A watch of our children of one kind: a cache and its changes, deletions included.
fn children<K>(
    client: &Client,
    namespaces: &Namespaces,
    trim: fn(&mut K),
) -> (Store<K>, impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + use<K>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Lookup<DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    let (cache, writer) = store();
    let ours = watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
    (cache, watch(client, namespaces, writer, ours, trim))
}

/// What kubectl was given last is the Model once more.
fn trim_model(model: &mut WatchedModel) {
    if let Some(annotations) = &mut model.meta_mut().annotations {
        annotations.remove(LAST_APPLIED);
    }
}

/// Annotations of claims are for provisioners.
fn trim_claim(claim: &mut PersistentVolumeClaim) {
    claim.metadata.annotations = None;
}

/// Of its pods a pass wants to know only to which nodes they are bound.
fn trim_job(job: &mut Job) {
    if let Some(status) = &mut job.status {
        status.uncounted_terminated_pods = None;
    }
    let Some(spec) = &mut job.spec else { return };
    spec.selector = None;
    spec.template.metadata = None;
    if let Some(pod) = &mut spec.template.spec {
        *pod = PodSpec { affinity: pod.affinity.take(), ..PodSpec::default() };
    }
}

/// What a pod mounts is told where it does not start. What its containers run is not.
fn trim_pod(pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    let (node_name, volumes) = (spec.node_name.take(), spec.volumes.take());
    *spec = PodSpec { node_name, volumes, ..PodSpec::default() };
}

/// A watch of these namespaces that fills a cache and goes on after errors. `trim` takes out what no pass reads: a cache
/// holds every object for as long as there is one.
pub(crate) fn watch<K>(
    client: &Client,
    namespaces: &Namespaces,
    writer: kube::runtime::reflector::store::Writer<K>,
    config: watcher::Config,
    trim: fn(&mut K),
) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + use<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Lookup<DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    reflector(writer, namespaces.watch(client, config.timeout(WATCH_SECONDS)).modify(trim))
}

/// The Model that a child belongs to.
fn model_of(child: &impl ResourceExt) -> Option<ObjectRef<WatchedModel>> {
    let name = child.labels().get(labels::MODEL)?;
    Some(ObjectRef::new(name).within(&child.namespace()?))
}
