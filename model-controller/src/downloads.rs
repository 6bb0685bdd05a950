//! The bound on downloads at once: one line of Models for the whole operator. Checks for newer content take what is left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use model_core::api::{Model, ModelStatus};
use model_core::decide::{Decision, Write};
use model_core::host::source_host;
use model_core::labels;
use model_core::names::job_name;
use model_core::observed::{JobState, Observed, PlanState};
use model_core::persisted::Persisted;
use model_core::queue::{Key, Limits, Place, Queue, Ticket};
use model_core::reason::Reason;
use model_core::status::DOWNLOADED;

use crate::cache::Cache;
use crate::checks::{Checks, is_check};
use crate::children::model_of;
use crate::watched::WatchedJob;
use crate::watched_model::WatchedModel;

/// All Jobs of the operator.
pub(crate) type Jobs = Cache<WatchedJob, Job>;

/// None yet. Those at work are those that have neither succeeded nor failed.
pub(crate) fn no_jobs() -> Jobs {
    Jobs::new(|job| !has_ended(job.status.as_ref()))
}

/// What a look at a Model means for the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// It would start a download.
    Asks,
    /// It would ask its source for newer content.
    AsksToCheck,
    /// Its source is being asked for newer content.
    Checks,
    /// Its download runs.
    Runs,
    /// An old Job of it goes. What it has it keeps, so that a new spec does not stand in line for its own place.
    Stays,
    /// It neither has nor wants a download.
    Leaves,
}

impl Stand {
    /// Of a Model for which this was decided as if there were no line.
    pub(crate) fn of(seen: &Observed, decision: &Decision) -> Self {
        if decision.writes.contains(&Write::CreateJob) {
            return Self::Asks;
        }
        if decision.writes.contains(&Write::CreateCheckJob) {
            return Self::AsksToCheck;
        }
        match seen.job {
            JobState::Running { .. } => Self::Runs,
            JobState::Stale { .. } | JobState::Terminating => Self::Stays,
            _ if is_checked(seen) => Self::Checks,
            JobState::Absent | JobState::Foreign { .. } | JobState::Succeeded { .. } | JobState::Failed { .. } => {
                Self::Leaves
            }
        }
    }
}

/// Whether the Job of a check runs.
fn is_checked(seen: &Observed) -> bool {
    seen.claim.uid().is_some() && matches!(seen.plan, PlanState::Running { .. } | PlanState::Terminating)
}

/// The line, and how those who stand in it hear that it moved. Clones share the same. Without a bound there is none.
#[derive(Clone)]
pub(crate) struct Downloads {
    line: Option<Arc<Line>>,
    checks: Checks,
    news: UnboundedSender<ObjectRef<WatchedModel>>,
}

struct Line {
    limits: Limits,
    /// Environment of the downloads.
    env: BTreeMap<String, String>,
    /// `None` until the first question: then a replica leads, and its caches hold what an earlier leader left.
    queue: Mutex<Option<Queue>>,
    models: Store<WatchedModel>,
    jobs: Jobs,
}

impl Downloads {
    /// At most so many downloads at once. `env` is the environment of each.
    pub(crate) fn new(
        limits: Limits,
        env: BTreeMap<String, String>,
        models: Store<WatchedModel>,
        jobs: Jobs,
        news: UnboundedSender<ObjectRef<WatchedModel>>,
    ) -> Self {
        let checks = Checks::new(jobs.clone());
        let line = || Arc::new(Line { limits, env, queue: Mutex::new(None), models, jobs });
        Self { line: (limits != Limits::default()).then(line), checks, news }
    }

    /// The place of a Model for which this was decided as if there were no line. `None`: the decision stands.
    pub(crate) fn place(&self, model: &Model, stand: Stand) -> Option<Place> {
        if stand == Stand::Checks {
            self.checks.runs(key(model));
        }
        let line = self.line.as_ref()?;
        let ticket = line.ticket(model);
        let mut known = line.started();
        let queue = known.get_or_insert_with(|| line.found());
        let place = match stand {
            Stand::Asks => queue.ask(&ticket),
            Stand::Runs | Stand::Checks if queue.runs(&ticket) => None,
            // Nothing has moved. To go along the line takes longer, the more wait.
            Stand::Runs | Stand::Checks | Stand::AsksToCheck | Stand::Stays | Stand::Leaves => return None,
        };
        drop(known);
        self.wake(line);
        place
    }

    /// Whether this Model may ask its source for newer content now. It counts as a download from then on, and never stands
    /// in the line: whoever downloads goes first.
    pub(crate) fn may_check(&self, model: &Model) -> bool {
        if !self.checks.may_start(&key(model)) {
            return false;
        }
        let Some(line) = &self.line else { return true };
        let free = line.started().get_or_insert_with(|| line.found()).may_pass(&line.ticket(model));
        self.wake(line);
        if !free {
            self.checks.ended(&key(model));
        }
        free
    }

