//! A cluster of one Model, as values: just enough of an API server to run whole histories through [`decide`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::api::{AccessMode, Phase, Source, UrlSource};
use crate::api::{Model, ModelSpec, Storage};
use crate::decide::{Decision, Write, decide};
use crate::observed::{ClaimState, JobState, Observed, Placement};
use crate::persisted::{Downloader, Persisted};
use crate::queue::Place;
use crate::reason::Reason;
use crate::report::{Failure, Published};
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
        version: None,
        credentials_secret: None,
        node_selector: BTreeMap::new(),
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
    ended: Option<Result<(), (Failure, Timestamp)>>,
    terminating: bool,
}

/// The cluster: what exists now.
#[derive(Clone, Debug)]
pub struct World {
    pub model: Model,
    downloader: Downloader,
    claim: Option<u32>,
    claim_terminating: bool,
    job: Option<Job>,
    writer: Option<String>,
    queue: Option<Place>,
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
    JobSucceeds,
    JobFails(Reason),
    JobDeleted,
    JobGone,
    ClaimDeleted,
    ClaimGone,
    SpecChanges(u8),
    /// A pod mounts the claim writable, or the last one that did is gone.
    Writer(Option<String>),
    /// This place in the line for a download, or a free one.
    Queue(Option<usize>),
    TimePasses(u32),
}

impl World {
    pub fn new(downloader: Downloader) -> Self {
        Self {
            model: model("https://example.com/0"),
            downloader,
            claim: None,
            claim_terminating: false,
            job: None,
            writer: None,
            queue: None,
            uids: 0,
            downloaded: BTreeSet::new(),
            now: Timestamp::UNIX_EPOCH,
        }
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
            None => JobState::Running { trouble: None, progress: None, unmounted: None },
            Some(Ok(())) => JobState::Succeeded { published: Some(Published::default()) },
            Some(Err((failure, at))) => JobState::Failed { failure: failure.clone(), at: *at },
        }
    }

    /// One pass of the controller. `writes` is how many it lives for; more than there are: the status is recorded too.
    pub fn look(&mut self, writes: usize) -> Decision {
        self.looks(1, writes)
    }

    /// So many controllers make one pass each over the same observation.
    fn looks(&mut self, controllers: usize, writes: usize) -> Decision {
        let model = self.model.clone();
        let persisted = Persisted::try_from(&model).unwrap();
        let wanted_path = persisted.content_path(&self.downloader);
        let seen = Observed {
            model: &persisted,
            wanted_path,
            claim: self.claim_state(),
            placement: Placement::Anywhere,
            job: self.job_state(),
            writer: self.writer.clone(),
            queue: self.queue.clone(),
        };
        let decision = decide(&seen, self.now);
        for _ in 0..controllers {
            for write in decision.writes.iter().take(writes) {
                self.apply(write, &persisted.content_id);
            }
        }
        if writes > decision.writes.len() {
            self.model.status = Some(status(&seen, &decision, self.now));
        }
        decision
    }

    fn apply(&mut self, write: &Write, content_id: &str) {
        self.uids += 1;
        match write {
            Write::CreateClaim if self.claim.is_none() => self.claim = Some(self.uids),
            Write::CreateJob if self.job.is_none() => {
                let claim = self.claim.expect("a Job is never created before its claim");
                let content_id = content_id.to_owned();
                self.job = Some(Job { uid: self.uids, content_id, claim, ended: None, terminating: false });
            }
            Write::DeleteJob { uid } => {
                if let Some(job) = self.job.as_mut().filter(|job| job.uid.to_string() == *uid) {
                    job.terminating = true;
                }
            }
            Write::CreateClaim | Write::CreateJob => {}
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
                self.looks(2, usize::MAX);
            }
            Happening::JobSucceeds => {
                if let Some(job) = running {
                    job.ended = Some(Ok(()));
                    self.downloaded.insert((job.claim, job.content_id.clone()));
                }
            }
            Happening::JobFails(reason) => running.into_iter().for_each(|job| {
                job.ended = Some(Err((Failure { reason: *reason, message: String::new() }, now)));
            }),
            Happening::JobDeleted => self.job.iter_mut().for_each(|job| job.terminating = true),
            Happening::JobGone => self.job = self.job.take().filter(|job| !job.terminating),
            Happening::ClaimDeleted => self.claim_terminating = self.claim.is_some(),
            Happening::ClaimGone if self.claim_terminating => {
                self.claim = None;
                self.claim_terminating = false;
            }
            Happening::ClaimGone => {}
            Happening::SpecChanges(number) => {
                self.model.spec = spec(&format!("https://example.com/{number}"));
                *self.model.metadata.generation.as_mut().unwrap() += 1;
            }
            Happening::Writer(pod) => self.writer.clone_from(pod),
            Happening::Queue(nth) => self.queue = nth.map(|nth| Place { nth, of: 40, host: None }),
            Happening::TimePasses(minutes) => self.now += SignedDuration::from_mins((*minutes).into()),
        }
        self.check();
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
        self.happens(&Happening::JobGone);
        self.happens(&Happening::ClaimGone);
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
