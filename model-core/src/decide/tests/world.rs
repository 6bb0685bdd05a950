//! A cluster of one Model, as values: just enough of an API server to run whole histories through [`decide`].

mod prune;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use self::prune::Prune;
use crate::api::{AccessMode, DeletionPolicy, Phase, Source, UrlSource};
use crate::api::{Model, ModelSpec, Storage};
use crate::decide::{Decision, Write, decide};
use crate::observed::{ClaimState, JobState, Observed, Placement, PlanState, VerifyJob, is_answer_wanted};
use crate::persisted::{Downloader, Persisted};
use crate::queue::Place;
use crate::reason::Reason;
use crate::report::{Failure, Planned, Published};
use crate::status::status;

pub fn spec(url: &str) -> ModelSpec {
    ModelSpec {
        source: Source::Url(UrlSource { url: url.to_owned(), sha256: None }),
        storage: Storage {
            existing_claim: None,
            storage_class: None,
            size: Some("1Gi".into()),
            access_modes: vec![AccessMode::ReadWriteOnce],
        },
        preflight: false,
        version: None,
        credentials_secret: None,
        node_selector: BTreeMap::new(),
        check_interval: None,
        keep_revisions: 1,
        deletion_policy: DeletionPolicy::Delete,
        job_template: None,
    }
}

pub fn model(url: &str) -> Model {
    let mut model = Model::new("llama", spec(url));
    model.metadata.namespace = Some("default".into());
    model.metadata.uid = Some("model-uid".into());
    model.metadata.generation = Some(1);
    model
}

/// A Job as the API server keeps it.
#[derive(Clone, Debug)]
struct Job {
    uid: u32,
    content_id: String,
    claim: u32,
    /// What the source had, and when it was asked.
    got: (u32, Timestamp),
    ended: Option<Result<(), (Failure, Timestamp)>>,
    terminating: bool,
}

/// Content on a claim.
type Spot = (u32, String);

/// The Job that asks the source.
#[derive(Clone, Debug)]
struct PlanJob {
    uid: u32,
    content_id: String,
    /// Of a check.
    claim: Option<u32>,
    /// Well: what the source had.
    ended: Option<Result<u32, (Failure, Timestamp)>>,
    terminating: bool,
}

/// The cluster: what exists now.
#[derive(Clone, Debug)]
pub struct World {
    pub model: Model,
    /// The Model as the second controller has read it.
    other: Option<Model>,
    downloader: Downloader,
    claim: Option<u32>,
    claim_terminating: bool,
    job: Option<Job>,
    plan: Option<PlanJob>,
    /// Which content the source was asked for with success.
    planned: BTreeSet<String>,
    /// What the source has.
    source: u32,
    /// When the last check began that was not taken away before its result was read.
    checked: Option<Timestamp>,
    checks_full: bool,
    writer: Option<String>,
    queue: Option<Place>,
    prune: Option<Prune>,
    /// What can be mounted, and what was set aside.
    placed: BTreeSet<Spot>,
    aside: BTreeSet<Spot>,
    /// What each pod named when it came.
    pods: Vec<Spot>,
    /// When each content was last offered.
    offered: BTreeMap<Spot, Timestamp>,
    uids: u32,
    /// Which content was downloaded in full to which claim.
    downloaded: BTreeSet<(u32, String)>,
    pub now: Timestamp,
}

/// What can happen between two looks.
#[derive(Clone, Debug)]
pub enum Happening {
    /// The controller looks and dies after this many of its writes; with more it also records the status.
    Look {
        writes: usize,
    },
    /// Two controllers look at the same state and both act, as after a lost answer.
    LookTwice,
    /// A second controller reads the Model. It looks at the children later, and acts.
    OtherReads,
    OtherActs,
    JobSucceeds,
    JobFails(Reason),
    PlanSucceeds,
    PlanFails(Reason),
    JobDeleted,
    JobGone,
    ClaimDeleted,
    ClaimGone,
    SpecChanges(u8),
    /// A pod mounts the claim writable, or the last one that did is gone.
    Writer(Option<String>),
    /// The source has something new.
    SourceMoves,
    /// As many others are checked as may be, or not.
    ChecksFull(bool),
    /// This place in the line for a download, or a free one.
    Queue(Option<usize>),
    TimePasses(u32),
    /// A pod comes that was admitted while its content was offered, or up to nine minutes later by a webhook that lags.
    PodComes,
    /// Somebody applies a copy of a pod of long ago, whose content is still there.
    OldPodComes,
    PodGoes,
    /// The prune Job's pod does this much of its work, and lives or dies.
    PruneWorks {
        contents: usize,
        lives: bool,
    },
    PruneGivesUp,
    /// Somebody deletes the prune Job, or its time is over.
    PruneDeleted,
    PruneGone,
}

