//! The look at a Model's children: from the watch caches, or from the API server itself.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ListParams};
use kube::{Client, Resource, ResourceExt};
use model_core::api::Model;
use model_core::decide::is_verification_open;
use model_core::labels;
use model_core::names::{job_name, plan_job_name, prune_job_name, verify_job_name};
use model_core::observed::{
    JobState, Observed, Placement, PlanState, PruneJob, Refusal, Users, claim_details, claim_state, is_answer_wanted,
    is_downloading, is_misplaced, is_pruning, job_state, newest_pod, nodes_of, placement, plan_state, pod_outcome,
    pod_trouble, pod_unmounted, podless, prune_job, verify_job,
};
use model_core::persisted::{Downloader, Persisted};
use model_core::reason::Reason;
use model_core::report::Outcome;
use model_watch::Lean;

use crate::context::Context;
use crate::downloads::{is_at_work, is_complete};
use crate::error::Error;
use crate::own_writes::Cached;
use crate::warnings;

/// Marks the storage class that claims without a class get.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// Pods that are asked for at once.
const PAGE: u32 = 200;

/// The children of one Model, as objects. Default: there are none, and nobody looked further.
///
/// Boxed: they are large, and every pass moves them.
#[derive(Default)]
pub(crate) struct Children {
    pub claim: Option<Box<PersistentVolumeClaim>>,
    pub job: Option<Box<Job>>,
    pub pod: Option<Box<Pod>>,
    /// The Job that asks the source, and its pod. Looked for only where it has a say.
    pub plan: Option<Box<(Job, Option<Pod>)>>,
    /// Whether the claim's storage class exists. `None` where nobody looked.
    pub class_exists: Option<bool>,
    /// Where a new Job can mount the claim. `None` where nobody looked.
    pub placement: Option<Placement>,
    /// Whether the claim's storage class lets it grow. `None` where nobody looked.
    pub expandable: Option<bool>,
    /// The prune Job, and its pod.
    pub prune: Option<Box<(Job, Option<Pod>)>>,
    /// Whether a pod of the prune Job has not ended, the Job's own end notwithstanding. False where nobody looked.
    pub prunes: bool,
    /// The same of the download Job.
    pub downloads: bool,
    /// The Job that reads the published content again, and its pod. Looked for only while somebody waits for its answer.
    pub verify: Option<Box<(Job, Option<Pod>)>>,
    /// Which contents pods name. `None` where nobody looked.
    pub users: Option<Users>,
    /// The newest warning on an unbound claim. `None` where there is none or nobody looked.
    pub claim_warning: Option<String>,
    /// Why the Job without a pod has none, the download or the one that asks the source; or why its pod does not start.
    pub refusal: Refusal,
}

impl Children {
    /// What the watch caches hold. It may lag behind.
    pub(crate) fn cached(context: &Context, model: &Persisted) -> Self {
        let job_of_name = |name: String| context.jobs.get(model.namespace, &name);
        let pods = context.pods.of(model.namespace, model.name);
        let with_pod = |job: Job| with_newest_pod(job, &pods);
        let job = job_of_name(job_name(model.name)).map(Box::new);
        let pod = job.as_deref().and_then(|job| newest_pod(job, &pods)).cloned().map(Box::new);
        let claim = model.claim_name();
        let shared = || context.shared_claims.get(model.namespace, &claim).filter(|_| model.shares_claim());
        let claim = context.claims.get(model.namespace, &claim).or_else(shared).map(Box::new);
        let prune = job_of_name(prune_job_name(model.name)).map(with_pod);
        let is_planned = is_planned(model, claim.as_deref());
        let plan = is_planned.then(|| job_of_name(plan_job_name(model.name))).flatten().map(with_pod);
        let is_verified = is_verification_open(model);
        let verify = is_verified.then(|| job_of_name(verify_job_name(model.name))).flatten().map(with_pod);
        Self { claim, job, pod, plan, prune, verify, ..Self::default() }
    }

