//! Everybody but the operator: the Job controller, kubelets with the loader, volumes, and users with their pods.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaimStatus, Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use model_core::api::{Model, Source};
use model_core::labels::{CLAIM_UID, CONTENT_ID};
use model_core::reason::Reason;
use model_core::report::{Failure, Outcome, Planned, Published, Verified};
use model_resources::DownloadSettings;
use model_resources::inject::{inject, parse, ready_model};
use serde_json::json;

use super::server::{MODEL, NAMESPACE, Server, claims_of, has_ended, mark, phase};

/// What lies on a volume: names of directories with the source that their files are of.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub placed: BTreeMap<String, String>,
    pub aside: BTreeMap<String, String>,
    /// What stock images wrote to the root, and whether it is whole.
    root: Option<(String, bool)>,
}

/// How far a pod of a Job gets.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Some of it.
    Half,
    All,
    Fails(Reason),
}

#[derive(Clone, Debug)]
pub struct World {
    pub server: Server,
    pub settings: DownloadSettings,
    /// The true time. Each controller reads a clock of its own.
    pub now: Timestamp,
    pub clocks: [SignedDuration; 2],
    /// What the watches of each controller have told so far.
    pub caches: [Server; 2],
    /// The Model as the webhook knows it, and for how long at most it has been another.
    webhook: (Option<Model>, Timestamp),
    pub disks: BTreeMap<String, Disk>,
    /// The volumes of running pods, by name of the pod.
    mounts: BTreeMap<String, String>,
    /// What users' pods were promised: claim, directory, source.
    promises: BTreeMap<String, (String, String, String)>,
    /// What the source has.
    source: u32,
    pods_made: u32,
    /// The API server refuses the next object: a quota.
    pub refuses: bool,
}

/// Longer than any webhook lags behind.
const LAG: SignedDuration = SignedDuration::from_mins(9);

impl World {
    pub fn new(settings: DownloadSettings) -> Self {
        let mut world = Self {
            server: Server::default(),
            settings,
            // Not the epoch: clocks go back, too.
            now: Timestamp::from_second(1_000_000_000).unwrap(),
            clocks: [SignedDuration::ZERO; 2],
            caches: [Server::default(), Server::default()],
            webhook: (None, Timestamp::UNIX_EPOCH),
            disks: BTreeMap::new(),
            mounts: BTreeMap::new(),
            promises: BTreeMap::new(),
            source: 0,
            pods_made: 0,
            refuses: false,
        };
        world.server.create_model(world.now);
        world
    }

    /// True time goes on. No webhook lags for longer than it may, and none at all where clocks are wrong by more than that.
    pub fn time_passes(&mut self, by: SignedDuration) {
        self.now += by;
        if self.webhook.0 == self.server.model {
            self.webhook.1 = self.now;
        }
        let wrong = self.clocks.iter().any(|clock| clock.abs() > SignedDuration::from_mins(1));
        if wrong || self.now.duration_since(self.webhook.1) > LAG {
            self.webhook_sees();
        }
    }

    pub fn webhook_sees(&mut self) {
        self.webhook = (self.server.model.clone(), self.now);
    }

    pub fn source_moves(&mut self) {
        self.source += 1;
    }

    /// A pod is made for each Job that has none, and Jobs end as their pods did.
    pub fn job_controller(&mut self) {
        let jobs: Vec<Job> = self.server.jobs.values().cloned().collect();
        for job in jobs.iter().filter(|job| !is_over(job) && job.metadata.deletion_timestamp.is_none()) {
            let own = |pod: &&Pod| owned_by(&pod.metadata, &job.metadata);
            let name = job.metadata.name.clone().unwrap();
            match self.server.pods.values().find(own).cloned() {
                None => {
                    self.pods_made += 1;
                    let pod = pod_of(job, self.pods_made);
                    self.server.create_pod(&pod, self.now);
                }
                Some(pod) if has_ended(&pod) => {
                    let kind = if phase(&pod) == "Succeeded" { "Complete" } else { "Failed" };
                    let at = Some(Time(self.now));
                    self.server.change_job(&name, |job| {
                        let condition = JobCondition {
                            type_: kind.to_owned(),
                            status: "True".to_owned(),
                            last_transition_time: at,
                            ..JobCondition::default()
                        };
                        job.status = Some(JobStatus { conditions: Some(vec![condition]), ..JobStatus::default() });
                    });
                }
                Some(_) => {}
            }
        }
    }

