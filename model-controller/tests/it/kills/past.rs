//! What has happened in the played cluster, how its Jobs end, and what must never happen.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use model_core::labels::{CLAIM_UID, CONTENT_ID, MODEL, PRUNE, VERIFY};
use model_core::observed::PruneStep;
use model_core::reason::Reason;
use model_core::report::{CheckedFile, Failure, FileState, Outcome, Planned, Published, Verified};
use serde_json::Value;

/// What lies in the directory of one Model on a claim, by content id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    pub published: BTreeSet<String>,
    pub set_aside: BTreeSet<String>,
}

/// How the cluster behaves, and what has happened in it.
#[derive(Debug, Default)]
pub struct Past {
    /// Downloads do not end while this is set.
    pub hold: bool,
    /// So many of the next downloads fail.
    pub failures: usize,
    /// So many downloads may run at once; 0: any number.
    pub at_once: usize,
    /// The source does not answer who only asks.
    pub silent: bool,
    /// What the source has, by number.
    pub revision: usize,
    /// What is read again is not as it was published.
    pub damaged: bool,
    /// Comes at the moment at which the next prune Job renames.
    pub pod_at_rename: Option<Pod>,
    /// By UID of the claim and name of the Model.
    pub disks: BTreeMap<(String, String), Disk>,
    /// Content that each gated pod waits for.
    pub gated: BTreeMap<String, String>,
    /// Content and claim of the downloads that succeeded.
    succeeded: BTreeSet<(String, String)>,
    /// Name and task of each Job that there was, by its UID.
    pub jobs: BTreeMap<String, String>,
    /// What must never happen, and did.
    pub wrongs: Vec<String>,
}

impl Past {
    pub fn notice(&mut self, job: &Job) {
        let annotation = |key| job.annotations().get(key).map(String::as_str);
        let task = annotation(PRUNE).or_else(|| annotation(CONTENT_ID)).unwrap_or_default();
        // Before a download no claim is named.
        let is_check = job.name_any().starts_with("model-plan-") && annotation(CLAIM_UID).is_some();
        let why = annotation(VERIFY).or_else(|| is_check.then_some("check")).unwrap_or_default();
        self.jobs.insert(job.uid().unwrap_or_default(), format!("{} {task} {why}", job.name_any()));
    }

    /// No more downloads may run than at once.
    pub fn count(&mut self, jobs: &[Job]) {
        for job in jobs {
            self.notice(job);
        }
        let is_download = |job: &&Job| job.name_any().starts_with("model-download-");
        let runs = |job: &&Job| !has_ended(job) && job.metadata.deletion_timestamp.is_none();
        let running = jobs.iter().filter(is_download).filter(runs).count();
        if self.at_once > 0 && running > self.at_once {
            self.wrongs.push(format!("{running} downloads ran at once"));
        }
    }

    /// Nothing may be offered that no Job has downloaded to this claim.
    pub fn status_is_written(&mut self, model: &str, status: &Value) {
        let Some(id) = status["content"]["id"].as_str() else {
            if status["phase"] == "Ready" {
                self.wrongs.push("Ready without content".to_owned());
            }
            return;
        };
        let claim = status["claimUID"].as_str().unwrap_or_default();
        if !self.succeeded.contains(&(id.to_owned(), claim.to_owned())) {
            self.wrongs.push(format!("{id} is offered and no Job has downloaded it to claim {claim}"));
        }
        let disk = self.disks.get(&(claim.to_owned(), model.to_owned()));
        let on_disk = disk.is_some_and(|disk| disk.published.contains(id));
        if !on_disk {
            self.wrongs.push(format!("{id} is offered and is not on claim {claim}"));
        }
    }

    /// No pod may mount what is on no claim.
    pub fn pod_is_let_go(&mut self, pod: &str) {
        let content = self.gated.get(pod);
        if !content.is_some_and(|content| self.disks.values().any(|disk| disk.published.contains(content))) {
            self.wrongs.push(format!("pod {pod} is let go and content {content:?} is on no claim"));
        }
    }

