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
use kube::runtime::controller::Error;
use kube::runtime::reflector::{reflector, store};
use kube::runtime::{Config, WatchStreamExt, watcher};
use kube::{Client, Resource};
use model_core::queue::Limits;
use model_resources::DownloadSettings;
use model_watch::{Namespaces, with_causes};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::backoff::Backoff;
use crate::cache::Cache;
use crate::certificates::{WebhookCertificates, keep_webhook_certificates};
use crate::children::{trim_claim, trim_job, watch_children};
use crate::context::Context;
use crate::downloads::{Downloads, no_jobs};
use crate::gates::{self, lift_gates};
use crate::leader::{Elector, LeaderElection, Leadership, LeaseLost};
use crate::metrics::{Caches, Metrics};
use crate::own_writes::OwnWrites;
use crate::pods::Pods;
use crate::progress::{ProgressLines, read_logs};
use crate::reconcile::{after_error, reconcile};
use crate::shared_claims::watch_shared_claims;
use crate::watched_model::WatchedModel;
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
        let (claims, shared_claims) = (Cache::new(|_| false), Cache::new(|_| false));
        let (jobs, pods) = (no_jobs(), Pods::default());
        let (whole, lists) = unbounded();
        let (to_claims, to_jobs, to_pods) = (claims.clone(), jobs.clone(), pods.clone());
        let of_claims = watch_children(&client, &namespaces, &whole, trim_claim, move |event| to_claims.heard(event));
        let of_jobs = watch_children(&client, &namespaces, &whole, trim_job, move |event| to_jobs.heard(event));
        let of_pods = watch_children(&client, &namespaces, &whole, trim_job, move |event| to_pods.heard(event));
        let of_shared_claims = watch_shared_claims(&client, &namespaces, &whole, shared_claims.clone(), models.clone());
        let (for_gates, of_models) = unbounded();
        let mut beside = JoinSet::new();
        beside.spawn(lift_gates(client.clone(), namespaces.clone(), models.clone(), of_models, leadership.clone()));
        let told = watch(&client, &namespaces, watcher::Config::default()).modify(trim_model);
        let model_changes = reflector(writer, told)
            .inspect(move |event| {
                readiness.heard(event);
                gates::pass_on(event, &for_gates);
                if matches!(event, Ok(watcher::Event::InitDone)) {
                    let _ = whole.unbounded_send(());
                }
            })
            .applied_objects();
        let (news, own_news) = unbounded();
        let progress = ProgressLines::default();
        metrics.read(Caches { models: models.clone(), jobs: jobs.clone(), leadership: leadership.clone() });
        // Logs are read for the whole operator, not by each replica.
        let reading = read_logs(client.clone(), pods.clone(), progress.clone(), news.clone(), log_reads);
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
            running.filled().await;
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
            downloads,
            backoff: Backoff::default(),
            own_writes: OwnWrites::default(),
            leadership: leadership.clone(),
            metrics,
        });
        let (of_passes, of_lists) = (context.clone(), context.clone());
        // What went while nobody watched is in no list: all are looked at.
        let lists = lists.inspect(move |()| of_lists.downloads.look_again());
        let passes = kube::runtime::Controller::for_stream(model_changes, models)
            .with_config(Config::default().concurrency(CONCURRENCY).debounce(QUIET))
            .reconcile_on(of_claims)
            .reconcile_on(of_shared_claims)
            .reconcile_on(of_jobs)
            .reconcile_on(of_pods)
            .reconcile_on(own_news)
            .reconcile_all_on(leadership.begins())
            .reconcile_all_on(lists)
            .graceful_shutdown_on(stop)
            .run(reconcile, |model, error, context| after_error(&model, error, &context), context)
            .for_each(|pass| {
                if let Err(Error::ObjectNotFound(model)) = &pass {
                    let namespace = model.namespace.as_deref().unwrap_or_default();
                    of_passes.downloads.is_gone(namespace, &model.name);
                    of_passes.backoff.succeeded(&format!("{namespace}/{}", model.name));
                }
                async move {
                    match pass {
                        // Failed passes were logged with their Model.
                        Ok(_) | Err(Error::ReconcilerFailed(..)) => {}
                        Err(Error::ObjectNotFound(model)) => tracing::debug!(%model, "gone"),
                        Err(error) => {
                            let error = with_causes(&error);
                            tracing::warn!(error, "a watch broke off; it goes on");
                        }
                    }
                }
            });
        tokio::select! {
            () = passes => {}
            () = panic_of(beside) => {}
        }
    }
}

/// Goes on for ever, unless one of these tasks panics: then so does this, and the process is started anew.
async fn panic_of(mut tasks: JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
            std::panic::resume_unwind(panic);
        }
    }
    std::future::pending::<()>().await;
}

/// What kubectl was given last is the Model once more.
fn trim_model(model: &mut WatchedModel) {
    if let Some(annotations) = &mut model.meta_mut().annotations {
        annotations.remove(LAST_APPLIED);
    }
}

/// A watch of these namespaces that goes on after errors.
pub(crate) fn watch<K>(
    client: &Client,
    namespaces: &Namespaces,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + use<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    namespaces.watch(client, config.timeout(WATCH_SECONDS))
}