    /// What the API server holds now. The Job is read before the claim: a claim is older than its Job, so a claim that
    /// another controller creates between the two reads cannot make its Job look like one without a claim.
    pub(crate) async fn live(client: &Client, model: &Persisted<'_>, now: Timestamp) -> Result<Self, Error> {
        let claims: Api<Lean<PersistentVolumeClaim>> = Api::namespaced(client.clone(), model.namespace);
        let jobs: Api<Lean<Job>> = Api::namespaced(client.clone(), model.namespace);
        let job = live_job(&jobs, &job_name(model.name), "read the Job").await?;
        let prune = live_job(&jobs, &prune_job_name(model.name), "read the prune Job").await?;
        let claim = claims.get_opt(&model.claim_name()).await.map_err(|error| Error::api("read the claim", error))?;
        let claim = claim.map(|Lean(claim)| claim);
        let plan = if is_planned(model, claim.as_deref()) {
            live_job(&jobs, &plan_job_name(model.name), "read the plan Job").await?
        } else {
            None
        };
        let verify = if is_verification_open(model) {
            live_job(&jobs, &verify_job_name(model.name), "read the verify Job").await?
        } else {
            None
        };
        // After all Jobs, so that no pod of theirs is missed.
        let has_jobs = [&job, &prune, &plan, &verify].into_iter().any(Option::is_some);
        let pods = if has_jobs { live_pods(client, model).await? } else { Vec::new() };
        let pod = job.as_deref().and_then(|job| newest_pod(job, &pods)).cloned().map(Box::new);
        let with_pod = |job: Box<Job>| with_newest_pod(*job, &pods);
        let (prune, plan, verify) = (prune.map(with_pod), plan.map(with_pod), verify.map(with_pod));
        let class_exists = match &claim {
            Some(claim) => class_exists(client, claim).await?,
            None => None,
        };
        let claim_warning = match &claim {
            Some(claim) => warnings::of_claim(client, claim, now).await,
            None => None,
        };
        let refusal = match (job.as_deref(), pod.as_deref(), plan.as_deref()) {
            (Some(job), None, _) | (None, _, Some((job, None))) if is_late(job, now) => {
                warnings::of_job(client, job).await
            }
            (Some(_), Some(pod), _) | (_, _, Some((_, Some(pod)))) if does_not_start(pod, now) => {
                warnings::of_pod(client, pod).await
            }
            _ => Refusal::NotRead,
        };
        let mut found =
            Self { claim, job, pod, plan, class_exists, prune, verify, claim_warning, refusal, ..Self::default() };
        // The list is long in a busy namespace, so it is read only where a Job may be made.
        if found.claim.is_some() && (found.job.is_none() || found.is_stuck()) {
            found.look_at_users(client, model).await?;
        }
        Ok(found)
    }

    /// Whether there is no object at all.
    pub(crate) const fn are_none(&self) -> bool {
        let Self { claim, job, plan, prune, verify, .. } = self;
        claim.is_none() && job.is_none() && plan.is_none() && prune.is_none() && verify.is_none()
    }

    /// What tells whether a cache holds the newest of these and of their Model.
    pub(crate) fn versions<'a>(&'a self, model: &'a Model) -> Cached<'a> {
        fn uid(object: &impl Resource) -> Option<&str> {
            object.meta().uid.as_deref()
        }
        Cached {
            claim: self.claim.as_deref().and_then(uid),
            job: self.job.as_deref().and_then(uid),
            version: model.metadata.resource_version.as_deref(),
        }
    }

    /// Reads the Job and its newest pod as the API server holds them now. A Job that is complete stays so, and so does
    /// what its pod said at its end.
    ///
    /// Where somebody found content damaged, a complete Job may be the one that fetched it, and is read anew.
    pub(crate) async fn look_at_download(&mut self, client: &Client, model: &Persisted<'_>) -> Result<(), Error> {
        let is_doubted = model.status.is_some_and(|status| status.verification.is_some());
        if is_doubted || !self.job.as_deref().is_some_and(is_complete) {
            let jobs: Api<Lean<Job>> = Api::namespaced(client.clone(), model.namespace);
            self.job = live_job(&jobs, &job_name(model.name), "read the Job").await?;
        } else if matches!(self.pod.as_deref().and_then(pod_outcome), Some(Outcome::Succeeded(_))) {
            return Ok(());
        }
        let pods = if self.job.is_some() { live_pods(client, model).await? } else { Vec::new() };
        self.pod = self.job.as_deref().and_then(|job| newest_pod(job, &pods)).cloned().map(Box::new);
        Ok(())
    }

    /// Whether only the Events of the Job or of its pod tell why there is no progress.
    pub(crate) fn are_events_wanted(&self, now: Timestamp) -> bool {
        let late = |job: &Job| self.pod.is_none() && is_late(job, now);
        self.job.as_deref().is_some_and(late) || self.pod.as_deref().is_some_and(|pod| does_not_start(pod, now))
    }

