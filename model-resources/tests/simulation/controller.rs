//! One pass of a controller, request by request, as model-controller makes it. Between any two requests the world goes on,
//! and before any of them the controller may die.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use model_core::api::{Model, ModelStatus};
use model_core::decide::{Decision, Look, Write, decide, is_verification_open};
use model_core::names::{job_name, plan_job_name, prune_job_name, verify_job_name};
use model_core::observed::{
    JobState, Observed, Placement, PlanState, PruneJob, Refusal, Users, claim_details, claim_state, is_answer_wanted,
    is_downloading, is_pruning, job_state, newest_pod, placement, plan_state, prune_job, verify_job,
};
use model_core::persisted::{Downloader, Persisted};
use model_core::status::status;
use model_resources as build;

use super::history::{Happening, Pass};
use super::server::{Conflict, Server};
use super::world::World;

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing to do, or all done. Again at this time of the controller's clock, if not sooner.
    Done(Option<Timestamp>),
    /// The cluster changed under it, or refused: it is tried again.
    Again,
    Died,
}

/// The children of the Model, as objects.
#[derive(Default)]
struct Children {
    claim: Option<PersistentVolumeClaim>,
    job: Option<Job>,
    plan: Option<Job>,
    prune: Option<Job>,
    verify: Option<Job>,
    /// Of our own Jobs.
    pods: Vec<Pod>,
    /// All pods of the namespace, where somebody looked.
    all_pods: Option<Vec<Pod>>,
    expandable: Option<bool>,
}

impl Children {
    fn cached(server: &Server, model: &Persisted) -> Self {
        let job = |name: String| server.jobs.get(&name).cloned();
        let claim = server.claims.get(&model.claim_name()).cloned();
        Self {
            job: job(job_name(model.name)),
            prune: job(prune_job_name(model.name)),
            plan: is_planned(model, claim.as_ref()).then(|| job(plan_job_name(model.name))).flatten(),
            verify: is_verification_open(model).then(|| job(verify_job_name(model.name))).flatten(),
            pods: server.pods.values().cloned().collect(),
            claim,
            ..Self::default()
        }
    }

    fn seen<'a>(&self, settings: &build::DownloadSettings, model: &'a Persisted<'a>, now: Timestamp) -> Observed<'a> {
        let claim = claim_state(model, self.claim.as_ref(), None, None);
        let pod = |job: &Option<Job>| job.as_ref().and_then(|job| newest_pod(job, &self.pods));
        let is_stock = settings.downloader == Downloader::Stock;
        let plan = match &self.plan {
            _ if is_stock => PlanState::Unsupported,
            None => PlanState::Absent,
            job => plan_state(model, &claim, job.as_ref(), pod(job), Refusal::Unknown, now),
        };
        let placement = self.claim.as_ref().zip(self.all_pods.as_ref()).map(|(claim, pods)| placement(claim, pods));
        let prunes = self.all_pods.as_ref().is_some_and(|pods| is_pruning(model, pods));
        let prune = match prune_job(model, &claim, self.prune.as_ref(), pod(&self.prune), placement.as_ref()) {
            PruneJob::Absent if prunes => PruneJob::Terminating,
            prune => prune,
        };
        let downloads = is_stock && self.all_pods.as_ref().is_some_and(|pods| is_downloading(model, pods));
        let job = match job_state(model, &claim, self.job.as_ref(), pod(&self.job), None, Refusal::Unknown, now) {
            JobState::Absent if downloads => JobState::Terminating,
            job => job,
        };
        let details = self.claim.as_ref().filter(|_| claim.uid().is_some());
        Observed {
            model,
            wanted_path: model.content_path(&settings.downloader),
            job,
            plan,
            checks_full: false,
            writer: None,
            queue: None,
            claim_details: details.map(|claim| claim_details(model, claim, self.expandable)),
            prune,
            users: self.all_pods.as_ref().map(|pods| Users::of_claim(&model.claim_name(), pods)),
            verify: verify_job(model, &claim, self.verify.as_ref(), pod(&self.verify), now),
            can_verify: !is_stock,
            placement: placement.unwrap_or_default(),
            claim,
        }
    }
}

