//! The bound on downloads at once: one line of Models for the whole operator.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use model_core::api::Model;
use model_core::decide::{Decision, Write};
use model_core::labels;
use model_core::observed::{JobState, Observed};
use model_core::persisted::Persisted;
use model_core::queue::{Key, Place, Queue, Ticket};
use model_core::reason::Reason;
use model_core::status::DOWNLOADED;

use crate::controller::WatchedModel;

/// What a look at a Model means for the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// It would start a download.
    Asks,
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
        match seen.job {
            JobState::Running { .. } => Self::Runs,
            JobState::Stale { .. } | JobState::Terminating => Self::Stays,
            JobState::Absent | JobState::Foreign { .. } | JobState::Succeeded { .. } | JobState::Failed { .. } => {
                Self::Leaves
            }
        }
    }
}

/// The line, and how those who stand in it hear that it moved. Clones share the same. Without a bound it does nothing.
#[derive(Clone)]
pub(crate) struct Downloads(Option<Arc<Line>>);

struct Line {
    limit: NonZeroUsize,
    /// `None` until the first question: then a replica leads, and its caches hold what an earlier leader left.
    queue: Mutex<Option<Queue>>,
    models: Store<WatchedModel>,
    jobs: Store<Job>,
    news: UnboundedSender<ObjectRef<WatchedModel>>,
}

impl Downloads {
    /// At most `limit` downloads at once; 0: as many as there are.
    pub(crate) fn new(
        limit: usize,
        models: Store<WatchedModel>,
        jobs: Store<Job>,
        news: UnboundedSender<ObjectRef<WatchedModel>>,
    ) -> Self {
        let line = |limit| Arc::new(Line { limit, queue: Mutex::new(None), models, jobs, news });
        Self(NonZeroUsize::new(limit).map(line))
    }

    /// The place of a Model for which this was decided as if there were no line. `None`: the decision stands.
    pub(crate) fn place(&self, model: &Model, stand: Stand) -> Option<Place> {
        let line = self.0.as_ref()?;
        let ticket = ticket(model);
        let mut known = line.queue();
        let queue = known.get_or_insert_with(|| Queue::new(line.limit, line.running(), line.waiting()));
        let waited = queue.waits(&ticket.key);
        let place = match stand {
            Stand::Asks => queue.ask(&ticket),
            Stand::Runs => {
                queue.runs(&ticket.key);
                None
            }
            Stand::Stays | Stand::Leaves => None,
        };
        // Out of the line, or into it before others. Who joins as the last one changes nobody's place.
        let moved = match place {
            Some(place) => !waited && place.nth < place.of,
            None => waited && !queue.waits(&ticket.key),
        };
        drop(known);
        if moved {
            line.wake();
        }
        place
    }

    /// A Model wants no download, or could not start it. Others go first until it asks again.
    pub(crate) fn leaves(&self, model: &Persisted) {
        if let Some(line) = &self.0 {
            line.leaves(&(model.namespace.to_owned(), model.name.to_owned()));
        }
    }

    /// A Model is gone, or nothing can be done about it as it is. Its download may still run: then it counts until its
    /// Job has ended.
    pub(crate) fn is_gone(&self, namespace: &str, name: &str) {
        let Some(line) = &self.0 else { return };
        let key = (namespace.to_owned(), name.to_owned());
        if !line.running().contains(&key) {
            line.leaves(&key);
        }
    }
}

impl Line {
    fn queue(&self) -> MutexGuard<'_, Option<Queue>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leaves(&self, key: &Key) {
        // Nobody has asked yet: this replica does not lead, or has just begun to.
        let moved = self.queue().as_mut().is_some_and(|queue| queue.leaves(key));
        if moved {
            self.wake();
        }
    }

    /// The Models whose Job has not ended.
    fn running(&self) -> Vec<Key> {
        let jobs = self.jobs.state_filter(is_running);
        jobs.iter().filter_map(|job| Some((job.namespace()?, job.labels().get(labels::MODEL)?.clone()))).collect()
    }

    /// The Models that waited when an earlier leader wrote last, and those that nobody has looked at yet.
    fn waiting(&self) -> Vec<Ticket> {
        let models = self.models.state();
        models.iter().filter_map(|model| model.0.as_ref().ok()).filter(|model| waited(model)).map(ticket).collect()
    }

    /// Everybody who waits looks again: one may start, and the places of the others have changed.
    fn wake(&self) {
        for (namespace, name) in self.queue().iter().flat_map(Queue::waiting) {
            // The receiver goes only when the controller ends.
            let _ = self.news.unbounded_send(ObjectRef::new(name).within(namespace));
        }
    }
}

fn ticket(model: &Model) -> Ticket {
    let created = model.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0);
    Ticket { created, key: (model.namespace().unwrap_or_default(), model.name_any()) }
}

fn waited(model: &Model) -> bool {
    if model.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let Some(status) = &model.status else { return true };
    let downloaded = status.conditions.iter().find(|condition| condition.type_ == DOWNLOADED);
    downloaded.is_none_or(|condition| condition.reason == Reason::Queued.as_str())
}

/// Whether a Job has neither succeeded nor failed.
pub(crate) fn is_running(job: &Job) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    !conditions
        .into_iter()
        .any(|condition| condition.status == "True" && (condition.type_ == "Complete" || condition.type_ == "Failed"))
}
