//! What can happen, in any order.

use jiff::SignedDuration;
use model_core::api::{DeletionPolicy, Source, UrlSource};
use model_core::labels::{REFRESH, VERIFY};
use model_core::names::{claim_name, job_name, plan_job_name, prune_job_name, verify_job_name};
use model_core::reason::Reason;
use proptest::collection::vec;
use proptest::prelude::*;

use super::controller::{Controller, End, undisturbed};
use super::server::{MODEL, mark};
use super::world::{Work, World};

/// What crosses a pass of a controller.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// Before which request what happens.
    pub between: Vec<(usize, Happening)>,
    /// Before which request the controller dies, as by `kill -9`. The next one starts with fresh caches.
    pub dies_at: Option<usize>,
}

/// A kind of objects that is watched.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Models,
    Claims,
    Jobs,
    Pods,
}

#[derive(Clone, Debug)]
pub enum Happening {
    /// A watch of a controller tells what it has missed of one kind.
    Sees {
        who: usize,
        kind: Kind,
    },
    /// All goes well for a while.
    Undisturbed,
    /// A controller makes a pass: because something changed, or because an event was delivered twice.
    Passes {
        who: usize,
        pass: Pass,
    },
    WebhookSees,
    JobController,
    Collector,
    PodStarts(usize),
    PodWorks(usize, Work),
    PodStops(usize),
    PodIsEvicted(usize),
    UserPodComes,
    UserPodGoes(usize),
    SourceChanges(u8),
    Refreshed(u8),
    VerifyIsAsked(u8),
    Keeps(i32),
    Preflight(bool),
    Checks(bool),
    Retains(bool),
    SourceMoves,
    /// Somebody deletes a Job with kubectl, which is in the background.
    JobIsDeleted(usize),
    ClaimIsDeleted,
    ModelIsDeleted,
    ModelIsCreated,
    TimePasses(u32),
    /// The clock of a controller is so many minutes off from now on.
    ClockJumps {
        who: usize,
        minutes: i32,
    },
    Refuses,
}

impl Happening {
    pub fn happens(&self, world: &mut World) {
        world.time_passes(SignedDuration::from_secs(1));
        let now = world.now;
        match self {
            Self::Sees { who, kind } => {
                let (cache, server) = (&mut world.caches[*who], &world.server);
                match kind {
                    Kind::Models => cache.model.clone_from(&server.model),
                    Kind::Claims => cache.claims.clone_from(&server.claims),
                    Kind::Jobs => cache.jobs.clone_from(&server.jobs),
                    Kind::Pods => cache.pods.clone_from(&server.pods),
                }
            }
            Self::Passes { who, pass } => {
                if Controller::new(world, *who, pass).run() == End::Died {
                    world.caches[*who] = world.server.clone();
                }
            }
            Self::Undisturbed => {
                others_do_their_part(world);
                for who in 0..2 {
                    world.caches[who] = world.server.clone();
                    undisturbed(world, who);
                }
            }
            Self::WebhookSees => world.webhook_sees(),
            Self::JobController => world.job_controller(),
            Self::Collector => world.collect(),
            Self::PodStarts(nth) => world.pod_starts(*nth),
            Self::PodWorks(nth, work) => world.pod_works(*nth, *work),
            Self::PodStops(nth) => world.pod_stops(*nth),
            Self::PodIsEvicted(nth) => world.pod_is_evicted(*nth),
            Self::UserPodComes => world.user_pod_comes(),
            Self::UserPodGoes(nth) => world.user_pod_goes(*nth),
            Self::SourceChanges(number) => {
                let url = format!("https://example.com/{number}");
                let source = Source::Url(UrlSource { url, sha256: None });
                world.server.change_model(|model| model.spec.source = source);
            }
            Self::Refreshed(number) => annotate(world, REFRESH, *number),
            Self::VerifyIsAsked(number) => annotate(world, VERIFY, *number),
            Self::Keeps(number) => world.server.change_model(|model| model.spec.keep_revisions = *number),
            Self::Preflight(wanted) => world.server.change_model(|model| model.spec.preflight = *wanted),
            Self::Checks(wanted) => {
                world.server.change_model(|model| model.spec.check_interval = wanted.then(|| "6h".to_owned()));
            }
            Self::Retains(retains) => {
                let policy = if *retains { DeletionPolicy::Retain } else { DeletionPolicy::Delete };
                world.server.change_model(|model| model.spec.deletion_policy = policy);
            }
            Self::SourceMoves => world.source_moves(),
            Self::JobIsDeleted(nth) => {
                let names = [job_name(MODEL), prune_job_name(MODEL), plan_job_name(MODEL), verify_job_name(MODEL)];
                let name = &names[nth % names.len()];
                let uid = world.server.jobs.get(name).and_then(|job| job.metadata.uid.clone());
                if let Some(uid) = uid {
                    world.server.delete_job(name, &uid, false, now);
                }
            }
            Self::ClaimIsDeleted => {
                world.server.change_claim(&claim_name(MODEL), |claim| mark(&mut claim.metadata, now));
            }
            Self::ModelIsDeleted => {
                world.server.change_model(|_| ());
                world.server.model = None;
            }
            Self::ModelIsCreated => world.server.create_model(now),
            Self::TimePasses(minutes) => world.time_passes(SignedDuration::from_mins((*minutes).into())),
            Self::ClockJumps { who, minutes } => world.clocks[*who] = SignedDuration::from_mins((*minutes).into()),
            Self::Refuses => world.refuses = true,
        }
        world.check();
    }
}