    fn prunes(&mut self, directory: (String, String), step: &PruneStep, named: &BTreeSet<String>) {
        let disk = self.disks.entry(directory).or_default();
        match step {
            PruneStep::SetAside(ids) => {
                for id in ids.iter().filter(|id| disk.published.remove(*id)) {
                    disk.set_aside.insert(id.clone());
                }
            }
            PruneStep::Finish { put_back, delete } => {
                for id in put_back.iter().filter(|id| disk.set_aside.remove(*id)) {
                    disk.published.insert(id.clone());
                }
                for id in delete {
                    if disk.set_aside.remove(id) && named.contains(id) {
                        self.wrongs.push(format!("{id} was deleted under a pod"));
                    }
                }
            }
        }
    }

    /// What comes of a Job. `None`: it goes on. `named`: contents that pods mount.
    pub fn ends(&mut self, job: &Job, named: &BTreeSet<String>) -> Option<End> {
        let annotation = |key| job.annotations().get(key).cloned().unwrap_or_default();
        let (content, claim) = (annotation(CONTENT_ID), annotation(CLAIM_UID));
        let directory = (claim.clone(), job.labels().get(MODEL).cloned().unwrap_or_default());
        let name = job.name_any();
        if name.starts_with("model-plan-") {
            return Some(self.source_is_asked());
        }
        if name.starts_with("model-prune-") {
            let step = serde_json::from_str(&annotation(PRUNE)).expect("a step");
            self.prunes(directory, &step, named);
            return Some(End { code: 0, outcome: None });
        }
        if name.starts_with("model-verify-") {
            return Some(self.is_read_again(&directory, &content));
        }
        assert!(name.starts_with("model-download-"), "nobody knows what {name} does");
        if self.hold {
            return None;
        }
        if self.failures > 0 {
            self.failures -= 1;
            return Some(End::failed(Reason::NetworkError));
        }
        self.succeeded.insert((content.clone(), claim));
        let disk = self.disks.entry(directory).or_default();
        disk.published.insert(content.clone());
        let published = Published {
            resolved_revision: Some(format!("revision-{}", self.revision)),
            listing: Some(format!("listing-{}", self.revision)),
            asked_at: Some(Timestamp::now()),
            bytes: 7,
            files: 1,
            others: disk.published.iter().filter(|id| **id != content).cloned().collect(),
            ..Published::default()
        };
        Some(End { code: 0, outcome: Some(Outcome::Succeeded(published)) })
    }

    fn source_is_asked(&self) -> End {
        if self.silent {
            return End::failed(Reason::NetworkError);
        }
        let planned = Planned {
            resolved_revision: Some(format!("revision-{}", self.revision)),
            listing: Some(format!("listing-{}", self.revision)),
            bytes: Some(2_147_483_648),
            files: 3,
        };
        End { code: 0, outcome: Some(Outcome::Planned(planned)) }
    }

    /// As the loader tells it: damage is a result, and the Job has failed for good.
    fn is_read_again(&mut self, directory: &(String, String), content: &str) -> End {
        if !self.disks.get(directory).is_some_and(|disk| disk.published.contains(content)) {
            self.wrongs.push(format!("{content} is read again and is not on claim {}", directory.0));
            return End::failed(Reason::SourceNotFound);
        }
        let fault = CheckedFile { file: "model.bin".to_owned(), bytes: Some(7), state: FileState::Changed };
        let faults = if self.damaged { vec![fault] } else { Vec::new() };
        let verified = Verified { bytes: 7, files: 1, fault_count: faults.len() as u64, faults };
        End { code: if self.damaged { 2 } else { 0 }, outcome: Some(Outcome::Verified(verified)) }
    }
}

/// How the pod of a Job ends.
pub struct End {
    /// Exit code of the loader.
    pub code: u8,
    /// Its termination message. `None`: it leaves none.
    pub outcome: Option<Outcome>,
}

impl End {
    fn failed(reason: Reason) -> Self {
        let failure = Failure { reason, message: "played by the test".to_owned() };
        Self { code: 1, outcome: Some(Outcome::Failed(failure)) }
    }
}

pub fn has_ended(job: &Job) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed"))
}