impl World {
    pub fn new(downloader: Downloader) -> Self {
        Self {
            model: model("https://example.com/0"),
            other: None,
            downloader,
            claim: None,
            claim_terminating: false,
            job: None,
            plan: None,
            planned: BTreeSet::new(),
            source: 0,
            checked: None,
            checks_full: false,
            writer: None,
            queue: None,
            prune: None,
            placed: BTreeSet::new(),
            aside: BTreeSet::new(),
            pods: Vec::new(),
            offered: BTreeMap::new(),
            uids: 0,
            downloaded: BTreeSet::new(),
            now: Timestamp::UNIX_EPOCH,
        }
    }

    /// The same with a spec that leaves the size out.
    pub fn without_size(mut self) -> Self {
        self.model.spec.storage.size = None;
        self
    }

    /// The same with a spec that has the source asked every six hours.
    pub fn with_checks(mut self) -> Self {
        self.model.spec.check_interval = Some("6h".into());
        self
    }

    pub fn wanted(&self) -> String {
        Persisted::try_from(&self.model).unwrap().content_id
    }

    fn claim_state(&self) -> ClaimState {
        match self.claim {
            None => ClaimState::Absent,
            Some(_) if self.claim_terminating => ClaimState::Terminating,
            Some(uid) => ClaimState::Ours { uid: uid.to_string(), bound: true, trouble: None },
        }
    }

    fn job_state(&self) -> JobState {
        let Some(job) = &self.job else { return JobState::Absent };
        if job.terminating {
            return JobState::Terminating;
        }
        if job.content_id != self.wanted() || self.claim != Some(job.claim) || self.claim_terminating {
            return JobState::Stale { uid: job.uid.to_string() };
        }
        match &job.ended {
            None => JobState::Running { trouble: None, progress: None, unmounted: None, podless: None },
            Some(Ok(())) => {
                let (listing, asked_at) = (Some(job.got.0.to_string()), Some(job.got.1));
                JobState::Succeeded { published: Some(Published { listing, asked_at, ..Published::default() }) }
            }
            Some(Err((failure, at))) => JobState::Failed { failure: failure.clone(), at: *at },
        }
    }

    fn plan_state(&self) -> PlanState {
        if self.downloader == Downloader::Stock {
            return PlanState::Unsupported;
        }
        let is_wanted = is_answer_wanted(&Persisted::try_from(&self.model).unwrap());
        let counts = self.claim.is_none() || is_wanted || self.model.spec.check_interval.is_some();
        let Some(plan) = self.plan.as_ref().filter(|_| counts) else { return PlanState::Absent };
        if plan.terminating {
            return PlanState::Terminating;
        }
        let uid = plan.uid.to_string();
        let claim = self.claim.filter(|_| !self.claim_terminating);
        let is_of_now = if plan.claim.is_some() { plan.claim == claim } else { claim.is_none() || is_wanted };
        if plan.content_id != self.wanted() || !is_of_now {
            return PlanState::Stale { uid };
        }
        match &plan.ended {
            None => PlanState::Running { uid, trouble: None, unmounted: None, podless: None },
            Some(Ok(source)) => {
                let listing = Some(source.to_string());
                let planned = Planned { listing, bytes: Some(1 << 20), files: 1, ..Planned::default() };
                PlanState::Succeeded { uid, planned: Some(planned), at: Timestamp::UNIX_EPOCH }
            }
            Some(Err((failure, at))) => PlanState::Failed { uid, failure: failure.clone(), at: *at },
        }
    }

    /// One pass of the controller. `writes` is how many it lives for; more than there are: the status is recorded too.
    pub fn look(&mut self, writes: usize) -> Decision {
        self.looks(&self.model.clone(), 1, writes)
    }

    /// So many controllers make one pass each over the same observation.
    fn looks(&mut self, model: &Model, controllers: usize, writes: usize) -> Decision {
        let persisted = Persisted::try_from(model).unwrap();
        let wanted_path = persisted.content_path(&self.downloader);
        let seen = Observed {
            model: &persisted,
            wanted_path,
            claim: self.claim_state(),
            placement: Placement::Anywhere,
            job: self.job_state(),
            plan: self.plan_state(),
            checks_full: self.checks_full,
            writer: self.writer.clone(),
            queue: self.queue.clone(),
            claim_details: None,
            prune: self.prune_job(),
            users: Some(self.users()),
            verify: VerifyJob::Absent,
            can_verify: false,
        };
        let decision = decide(&seen, self.now);
        let is_newest = *model == self.model;
        if !is_newest && decision.writes.iter().any(Write::needs_the_newest_record) {
            return decision;
        }
        for _ in 0..controllers {
            for write in decision.writes.iter().take(writes) {
                self.apply(write, &persisted.content_id);
            }
        }
        if writes > decision.writes.len() && is_newest {
            self.model.status = Some(status(&seen, &decision, self.now));
        }
        decision
    }