    /// The garbage collector, and the TTL of Jobs.
    pub fn collect(&mut self) {
        let late = |job: &&Job| ttl(job).is_some_and(|at| at <= self.now);
        let due: Vec<_> = self.server.jobs.values().filter(late).map(|job| job.metadata.clone()).collect();
        for meta in due {
            self.server.delete_job(&meta.name.unwrap(), &meta.uid.unwrap(), false, self.now);
        }
        self.server.collect(self.now);
    }

    /// When Jobs that have ended are removed.
    pub fn ttls(&self) -> impl Iterator<Item = Timestamp> {
        self.server.jobs.values().filter_map(ttl)
    }

    fn nth_pod(&self, nth: usize, wanted: impl Fn(&Pod) -> bool) -> Option<Pod> {
        let found: Vec<_> = self.server.pods.values().filter(|pod| wanted(pod)).collect();
        (!found.is_empty()).then(|| found[nth % found.len()].clone())
    }

    /// The kubelet starts a pod that waits, if what it mounts is there. A directory that is not there it does not make: the
    /// mounts cannot be written to.
    pub fn pod_starts(&mut self, nth: usize) {
        let waits = |pod: &Pod| phase(pod) == "Pending" && pod.metadata.deletion_timestamp.is_none();
        let Some(pod) = self.nth_pod(nth, waits) else { return };
        let name = pod.metadata.name.clone().unwrap();
        if let Some(claim_name) = claims_of(&pod).next().map(str::to_owned) {
            let claim = self.server.claims.get(&claim_name);
            let Some(claim) = claim.filter(|claim| claim.metadata.deletion_timestamp.is_none()) else { return };
            let uid = claim.metadata.uid.clone().unwrap();
            let disk = self.disks.entry(uid.clone()).or_default();
            if sub_paths(&pod).iter().any(|path| !disk.placed.contains_key(path)) {
                return;
            }
            self.server.change_claim(&claim_name, |claim| {
                let status = claim.status.get_or_insert_with(PersistentVolumeClaimStatus::default);
                status.phase = Some("Bound".to_owned());
            });
            self.mounts.insert(name.clone(), uid);
        }
        self.server.change_pod(&name, |pod| {
            pod.status = Some(PodStatus { phase: Some("Running".to_owned()), ..PodStatus::default() });
        });
    }

    /// A running pod of a Job works; also one that is being deleted, until it is gone.
    pub fn pod_works(&mut self, nth: usize, work: Work) {
        let Some(pod) = self.nth_pod(nth, |pod| phase(pod) == "Running" && is_of_job(pod)) else { return };
        let name = pod.metadata.name.clone().unwrap();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let args = container.args.clone().unwrap_or_default();
        let flag = |name: &'static str| args.iter().filter_map(move |arg| arg.strip_prefix(name)?.strip_prefix('='));
        let dir = |path: &str| path.strip_prefix("/models/").expect("a directory of the claim").to_owned();
        let mut scratch = Disk::default();
        let disk = self.mounts.get(&name).and_then(|uid| self.disks.get_mut(uid)).unwrap_or(&mut scratch);
        let listing = Some(self.source.to_string());
        let outcome = match args.first().map(String::as_str) {
            Some("plan") => Outcome::Planned(Planned { listing, bytes: Some(1 << 20), files: 1, ..Planned::default() }),
            Some("pull") => {
                let (to, source) = (dir(flag("--to").next().unwrap()), flag("--source").next().unwrap().to_owned());
                if let Work::All = work {
                    disk.placed.insert(to.clone(), source);
                }
                // Set aside or not.
                let beside = disk.placed.keys().filter(|path| **path != to).chain(disk.aside.keys());
                let others = beside.map(|path| last(path)).collect::<BTreeSet<_>>().into_iter().collect();
                Outcome::Succeeded(Published {
                    listing,
                    asked_at: Some(self.now),
                    bytes: 7,
                    files: 1,
                    others,
                    ..Published::default()
                })
            }
            Some("prune") => {
                let revisions = dir(flag("--dir").next().unwrap());
                let path = |id: &str| format!("{revisions}/{id}");
                let most = match work {
                    Work::All => usize::MAX,
                    Work::Half | Work::Fails(_) => 1,
                };
                for id in flag("--set-aside").take(most) {
                    if let Some(source) = disk.placed.remove(&path(id)) {
                        disk.aside.insert(path(id), source);
                    }
                }
                for id in
                    flag("--put-back").take(most).filter(|id| !disk.placed.contains_key(&path(id))).collect::<Vec<_>>()
                {
                    if let Some(source) = disk.aside.remove(&path(id)) {
                        disk.placed.insert(path(id), source);
                    }
                }
                for id in flag("--delete").take(most) {
                    disk.aside.remove(&path(id));
                }
                Outcome::Succeeded(Published::default())
            }
            Some("verify") => Outcome::Verified(Verified { bytes: 7, files: 1, ..Verified::default() }),
            _ => {
                let content = pod.metadata.annotations.as_ref().unwrap()[CONTENT_ID].clone();
                disk.root = Some((content, matches!(work, Work::All)));
                Outcome::Succeeded(Published { bytes: 7, files: 1, ..Published::default() })
            }
        };
        let is_stock = args.first().is_none_or(|first| !["plan", "pull", "prune", "verify"].contains(&first.as_str()));
        let (phase, code, message) = match work {
            Work::Half => return,
            Work::All if is_stock => ("Succeeded", 0, String::new()),
            Work::All => ("Succeeded", 0, serde_json::to_string(&outcome).unwrap()),
            Work::Fails(reason) => {
                let failed = Outcome::Failed(Failure { reason, message: "it was not to be".to_owned() });
                ("Failed", 1, failed.to_termination_message())
            }
        };
        let status = json!({ "phase": phase, "containerStatuses": [{
            "name": container.name, "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "terminated": { "exitCode": code, "message": message } },
        }] });
        self.server.change_pod(&name, |pod| pod.status = serde_json::from_value(status).unwrap());
        self.mounts.remove(&name);
    }