/// Everybody but the controllers does what is to be done.
pub fn others_do_their_part(world: &mut World) {
    Happening::WebhookSees.happens(world);
    Happening::Collector.happens(world);
    Happening::JobController.happens(world);
    for nth in 0..8 {
        Happening::PodStarts(nth).happens(world);
        Happening::PodWorks(nth, Work::All).happens(world);
        Happening::PodStops(0).happens(world);
    }
    Happening::JobController.happens(world);
}

fn annotate(world: &mut World, key: &str, number: u8) {
    world.server.change_model(|model| {
        model.metadata.annotations.get_or_insert_default().insert(key.to_owned(), format!("request-{number}"));
    });
}

/// Everything but passes of controllers.
fn of_others() -> impl Strategy<Value = Happening> {
    let work = prop_oneof![
        4 => Just(Work::All),
        1 => Just(Work::Half),
        1 => prop_oneof![Just(Reason::NetworkError), Just(Reason::DiskFull)].prop_map(Work::Fails),
    ];
    prop_oneof![
        6 => Just(Happening::JobController),
        6 => (0_usize..4).prop_map(Happening::PodStarts),
        8 => (0_usize..4, work).prop_map(|(nth, work)| Happening::PodWorks(nth, work)),
        3 => (0_usize..4).prop_map(Happening::PodStops),
        1 => (0_usize..4).prop_map(Happening::PodIsEvicted),
        4 => Just(Happening::Collector),
        2 => Just(Happening::WebhookSees),
        3 => Just(Happening::UserPodComes),
        2 => (0_usize..4).prop_map(Happening::UserPodGoes),
        3 => (0_u8..3).prop_map(Happening::SourceChanges),
        1 => (0_u8..3).prop_map(Happening::Refreshed),
        3 => (0_u8..5).prop_map(Happening::VerifyIsAsked),
        1 => (1_i32..4).prop_map(Happening::Keeps),
        1 => any::<bool>().prop_map(Happening::Preflight),
        1 => any::<bool>().prop_map(Happening::Checks),
        1 => any::<bool>().prop_map(Happening::Retains),
        1 => Just(Happening::SourceMoves),
        2 => (0_usize..4).prop_map(Happening::JobIsDeleted),
        1 => Just(Happening::ClaimIsDeleted),
        1 => Just(Happening::ModelIsDeleted),
        2 => Just(Happening::ModelIsCreated),
        3 => (1_u32..15).prop_map(Happening::TimePasses),
        1 => (15_u32..800).prop_map(Happening::TimePasses),
        1 => Just(Happening::Refuses),
    ]
}

fn sees() -> impl Strategy<Value = Happening> {
    let kind = prop_oneof![Just(Kind::Models), Just(Kind::Claims), Just(Kind::Jobs), Just(Kind::Pods)];
    (0_usize..2, kind).prop_map(|(who, kind)| Happening::Sees { who, kind })
}

/// A pass that is crossed by what others do, by a whole pass of the other controller, or by its end.
fn passes() -> impl Strategy<Value = Happening> {
    let between = prop_oneof![
        3 => of_others().boxed(),
        1 => (0_usize..2).prop_map(|who| Happening::Passes { who, pass: Pass::default() }).boxed(),
    ];
    let crossed = vec((0_usize..12, between), 0..3);
    (0_usize..2, crossed, proptest::option::weighted(0.25, 0_usize..12))
        .prop_map(|(who, between, dies_at)| Happening::Passes { who, pass: Pass { between, dies_at } })
}

/// What happens, clocks that are right taken for granted.
pub fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![12 => of_others(), 8 => sees(), 12 => passes(), 3 => Just(Happening::Undisturbed)]
}

/// With clocks that jump, a day and a half ahead or back.
pub fn with_wrong_clocks() -> impl Strategy<Value = Happening> {
    let jump = (0_usize..2, -2000_i32..2000).prop_map(|(who, minutes)| Happening::ClockJumps { who, minutes });
    prop_oneof![12 => happening(), 1 => jump]
}
