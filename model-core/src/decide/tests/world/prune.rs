//! The prune Job, what it does to the claim, and the pods that name what lies there.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Spot, World};
use crate::observed::{PruneJob, PruneStep, Users};

/// A prune Job as the API server keeps it.
#[derive(Clone, Debug)]
pub(super) struct Prune {
    pub(super) uid: u32,
    pub(super) claim: u32,
    pub(super) step: PruneStep,
    pub(super) since: Timestamp,
    pub(super) done: Option<bool>,
    pub(super) terminating: bool,
}

impl World {
    pub fn prune_job(&self) -> PruneJob {
        let Some(prune) = &self.prune else { return PruneJob::Absent };
        let uid = prune.uid.to_string();
        match prune.done {
            _ if prune.terminating => PruneJob::Terminating,
            _ if self.claim != Some(prune.claim) || self.claim_terminating => PruneJob::Stale { uid },
            None => PruneJob::Running { uid, step: prune.step.clone(), since: prune.since, misplaced: false },
            Some(true) => PruneJob::Done { uid, step: prune.step.clone() },
            Some(false) => PruneJob::Failed { uid, step: prune.step.clone(), why: "it broke".into() },
        }
    }

    pub(super) fn users(&self) -> Users {
        let mount = |(_, id): &Spot| serde_json::json!({ "name": "m", "mountPath": "/m", "subPath": format!("revisions/{id}") });
        let of_claim = self.pods.iter().filter(|(claim, _)| Some(*claim) == self.claim);
        let pods: Vec<k8s_openapi::api::core::v1::Pod> = of_claim
            .map(|place| {
                serde_json::from_value(serde_json::json!({ "spec": {
                    "volumes": [{ "name": "m", "persistentVolumeClaim": { "claimName": "model-llama" } }],
                    "containers": [{ "name": "app", "volumeMounts": [mount(place)] }],
                } }))
                .unwrap()
            })
            .collect();
        Users::of_claim("model-llama", &pods)
    }

    pub(super) fn prune_works(&mut self, contents: usize, lives: bool) {
        let Some(prune) = self.prune.as_mut().filter(|prune| prune.done.is_none()) else { return };
        let at = |id: &String| (prune.claim, id.clone());
        let mut left = contents;
        let mut next = || {
            left = left.saturating_sub(1);
            left > 0
        };
        match &prune.step {
            PruneStep::SetAside(ids) => {
                for id in ids.iter().take_while(|_| next()) {
                    if self.placed.remove(&at(id)) {
                        self.aside.insert(at(id));
                    }
                }
            }
            PruneStep::Finish { put_back, delete } => {
                for id in put_back.iter().take_while(|_| next()) {
                    if !self.placed.contains(&at(id)) && self.aside.remove(&at(id)) {
                        self.placed.insert(at(id));
                    }
                }
                for id in delete.iter().take_while(|_| next()) {
                    self.aside.remove(&at(id));
                }
            }
        }
        if lives && left > 0 && !prune.terminating {
            prune.done = Some(true);
        }
    }

    /// What must hold at every moment of every history: no pod loses what it named, what is offered can be mounted, and no
    /// download runs beside a prune Job.
    pub(super) fn check_prune(&mut self) {
        for pod in &self.pods {
            assert!(self.placed.contains(pod) || self.aside.contains(pod), "{pod:?} was deleted under a pod");
        }
        let loading = self.job.as_ref().is_some_and(|job| job.ended.is_none() && !job.terminating);
        let pruning = self.prune.as_ref().is_some_and(|prune| prune.done.is_none());
        assert!(!(loading && pruning), "a download runs beside a prune Job");
        let Some(status) = &self.model.status else { return };
        let Some(content) = &status.content else { return };
        let claim: u32 = status.claim_uid.as_deref().unwrap().parse().unwrap();
        let place = (claim, content.id.clone());
        assert!(self.placed.contains(&place), "{place:?} is offered and cannot be mounted");
        self.offered.insert(place, self.now);
    }

    /// Contents of the claim that can be mounted, those that were set aside, and those that a pod names.
    pub fn contents(&self) -> (usize, usize, usize) {
        let of_claim = |places: &BTreeSet<Spot>| places.iter().filter(|(claim, _)| Some(*claim) == self.claim).count();
        let named: BTreeSet<_> = self.pods.iter().cloned().collect();
        (of_claim(&self.placed), of_claim(&self.aside), of_claim(&named))
    }

    /// What pods of the claim name and cannot mount.
    pub fn missing(&self) -> Vec<&Spot> {
        let of_claim = self.pods.iter().filter(|(claim, _)| Some(*claim) == self.claim);
        of_claim.filter(|spot| !self.placed.contains(*spot)).collect()
    }
}