    /// A pod that is being deleted has had its time.
    pub fn pod_stops(&mut self, nth: usize) {
        if let Some(pod) = self.nth_pod(nth, |pod| pod.metadata.deletion_timestamp.is_some()) {
            self.forget(&pod.metadata.name.unwrap());
        }
    }

    /// A node is drained: a pod of a Job is deleted.
    pub fn pod_is_evicted(&mut self, nth: usize) {
        if let Some(pod) = self.nth_pod(nth, |pod| is_of_job(pod) && !has_ended(pod)) {
            let now = self.now;
            self.server.change_pod(&pod.metadata.name.unwrap(), |pod| mark(&mut pod.metadata, now));
        }
    }

    fn forget(&mut self, name: &str) {
        self.server.change_pod(name, |_| ());
        self.server.pods.remove(name);
        self.mounts.remove(name);
        self.promises.remove(name);
    }

    /// A pod of a user comes through the webhook. One that is denied is not tried again here.
    pub fn user_pod_comes(&mut self) {
        let Ok(ready) = ready_model(MODEL, NAMESPACE, self.webhook.0.as_ref()) else { return };
        self.pods_made += 1;
        let name = format!("user-{}", self.pods_made);
        let mut pod = json!({
            "metadata": { "name": name, "namespace": NAMESPACE, "annotations": { "models.main-currents.news/inject": MODEL } },
            "spec": { "containers": [{ "name": "app" }] },
        });
        let wish = parse(&pod).unwrap().expect("it asks");
        let additions = inject(&pod, &wish, std::slice::from_ref(&ready)).expect("a pod like others");
        json_patch::patch(&mut pod, &additions).expect("it applies");
        let Source::Url(source) = ready.content.source else { panic!("it has a URL") };
        let status = self.webhook.0.as_ref().and_then(|model| model.status.as_ref()).unwrap();
        let promise = (status.claim_uid.clone().unwrap(), ready.content.path, source.url);
        self.server.create_pod(&serde_json::from_value(pod).unwrap(), self.now);
        self.promises.insert(name, promise);
    }

    pub fn user_pod_goes(&mut self, nth: usize) {
        if let Some(pod) = self.nth_pod(nth, |pod| !is_of_job(pod)) {
            self.forget(&pod.metadata.name.unwrap());
        }
    }

    /// Users' pods of this moment's claim that do not run yet.
    pub fn waiting_users(&self) -> Vec<&String> {
        let claims: BTreeSet<_> = self.server.claims.values().filter_map(|claim| claim.metadata.uid.clone()).collect();
        let of_now = self.promises.iter().filter(|(_, (claim, ..))| claims.contains(claim));
        of_now.filter(|(name, _)| !self.mounts.contains_key(*name)).map(|(name, _)| name).collect()
    }

