//! The bound on checks for newer content at once.
//!
//! A check is short and can wait, so there is no line: who finds all places taken looks again a little later.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use model_core::labels;
use model_core::names::plan_job_name;
use model_core::queue::Key;

use crate::children::model_of;
use crate::downloads::Jobs;

/// Checks at once, however many downloads may run.
const AT_ONCE: usize = 8;

/// The Models whose source is being asked for newer content. Clones share the same.
#[derive(Clone)]
pub(crate) struct Checks {
    /// `None` until the first question: then a replica leads, and its cache holds what an earlier leader left.
    running: Arc<Mutex<Option<BTreeSet<Key>>>>,
    jobs: Jobs,
}

impl Checks {
    pub(crate) fn new(jobs: Jobs) -> Self {
        Self { running: Arc::default(), jobs }
    }

    /// Takes a place, where one is free. Who has one may ask again.
    pub(crate) fn may_start(&self, model: &Key) -> bool {
        self.with(|running| running.contains(model) || (running.len() < AT_ONCE && running.insert(model.clone())))
    }

    /// The Job of this Model's check runs, whoever started it.
    pub(crate) fn runs(&self, model: Key) {
        self.with(|running| running.insert(model));
    }

    /// This Model is not being checked any more.
    pub(crate) fn ended(&self, model: &Key) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.as_mut() {
            running.remove(model);
        }
    }

    /// The Models that have a place.
    pub(crate) fn running(&self) -> Vec<Key> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().flatten().cloned().collect()
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeSet<Key>) -> T) -> T {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        act(running.get_or_insert_with(|| self.found()))
    }

    fn found(&self) -> BTreeSet<Key> {
        let jobs = self.jobs.at_work();
        jobs.iter().filter(|job| is_check(job)).filter_map(model_of).collect()
    }
}

/// Whether a Job asks for newer content. Before a download no claim is named.
pub(crate) fn is_check(job: &Job) -> bool {
    job.labels().get(labels::MODEL).is_some_and(|model| job.name_any() == plan_job_name(model))
        && job.annotations().contains_key(labels::CLAIM_UID)
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::downloads::no_jobs;
    use crate::watched::WatchedJob;

    fn job(model: &str, name: &str, annotation: &str, condition: &str) -> WatchedJob {
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "namespace": "team", "labels": { labels::MODEL: model }, "annotations": { annotation: "uid" },
            },
            "status": { "conditions": [{ "type": condition, "status": "True" }] },
        }))
        .unwrap()
    }

    #[test]
    fn no_more_than_so_many_ask_at_once_those_of_an_earlier_leader_included() {
        let jobs = no_jobs();
        for job in [
            job("before", "model-plan-before", labels::CLAIM_UID, "Suspended"),
            job("ended", "model-plan-ended", labels::CLAIM_UID, "Complete"),
            job("preflight", "model-plan-preflight", "other", "Suspended"),
            job("download", "model-download-download", labels::CLAIM_UID, "Suspended"),
        ] {
            jobs.heard(&Event::Apply(job));
        }
        let checks = Checks::new(jobs);
        let key = |number: usize| ("team".to_owned(), number.to_string());
        for number in 1..AT_ONCE {
            assert!(checks.may_start(&key(number)) && checks.may_start(&key(number)), "{number}");
        }
        assert!(!checks.may_start(&key(AT_ONCE)), "one of them is that of the earlier leader");
        checks.ended(&("team".to_owned(), "before".to_owned()));
        assert!(checks.may_start(&key(AT_ONCE)));
        checks.runs(key(99));
        checks.ended(&key(1));
        assert!(!checks.may_start(&key(1)), "one that runs counts, whoever let it");
    }
}