    fn apply(&mut self, write: &Write, content_id: &str) {
        self.uids += 1;
        match write {
            Write::CreateClaim { size } if self.claim.is_none() => {
                let asked = self.model.spec.storage.size.is_some() || self.planned.contains(content_id);
                assert!(asked && size == "1Gi", "{size} for a claim that nobody knows the size of");
                self.claim = Some(self.uids);
            }
            Write::CreatePlanJob if self.plan.is_none() => {
                let content_id = content_id.to_owned();
                self.plan = Some(PlanJob { uid: self.uids, content_id, claim: None, ended: None, terminating: false });
            }
            Write::CreateCheckJob if self.plan.is_none() => {
                assert!(self.claim.is_some() && !self.checks_full);
                assert!(self.job.as_ref().is_none_or(|job| job.ended.is_some()), "a check beside a download");
                let interval = SignedDuration::from_hours(6);
                assert!(self.checked.is_none_or(|last| self.now.duration_since(last) >= interval), "asked too often");
                self.checked = Some(self.now);
                let content_id = content_id.to_owned();
                self.plan =
                    Some(PlanJob { uid: self.uids, content_id, claim: self.claim, ended: None, terminating: false });
            }
            Write::DeletePlanJob { uid } => {
                if let Some(plan) = self.plan.as_mut().filter(|plan| plan.uid.to_string() == *uid) {
                    plan.terminating = true;
                    let check = self.model.status.as_ref().and_then(|status| status.check.as_ref());
                    if plan.claim.is_some() && check.is_none_or(|check| check.job.as_ref() != Some(uid)) {
                        self.checked = None;
                    }
                }
            }
            Write::CreateJob if self.job.is_none() => {
                let claim = self.claim.expect("a Job is never created before its claim");
                let content_id = content_id.to_owned();
                let offered = self.model.status.as_ref().and_then(|status| status.content.as_ref());
                let aside = self
                    .aside
                    .iter()
                    .filter(|(on, id)| *on == claim && offered.is_none_or(|offered| offered.id != *id));
                let in_vain = self.prune.as_ref().is_some_and(|prune| prune.done == Some(false));
                assert!(aside.count() == 0 || in_vain, "a download starts while content is not in its place");
                let got = (self.source, self.now);
                self.job = Some(Job { uid: self.uids, content_id, claim, got, ended: None, terminating: false });
            }
            Write::DeleteJob { uid } => {
                if let Some(job) = self.job.as_mut().filter(|job| job.uid.to_string() == *uid) {
                    job.terminating = true;
                }
            }
            Write::CreatePruneJob(step) if self.prune.is_none() => {
                let claim = self.claim.expect("a claim to prune");
                let (uid, step, since) = (self.uids, step.clone(), self.now);
                self.prune = Some(Prune { uid, claim, step, since, done: None, terminating: false });
            }
            Write::DeletePruneJob { uid, .. } => {
                if let Some(prune) = self.prune.as_mut().filter(|prune| prune.uid.to_string() == *uid) {
                    prune.terminating = true;
                }
            }
            Write::CreateClaim { .. }
            | Write::CreatePlanJob
            | Write::CreateCheckJob
            | Write::CreateJob
            | Write::SetClaimOwner { .. }
            | Write::GrowClaim { .. }
            | Write::CreatePruneJob(_)
            | Write::CreateVerifyJob { .. }
            | Write::DeleteVerifyJob { .. } => {}
        }
    }