    /// Whether the Job is bound to nodes and its pod fits on none of them. Then the claim may have moved.
    pub(crate) fn is_stuck(&self) -> bool {
        let bound = self.job.as_deref().is_some_and(|job| !nodes_of(job).is_empty());
        bound
            && self.pod.as_deref().and_then(pod_trouble).is_some_and(|trouble| trouble.reason == Reason::Unschedulable)
    }

    /// Whether the claim is known to have left the nodes that its stuck Job is bound to.
    fn has_moved(&self, job: &Job) -> bool {
        self.is_stuck() && self.placement.as_ref().is_some_and(|placement| is_misplaced(job, placement))
    }

    /// Looks whether the claim's storage class lets it grow. One that is gone does not.
    pub(crate) async fn look_at_class(&mut self, client: &Client) -> Result<(), Error> {
        let spec = self.claim.as_ref().and_then(|claim| claim.spec.as_ref());
        let name = spec.and_then(|spec| spec.storage_class_name.as_deref()).filter(|name| !name.is_empty());
        let classes: Api<StorageClass> = Api::all(client.clone());
        let class = match name {
            Some(name) => classes.get_opt(name).await.map_err(|error| Error::api("read the storage class", error))?,
            None => None,
        };
        self.expandable = Some(class.and_then(|class| class.allow_volume_expansion) == Some(true));
        Ok(())
    }

    /// Looks where the claim's pods are, and which contents they name. No selector finds the pods of a claim, so this lists all
    /// of the namespace, once a pass.
    pub(crate) async fn look_at_users(&mut self, client: &Client, model: &Persisted<'_>) -> Result<(), Error> {
        let claim = model.claim_name();
        // Those of its Jobs count, whatever they mount.
        let is_own = |pod: &Pod| pod.labels().get(labels::MODEL).is_some_and(|name| name == model.name);
        let is_wanted = |pod: &Pod| is_own(pod) || mounts(pod, &claim);
        let pods = list_pods(client, model, "", "list the claim's pods", is_wanted).await?;
        self.prunes = is_pruning(model, &pods);
        self.downloads = is_downloading(model, &pods);
        self.users = Some(Users::of_claim(&claim, &pods));
        self.placement = self.claim.as_deref().map(|claim| placement(claim, &pods));
        Ok(())
    }

    /// Reduces the objects to what can change the outcome, as if there were no line for downloads.
    pub(crate) fn observed<'a>(&self, context: &Context, model: &'a Persisted<'a>, now: Timestamp) -> Observed<'a> {
        let claim = claim_state(model, self.claim.as_deref(), self.class_exists, self.claim_warning.as_deref());
        let progress = self.job.as_deref().and_then(|job| context.progress.of_job(job.uid().as_deref()?));
        let refusal = self.refusal.clone();
        let state = job_state(model, &claim, self.job.as_deref(), self.pod.as_deref(), progress, refusal, now);
        let job = match (&self.job, state) {
            // All stock images write to one place, and take no lock.
            (None, JobState::Absent) if self.downloads && context.settings.downloader == Downloader::Stock => {
                JobState::Terminating
            }
            (Some(job), JobState::Running { .. }) if self.has_moved(job) => {
                JobState::Stale { uid: job.uid().unwrap_or_default() }
            }
            (_, state) => state,
        };
        let plan = match (&context.settings.downloader, self.plan.as_deref()) {
            (Downloader::Stock, _) => PlanState::Unsupported,
            (Downloader::Loader { .. }, None) => PlanState::Absent,
            (Downloader::Loader { .. }, Some((job, pod))) => {
                plan_state(model, &claim, Some(job), pod.as_ref(), self.refusal.clone(), now)
            }
        };
        let writer = context.writers.of(model.namespace, model.name);
        let wanted_path = model.content_path(&context.settings.downloader);
        let (prune, its_pod) = self.prune.as_deref().map_or((None, None), |(job, pod)| (Some(job), pod.as_ref()));
        let prune = match prune_job(model, &claim, prune, its_pod, self.placement.as_ref()) {
            PruneJob::Absent if self.prunes => PruneJob::Terminating,
            prune => prune,
        };
        let (verify, verify_pod) = self.verify.as_deref().map(|(job, pod)| (job, pod.as_ref())).unzip();
        let verify = verify_job(model, &claim, verify, verify_pod.flatten(), now);
        let of_ours = self.claim.as_deref().filter(|_| claim.uid().is_some() && !model.shares_claim());
        let claim_details = of_ours.map(|object| claim_details(model, object, self.expandable));
        Observed {
            model,
            wanted_path,
            claim,
            placement: self.placement.clone().unwrap_or_default(),
            job,
            plan,
            checks_full: false,
            writer,
            queue: None,
            claim_details,
            prune,
            users: self.users.clone(),
            verify,
            can_verify: matches!(context.settings.downloader, Downloader::Loader { .. }),
        }
    }
}