    /// What must hold at every moment of every history.
    pub fn check(&self) {
        // What is offered was downloaded in full to the claim that it is said to lie on, and is of the source that is named.
        if let Some(status) = self.server.model.as_ref().and_then(|model| model.status.as_ref())
            && let Some(content) = &status.content
        {
            let claim = status.claim_uid.as_ref().expect("a claim of the content");
            let disk = self.disks.get(claim).expect("a claim with content was mounted");
            let Source::Url(source) = &content.source else { panic!("it has a URL") };
            if content.path.is_empty() {
                assert_eq!(disk.root, Some((content.id.clone(), true)), "another Job wrote over what is offered");
            } else {
                assert_eq!(disk.placed.get(&content.path), Some(&source.url), "{content:?} is offered");
            }
        }
        // No pod loses what it mounts or was promised, as long as its claim is there.
        for (pod, (claim, path, source)) in &self.promises {
            if path.is_empty() || !self.disks.contains_key(claim) {
                continue;
            }
            let disk = &self.disks[claim];
            let found = disk.placed.get(path).or_else(|| disk.aside.get(path));
            assert_eq!(found, Some(source), "{path} was taken from pod {pod}");
        }
        // No download works beside the removal of earlier content.
        let of = |command: &str, claim: &String| {
            let runs = self.server.pods.iter().filter(move |(name, _)| self.mounts.get(*name) == Some(claim));
            runs.filter(|(_, pod)| first_argument(pod).is_some_and(|first| first == command))
                .map(|(_, pod)| pod)
                .collect::<Vec<_>>()
        };
        for claim in self.disks.keys() {
            let has_job = |pod: &&Pod| self.server.jobs.values().any(|job| owned_by(&pod.metadata, &job.metadata));
            let pulls: Vec<_> = of("pull", claim).into_iter().filter(has_job).collect();
            assert!(pulls.is_empty() || of("prune", claim).is_empty(), "a download and a removal work on one claim");
            assert!(pulls.len() < 2, "two Jobs download to one claim");
        }
        for job in self.server.jobs.values() {
            let annotation = |key| job.metadata.annotations.as_ref().and_then(|all| all.get(key));
            assert!(annotation(CLAIM_UID).is_some() || claims_in(job).is_empty(), "a Job that writes says where");
        }
    }
}

fn first_argument(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.containers.first()?.args.as_ref()?.first().map(String::as_str)
}

fn claims_in(job: &Job) -> Vec<String> {
    let spec = job.spec.as_ref().and_then(|spec| spec.template.spec.clone());
    claims_of(&Pod { spec, ..Pod::default() }).map(str::to_owned).collect()
}

fn last(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn sub_paths(pod: &Pod) -> Vec<String> {
    let mounts = pod.spec.iter().flat_map(|spec| &spec.containers).flat_map(|one| one.volume_mounts.iter().flatten());
    mounts.filter_map(|mount| mount.sub_path.clone()).collect()
}

fn is_of_job(pod: &Pod) -> bool {
    pod.metadata.owner_references.iter().flatten().any(|owner| owner.kind == "Job")
}

fn owned_by(meta: &ObjectMeta, owner: &ObjectMeta) -> bool {
    meta.owner_references.iter().flatten().any(|one| Some(&one.uid) == owner.uid.as_ref())
}

fn ttl(job: &Job) -> Option<Timestamp> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    Some(ended_at(job)? + SignedDuration::from_secs(seconds.into()))
}

fn is_over(job: &Job) -> bool {
    ended_at(job).is_some()
}

fn ended_at(job: &Job) -> Option<Timestamp> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.first()?.last_transition_time.as_ref().map(|time| time.0)
}

fn pod_of(job: &Job, number: u32) -> Pod {
    let template = job.spec.as_ref().unwrap().template.clone();
    let (name, uid) = (job.metadata.name.clone().unwrap(), job.metadata.uid.clone().unwrap());
    let metadata = ObjectMeta {
        name: Some(format!("{name}-{number}")),
        namespace: Some(NAMESPACE.to_owned()),
        owner_references: Some(vec![OwnerReference {
            api_version: "batch/v1".to_owned(),
            kind: "Job".to_owned(),
            name,
            uid,
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..template.metadata.unwrap_or_default()
    };
    Pod { metadata, spec: template.spec, status: None }
}