    pub fn happens(&mut self, happening: &Happening) {
        self.now += SignedDuration::from_secs(1);
        let now = self.now;
        let running = self.job.as_mut().filter(|job| job.ended.is_none());
        match happening {
            Happening::Look { writes } => {
                self.look(*writes);
            }
            Happening::LookTwice => {
                self.looks(&self.model.clone(), 2, usize::MAX);
            }
            Happening::OtherReads => self.other = Some(self.model.clone()),
            Happening::OtherActs => {
                if let Some(model) = self.other.take() {
                    self.looks(&model, 1, usize::MAX);
                }
            }
            Happening::JobSucceeds => {
                if let Some(job) = running {
                    job.ended = Some(Ok(()));
                    self.downloaded.insert((job.claim, job.content_id.clone()));
                    self.placed.insert((job.claim, job.content_id.clone()));
                }
            }
            Happening::JobFails(reason) => running.into_iter().for_each(|job| {
                job.ended = Some(Err((Failure { reason: *reason, message: String::new() }, now)));
            }),
            Happening::PlanSucceeds => {
                if let Some(plan) = self.plan.as_mut().filter(|plan| plan.ended.is_none()) {
                    plan.ended = Some(Ok(self.source));
                    self.planned.insert(plan.content_id.clone());
                }
            }
            Happening::PlanFails(reason) => {
                self.plan.iter_mut().filter(|plan| plan.ended.is_none()).for_each(|plan| {
                    plan.ended = Some(Err((Failure { reason: *reason, message: String::new() }, now)));
                });
            }
            Happening::JobDeleted => {
                self.job.iter_mut().for_each(|job| job.terminating = true);
                self.plan.iter_mut().for_each(|plan| plan.terminating = true);
                if self.plan.is_some() {
                    self.checked = None;
                }
            }
            Happening::JobGone => {
                self.job = self.job.take().filter(|job| !job.terminating);
                self.plan = self.plan.take().filter(|plan| !plan.terminating);
            }
            Happening::ClaimDeleted => self.claim_terminating = self.claim.is_some(),
            Happening::ClaimGone if self.claim_terminating => {
                self.claim = None;
                self.claim_terminating = false;
            }
            Happening::ClaimGone => {}
            Happening::SpecChanges(number) => {
                let (size, interval) = (self.model.spec.storage.size.clone(), self.model.spec.check_interval.clone());
                self.model.spec = spec(&format!("https://example.com/{number}"));
                self.model.spec.storage.size = size;
                self.model.spec.check_interval = interval;
                *self.model.metadata.generation.as_mut().unwrap() += 1;
            }
            Happening::SourceMoves => self.source += 1,
            Happening::ChecksFull(full) => self.checks_full = *full,
            Happening::Writer(pod) => self.writer.clone_from(pod),
            Happening::Queue(nth) => self.queue = nth.map(|nth| Place { nth, of: 40, host: None }),
            Happening::PodComes => {
                let lag = SignedDuration::from_mins(9);
                let offered =
                    self.offered.iter().filter(|((claim, _), at)| Some(*claim) == self.claim && **at + lag > now);
                let newest = offered.max_by_key(|(_, at)| **at).map(|(place, _)| place.clone());
                self.pods.extend(newest);
            }
            Happening::OldPodComes => {
                let old = self.placed.iter().find(|(claim, _)| Some(*claim) == self.claim).cloned();
                self.pods.extend(old);
            }
            Happening::PodGoes => {
                self.pods.pop();
            }
            Happening::PruneWorks { contents, lives } => self.prune_works(*contents, *lives),
            Happening::PruneGivesUp => {
                self.prune.iter_mut().filter(|prune| prune.done.is_none()).for_each(|prune| prune.done = Some(false));
            }
            Happening::PruneDeleted => self.prune.iter_mut().for_each(|prune| prune.terminating = true),
            Happening::PruneGone => {
                let gone = |prune: &Prune| prune.terminating || prune.done == Some(false);
                self.prune = self.prune.take().filter(|prune| !gone(prune));
            }
            Happening::TimePasses(minutes) => self.now += SignedDuration::from_mins((*minutes).into()),
        }
        self.check();
        self.check_prune();
    }

    /// What must hold at every moment of every history: what is offered was downloaded in full to the claim that it is
    /// said to lie on, and nobody writes over it.
    fn check(&self) {
        let Some(status) = &self.model.status else { return };
        let Some(content) = &status.content else { return };
        assert_eq!(status.phase, Some(Phase::Ready));
        let claim: u32 = status.claim_uid.as_deref().unwrap().parse().unwrap();
        assert!(self.downloaded.contains(&(claim, content.id.clone())), "{content:?} was never downloaded");
        let overwriting = self.job.as_ref().filter(|job| {
            content.path.is_empty() && job.claim == claim && job.ended.is_none() && job.content_id != content.id
        });
        assert!(overwriting.is_none(), "{overwriting:?} writes over {content:?}");
    }

    /// Everybody does their part: others' downloads end, deletions finish, the Job succeeds, the controller looks and lives.
    pub fn kind_step(&mut self) {
        self.happens(&Happening::Queue(None));
        self.happens(&Happening::ChecksFull(false));
        self.happens(&Happening::JobGone);
        self.happens(&Happening::PruneWorks { contents: usize::MAX, lives: true });
        self.happens(&Happening::PruneGone);
        self.happens(&Happening::ClaimGone);
        self.happens(&Happening::PlanSucceeds);
        self.happens(&Happening::JobSucceeds);
        self.happens(&Happening::Look { writes: usize::MAX });
    }

    /// Whether the wanted content is offered and lies on the claim that exists.
    pub fn is_ready(&self) -> bool {
        let status = self.model.status.clone().unwrap_or_default();
        let content = status.content.filter(|content| content.id == self.wanted());
        status.phase == Some(Phase::Ready)
            && content.is_some()
            && status.claim_uid == self.claim.map(|uid| uid.to_string())
    }
}