fn is_planned(model: &Persisted, claim: Option<&PersistentVolumeClaim>) -> bool {
    let before = model.wants_plan() && (claim.is_none() || is_answer_wanted(model));
    before || (claim.is_some() && model.check_interval().is_some())
}

/// A controller that makes a pass.
pub struct Controller<'a> {
    pub world: &'a mut World,
    pub who: usize,
    pub pass: &'a Pass,
    /// Requests so far.
    requests: usize,
}

struct Died;

impl<'a> Controller<'a> {
    pub const fn new(world: &'a mut World, who: usize, pass: &'a Pass) -> Self {
        Self { world, who, pass, requests: 0 }
    }

    fn clock(&self) -> Timestamp {
        self.world.now + self.world.clocks[self.who]
    }

    /// What happens before the next request.
    fn before_request(&mut self) -> Result<(), Died> {
        if self.pass.dies_at == Some(self.requests) {
            return Err(Died);
        }
        for (_, happening) in self.pass.between.iter().filter(|(at, _)| *at == self.requests) {
            happening.befalls(self.world);
        }
        self.requests += 1;
        Ok(())
    }

    pub fn run(mut self) -> End {
        let Some(model) = self.world.caches[self.who].model.clone() else { return End::Done(None) };
        let persisted = Persisted::try_from(&model).unwrap();
        let now = self.clock();
        let cached = Children::cached(&self.world.caches[self.who], &persisted);
        let (decision, next) = self.next(&cached, &persisted, now);
        if decision.writes.is_empty() && decision.wants.is_empty() && model.status.as_ref() == Some(&next) {
            return End::Done(decision.look_again);
        }
        match self.acts(&model, now) {
            Ok(Ok(again)) => End::Done(again),
            Ok(Err(Conflict)) => End::Again,
            Err(Died) => End::Died,
        }
    }

    fn next(&self, children: &Children, model: &Persisted, now: Timestamp) -> (Decision, ModelStatus) {
        let seen = children.seen(&self.world.settings, model, now);
        let decision = decide(&seen, now);
        assert_eq!(decision, decide(&seen, now), "equal input gives equal output");
        let status = status(&seen, &decision, now);
        (decision, status)
    }

    fn live_model(&mut self, cached: &Model) -> Result<Option<Model>, Died> {
        self.before_request()?;
        let live = self.world.server.model.clone();
        Ok(live.filter(|model| model.metadata.uid == cached.metadata.uid))
    }

    fn live_job(&mut self, name: &str) -> Result<Option<Job>, Died> {
        self.before_request()?;
        Ok(self.world.server.jobs.get(name).cloned())
    }

    fn live_pods(&mut self) -> Result<Vec<Pod>, Died> {
        self.before_request()?;
        Ok(self.world.server.pods.values().cloned().collect())
    }

    fn live(&mut self, model: &Persisted) -> Result<Children, Died> {
        let job = self.live_job(&job_name(model.name))?;
        let prune = self.live_job(&prune_job_name(model.name))?;
        self.before_request()?;
        let claim = self.world.server.claims.get(&model.claim_name()).cloned();
        let plan = is_planned(model, claim.as_ref()).then(|| self.live_job(&plan_job_name(model.name)));
        let verify = is_verification_open(model).then(|| self.live_job(&verify_job_name(model.name)));
        let (plan, verify) = (plan.transpose()?.flatten(), verify.transpose()?.flatten());
        let pods = self.live_pods()?;
        let all_pods = if claim.is_some() && job.is_none() { Some(self.live_pods()?) } else { None };
        Ok(Children { claim, job, plan, prune, verify, pods, all_pods, expandable: None })
    }