/// Whether the Job that asks the source has a say: before a download, and where newer content is asked for.
fn is_planned(model: &Persisted, claim: Option<&PersistentVolumeClaim>) -> bool {
    let before = model.wants_plan() && (claim.is_none() || is_answer_wanted(model));
    before || (claim.is_some() && model.check_interval().is_some())
}

fn with_newest_pod(job: Job, pods: &[Pod]) -> Box<(Job, Option<Pod>)> {
    let pod = newest_pod(&job, pods).cloned();
    Box::new((job, pod))
}

async fn live_job(jobs: &Api<Lean<Job>>, name: &str, doing: &'static str) -> Result<Option<Box<Job>>, Error> {
    let job = jobs.get_opt(name).await.map_err(|error| Error::api(doing, error))?;
    Ok(job.map(|Lean(job)| job))
}

/// Whether a Job that runs has been without a pod for so long that its Events tell why.
fn is_late(job: &Job, now: Timestamp) -> bool {
    is_at_work(job) && podless(job, Refusal::NotRead).is_some_and(|podless| now >= podless.late())
}

/// Whether a node has had a pod for so long without starting it that the pod's Events tell why.
fn does_not_start(pod: &Pod, now: Timestamp) -> bool {
    pod_unmounted(pod, Refusal::NotRead).is_some_and(|unmounted| unmounted.placed && now >= unmounted.late())
}

/// The Model as the API server holds it now. `None`: it is gone.
pub(crate) async fn live_model(client: &Client, model: &Persisted<'_>) -> Result<Option<Model>, Error> {
    let models: Api<Lean<Model>> = Api::namespaced(client.clone(), model.namespace);
    let model = models.get_opt(model.name).await.map_err(|error| Error::api("read the Model", error))?;
    Ok(model.map(|Lean(model)| *model))
}

/// The pods of the Model's Jobs.
async fn live_pods(client: &Client, model: &Persisted<'_>) -> Result<Vec<Pod>, Error> {
    let of_model = format!("{}={}", labels::MODEL, model.name);
    list_pods(client, model, &of_model, "list the download pods", |_| true).await
}

/// The pods of the Model's namespace that have these labels and are wanted. They come by the page, so that no more is held
/// at once of a namespace with thousands.
async fn list_pods(
    client: &Client,
    model: &Persisted<'_>,
    labels: &str,
    doing: &'static str,
    is_wanted: impl Fn(&Pod) -> bool,
) -> Result<Vec<Pod>, Error> {
    let pods: Api<Lean<Pod>> = Api::namespaced(client.clone(), model.namespace);
    let (mut page, mut found) = (ListParams::default().labels(labels).limit(PAGE), Vec::new());
    loop {
        let pods = pods.list(&page).await.map_err(|error| Error::api(doing, error))?;
        found.extend(pods.items.into_iter().map(|Lean(pod)| *pod).filter(&is_wanted));
        match pods.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => page = page.continue_token(&next),
            None => return Ok(found),
        }
    }
}

fn mounts(pod: &Pod, claim: &str) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref()).any(|mounted| mounted.claim_name == claim)
}

/// Whether the storage class of an unbound claim exists. A bound claim has no need of it.
async fn class_exists(client: &Client, claim: &PersistentVolumeClaim) -> Result<Option<bool>, Error> {
    if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound") {
        return Ok(None);
    }
    let classes: Api<StorageClass> = Api::all(client.clone());
    let doing = "read the storage class";
    match claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()) {
        // An empty name asks for a volume that somebody made by hand.
        Some("") => Ok(None),
        Some(name) => {
            Ok(Some(classes.get_metadata_opt(name).await.map_err(|error| Error::api(doing, error))?.is_some()))
        }
        None => {
            let all = classes.list_metadata(&ListParams::default()).await.map_err(|error| Error::api(doing, error))?;
            Ok(Some(
                all.iter().any(|class| class.annotations().get(DEFAULT_CLASS).is_some_and(|value| value == "true")),
            ))
        }
    }
}