    /// A Model wants no download, or could not start it. Others go first until it asks again.
    pub(crate) fn leaves(&self, model: &Persisted) {
        let key = (model.namespace.to_owned(), model.name.to_owned());
        self.checks.ended(&key);
        if let Some(line) = &self.line {
            self.leave(line, &key);
        }
    }

    /// Looks again at the Models that count as running, also at those that no cache has: one that went together with its
    /// Job while nobody watched would keep its place.
    pub(crate) fn look_again(&self) {
        for key in self.checks.running() {
            self.tell(&key);
        }
        let Some(line) = &self.line else { return };
        for key in line.started().iter().flat_map(Queue::running) {
            self.tell(key);
        }
    }

    fn leave(&self, line: &Line, key: &Key) {
        // Nobody has asked yet: this replica does not lead, or has just begun to.
        let moved = line.started().as_mut().is_some_and(|queue| queue.leaves(key));
        if moved {
            self.wake(line);
        }
    }

    /// Those look again who may start now, or whose place is another than they were told.
    fn wake(&self, line: &Line) {
        for key in line.started().iter().flat_map(Queue::moved) {
            self.tell(key);
        }
    }

    fn tell(&self, (namespace, name): &Key) {
        // The receiver goes only when the controller ends.
        let _ = self.news.unbounded_send(ObjectRef::new(name).within(namespace));
    }

    /// A Model is gone, or nothing can be done about it as it is. Its download may still run: then it counts until its
    /// Job has ended.
    pub(crate) fn is_gone(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        self.checks.ended(&key);
        let Some(line) = &self.line else { return };
        if !line.running().iter().any(|(running, _)| *running == key) {
            self.leave(line, &key);
        }
    }
}

impl Line {
    fn started(&self) -> MutexGuard<'_, Option<Queue>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line as an earlier leader left it.
    fn found(&self) -> Queue {
        Queue::new(self.limits, self.running(), self.waiting())
    }

    /// The Models whose Job has not ended, with the host that they download from. Of a Model that is gone it is not known.
    fn running(&self) -> Vec<(Key, String)> {
        let jobs = self.jobs.at_work();
        let keys = jobs.iter().filter(|job| is_download(job) || is_check(job)).filter_map(model_of);
        let with_host = |key: Key| {
            let model = self.models.get(&ObjectRef::new(&key.1).within(&key.0));
            let spec = model.and_then(|model| model.spec().ok());
            let host = spec.map_or(String::new(), |spec| source_host(&spec.source, &self.env));
            (key, host)
        };
        keys.map(with_host).collect()
    }

    /// The Models that waited when an earlier leader wrote last, and those that nobody has looked at yet.
    fn waiting(&self) -> Vec<Ticket> {
        let models = self.models.state();
        models.iter().filter_map(|model| model.read().ok()).filter(waits).map(|model| self.ticket(&model)).collect()
    }

    fn ticket(&self, model: &Model) -> Ticket {
        let created = model.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0);
        let key = key(model);
        Ticket { created, key, host: source_host(&model.spec.source, &self.env) }
    }
}

fn key(model: &Model) -> Key {
    (model.namespace().unwrap_or_default(), model.name_any())
}

/// Whether a Model waited when somebody looked at it last, or nobody has yet.
fn waits(model: &Model) -> bool {
    let downloaded = |status: &ModelStatus| status.conditions.iter().any(|condition| condition.type_ == DOWNLOADED);
    model.metadata.deletion_timestamp.is_none()
        && model.status.as_ref().is_none_or(|status| is_queued(status) || !downloaded(status))
}

/// Whether the download waits in the line. Content of before may be there all the same.
pub(crate) fn is_queued(status: &ModelStatus) -> bool {
    let downloaded = status.conditions.iter().find(|condition| condition.type_ == DOWNLOADED);
    downloaded.is_some_and(|condition| condition.reason == Reason::Queued.as_str())
}

/// Whether a Job is a Model's download.
pub(crate) fn is_download(job: &Job) -> bool {
    job.labels().get(labels::MODEL).is_some_and(|model| job.name_any() == job_name(model))
}

/// Whether a Job has neither succeeded nor failed.
pub(crate) fn is_at_work(job: &Job) -> bool {
    !has_ended(job.status.as_ref())
}

/// Whether the Job of this status has succeeded or failed.
fn has_ended(status: Option<&JobStatus>) -> bool {
    is(status, "Complete") || is(status, "Failed")
}

/// Whether the Job has done what it was made for. It stays so.
pub(crate) fn is_complete(job: &Job) -> bool {
    is(job.status.as_ref(), "Complete")
}

fn is(status: Option<&JobStatus>, condition: &str) -> bool {
    let mut conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|known| known.status == "True" && known.type_ == condition)
}