    fn acts(&mut self, cached: &Model, now: Timestamp) -> Result<Result<Option<Timestamp>, Conflict>, Died> {
        let Some(model) = self.live_model(cached)? else { return Ok(Ok(None)) };
        let persisted = Persisted::try_from(&model).unwrap();
        let mut children = self.live(&persisted)?;
        let (mut decision, mut status) = self.next(&children, &persisted, now);
        let mut looks = 0;
        while let Some(look) = decision.wants.first() {
            looks += 1;
            assert!(looks < 5, "it never has enough: {:?}", decision.wants);
            match look {
                Look::Class => children.expandable = Some(false),
                Look::Users => children.all_pods = Some(self.live_pods()?),
            }
            (decision, status) = self.next(&children, &persisted, now);
        }
        if decision.writes.iter().any(Write::needs_the_newest_record) {
            let again = self.live_model(cached)?.and_then(|again| again.metadata.resource_version);
            if again != model.metadata.resource_version {
                return Ok(Err(Conflict));
            }
        }
        for write in &decision.writes {
            self.before_request()?;
            if std::mem::take(&mut self.world.refuses) && is_creation(write) {
                let seen = children.seen(&self.world.settings, &persisted, now);
                let refused = decision.clone().refused(&seen, write, "exceeded quota: pods".to_owned(), now);
                let status = model_core::status::status(&seen, &refused, now);
                self.before_request()?;
                return Ok(self.world.server.record_status(&model, status).and(Err(Conflict)));
            }
            if self.make(write, &persisted, &mut children) == Err(Conflict) {
                return Ok(Err(Conflict));
            }
            self.world.check();
        }
        if model.status.as_ref() != Some(&status) {
            self.before_request()?;
            if self.world.server.record_status(&model, status) == Err(Conflict) {
                return Ok(Err(Conflict));
            }
        }
        Ok(Ok(decision.look_again))
    }

    fn make(&mut self, write: &Write, model: &Persisted, children: &mut Children) -> Result<(), Conflict> {
        let (server, settings, at) = (&mut self.world.server, &self.world.settings, self.world.now);
        let claim = children.claim.clone();
        let uid = claim.as_ref().and_then(|claim| claim.metadata.uid.clone()).ok_or(Conflict);
        let pods = children.all_pods.iter().flatten();
        let place = claim.as_ref().map_or(Placement::Anywhere, |claim| placement(claim, pods));
        let mut create =
            |job: Option<Job>| job.map_or(Ok(()), |job| server.create_job(&build::placed(job, &place), at));
        match write {
            Write::CreateClaim { size } => {
                let claim = build::claim(model, size);
                let uid = server.create_claim(&claim, at)?;
                children.claim = server.claims.values().find(|it| it.metadata.uid.as_ref() == Some(&uid)).cloned();
                Ok(())
            }
            Write::CreatePlanJob => create(build::plan_job(model, settings)),
            Write::CreateCheckJob => create(build::check_job(model, settings, &uid?)),
            Write::CreateJob => create(Some(build::download_job(model, settings, &uid?))),
            Write::CreatePruneJob(step) => create(build::prune_job(model, settings, &uid?, step)),
            Write::CreateVerifyJob { request, content } => {
                create(build::verify_job(model, settings, &uid?, request, content))
            }
            Write::DeleteJob { uid } => {
                server.delete_job(&job_name(model.name), uid, false, at);
                Ok(())
            }
            Write::DeletePlanJob { uid } => {
                server.delete_job(&plan_job_name(model.name), uid, false, at);
                Ok(())
            }
            Write::DeletePruneJob { uid, and_wait } => {
                server.delete_job(&prune_job_name(model.name), uid, *and_wait, at);
                Ok(())
            }
            Write::DeleteVerifyJob { uid } => {
                server.delete_job(&verify_job_name(model.name), uid, false, at);
                Ok(())
            }
            Write::SetClaimOwner { owned } => {
                let claim = claim.ok_or(Conflict)?;
                let mut owners = claim.metadata.owner_references.clone().unwrap_or_default();
                owners.retain(|owner| owner.uid != model.uid);
                owners.extend(owned.then(|| model.owner_reference()));
                // Its version has changed: the next pass goes on.
                server.own_claim(&claim, owners).and(Err(Conflict))
            }
            Write::GrowClaim { .. } => panic!("its class does not let it grow"),
        }
    }
}

const fn is_creation(write: &Write) -> bool {
    matches!(
        write,
        Write::CreateClaim { .. }
            | Write::CreatePlanJob
            | Write::CreateCheckJob
            | Write::CreateJob
            | Write::CreatePruneJob(_)
            | Write::CreateVerifyJob { .. }
    )
}

/// A pass that nothing crosses.
pub fn undisturbed(world: &mut World, who: usize) -> End {
    Controller::new(world, who, &Pass::default()).run()
}

impl Happening {
    /// Also where a pass is under way.
    fn befalls(&self, world: &mut World) {
        self.happens(world);
    }
}
