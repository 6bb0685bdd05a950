//! Whole histories: whatever happened, and wherever the controller died, a kind world ends well.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::prune::settle;
use super::seen::alone;
use super::world::{Happening, World, model};
use crate::api::Phase;
use crate::decide::{Write, decide};
use crate::observed::{ClaimState, JobState, Observed, PlanState, Podless, Refusal, Unmounted};
use crate::persisted::{Downloader, Persisted};
use crate::reason::Reason;
use crate::report::Failure;

/// A failure that only a person can mend waits for one, so a kind world includes that person deleting the Job, or the
/// day passing.
const STEPS: usize = 20;

pub fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0_usize..5).prop_map(|writes| Happening::Look { writes }),
        1 => Just(Happening::LookTwice),
        2 => Just(Happening::JobSucceeds),
        1 => prop_oneof![Just(Reason::NetworkError), Just(Reason::DiskFull), Just(Reason::Evicted)].prop_map(Happening::JobFails),
        2 => Just(Happening::PlanSucceeds),
        1 => prop_oneof![Just(Reason::NetworkError), Just(Reason::RateLimited)].prop_map(Happening::PlanFails),
        1 => Just(Happening::JobDeleted),
        1 => Just(Happening::JobGone),
        1 => Just(Happening::ClaimDeleted),
        1 => Just(Happening::ClaimGone),
        1 => (0_u8..3).prop_map(Happening::SpecChanges),
        1 => proptest::option::of("[ab]").prop_map(Happening::Writer),
        1 => proptest::option::of(1_usize..40).prop_map(Happening::Queue),
        1 => (0_u32..200).prop_map(Happening::TimePasses),
        1 => (1_u32..15).prop_map(Happening::TimePasses),
        1 => Just(Happening::PodComes),
        1 => Just(Happening::OldPodComes),
        1 => Just(Happening::PodGoes),
        2 => (1_usize..4, any::<bool>()).prop_map(|(contents, lives)| Happening::PruneWorks { contents, lives }),
        1 => Just(Happening::PruneGivesUp),
        1 => Just(Happening::PruneDeleted),
        1 => Just(Happening::PruneGone),
    ]
}

/// Stock images need a size.
fn world() -> impl Strategy<Value = World> {
    let loader = || Downloader::Loader { image: "loader".into() };
    prop_oneof![
        Just(World::new(Downloader::Stock)),
        Just(World::new(loader())),
        Just(World::new(loader()).without_size())
    ]
}

/// Whether a download failed, also one beside content that stays published.
fn has_failed(world: &mut World) -> bool {
    let next = world.look(0);
    next.phase == Phase::Failed || (!next.up_to_date && next.reason.is_trouble())
}

proptest! {
    #[test]
    fn a_kind_world_becomes_ready_and_then_writes_nothing(
        mut world in world(),
        history in proptest::collection::vec(happening(), 0..40),
    ) {
        for happening in &history {
            world.happens(happening);
        }
        // The failed Job is deleted by somebody, which is the wish to retry.
        let failed = world.model.status.as_ref().is_some_and(|status| status.phase == Some(Phase::Failed));
        if failed || has_failed(&mut world) {
            world.happens(&Happening::JobDeleted);
        }
        world.happens(&Happening::TimePasses(60 * 24));
        for _ in 0..STEPS {
            world.kind_step();
            if has_failed(&mut world) {
                world.happens(&Happening::JobDeleted);
            }
        }
        prop_assert!(world.is_ready(), "{world:#?}");

        let settled = world.model.status.clone();
        world.happens(&Happening::TimePasses(5));
        let decision = world.look(usize::MAX);
        prop_assert!(decision.writes.is_empty(), "{decision:#?}");
        prop_assert_eq!(&world.model.status, &settled);

        // Once all that can be taken off the claim is, what pods name is in its place.
        settle(&mut world);
        prop_assert!(world.missing().is_empty(), "{:?} cannot be mounted: {world:#?}", world.missing());
        prop_assert_eq!(world.contents().1, 0, "{:#?}", world);
    }

    #[test]
    fn a_crash_between_any_two_writes_repeats_work_and_skips_none(
        mut world in world(),
        crashes in proptest::collection::vec(0_usize..4, 0..20),
    ) {
        for writes in crashes {
            world.happens(&Happening::Look { writes });
            world.happens(&Happening::PlanSucceeds);
            world.happens(&Happening::JobSucceeds);
        }
        for _ in 0..STEPS {
            world.kind_step();
        }
        prop_assert!(world.is_ready(), "{world:#?}");
        let download = world.model.status.and_then(|status| status.download).expect("a download is recorded");
        prop_assert_eq!(download.attempt, 1, "one Job was enough");
    }
}

#[test]
fn an_undisturbed_life_takes_two_looks() {
    let mut world = World::new(Downloader::Loader { image: "loader".into() });
    world.happens(&Happening::Look { writes: usize::MAX });
    assert_eq!(world.model.status.as_ref().and_then(|status| status.phase), Some(Phase::Downloading));
    world.happens(&Happening::JobSucceeds);
    world.happens(&Happening::Look { writes: usize::MAX });
    assert!(world.is_ready());
}

#[test]
fn a_new_spec_downloads_beside_content_that_stays_ready() {
    let mut world = World::new(Downloader::Loader { image: "loader".into() });
    (0..3).for_each(|_| world.kind_step());
    world.happens(&Happening::SpecChanges(1));
    for happening in [Happening::Look { writes: 9 }, Happening::JobGone, Happening::Look { writes: 9 }] {
        world.happens(&happening);
        let status = world.model.status.clone().unwrap();
        assert_eq!(status.phase, Some(Phase::Ready), "{status:#?}");
        assert_ne!(status.content.unwrap().id, world.wanted());
        let up_to_date = status.conditions.iter().find(|condition| condition.type_ == "UpToDate").unwrap();
        assert_eq!((up_to_date.status.as_str(), up_to_date.reason.as_str()), ("False", "Refreshing"));
    }
    world.happens(&Happening::JobFails(Reason::SourceNotFound));
    world.happens(&Happening::Look { writes: 9 });
    let status = world.model.status.clone().unwrap();
    assert_eq!(status.phase, Some(Phase::Ready), "a failed refresh takes nothing down");
    let condition = |kind: &str| {
        let condition = status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
        (condition.status.as_str(), condition.reason.as_str())
    };
    assert_eq!(condition("UpToDate"), ("False", "RefreshFailed"));
    assert_eq!(condition("Downloaded"), ("False", "SourceNotFound"));
    assert_eq!(condition("Ready"), ("True", "Downloaded"));
}

#[test]
fn a_pod_that_may_write_shows_as_a_condition_and_changes_nothing_else() {
    let mut world = World::new(Downloader::Loader { image: "loader".into() });
    (0..3).for_each(|_| world.kind_step());
    let without = world.model.status.clone();
    let mut since = None;
    for pod in ["trainer", "writer"] {
        world.happens(&Happening::Writer(Some(pod.to_owned())));
        assert!(world.look(usize::MAX).writes.is_empty());
        let mut status = world.model.status.clone().unwrap();
        let condition = status.conditions.pop().unwrap();
        assert_eq!(
            (condition.type_.as_str(), condition.status.as_str(), condition.reason.as_str()),
            ("ContentWritable", "True", "WritableMount")
        );
        assert!(condition.message.starts_with(&format!("pod {pod} may change the content; ")), "{}", condition.message);
        let first = since.get_or_insert(condition.last_transition_time.clone()).clone();
        assert_eq!(condition.last_transition_time, first, "another pod is no transition");
        assert_eq!(Some(status), without);
    }
    world.happens(&Happening::Writer(None));
    world.look(usize::MAX);
    assert_eq!(world.model.status, without);
}

#[test]
fn volumes_that_are_not_mounted_are_worth_a_word_after_half_a_minute() {
    let model = model("https://example.com/0");
    let persisted = Persisted::try_from(&model).unwrap();
    let at = |second| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
    let seen = |refusal: Refusal, trouble: Option<Failure>| {
        let claim = ClaimState::Ours { uid: "claim".into(), bound: true, trouble: None };
        let volumes = "ConfigMap company-ca".into();
        let unmounted = Some(Unmounted { since: at(0), placed: true, volumes, refusal });
        alone(&persisted, claim, JobState::Running { trouble, progress: None, unmounted, podless: None })
    };
    let soon = decide(&seen(Refusal::NotRead, None), at(29));
    assert_eq!((soon.reason, soon.look_again), (Reason::Downloading, Some(at(30))));
    let late = decide(&seen(Refusal::Unknown, None), at(30));
    assert_eq!((late.reason, late.look_again), (Reason::VolumeNotMounted, Some(at(60))));
    assert_eq!(late.phase, Phase::Downloading);
    assert!(late.message.ends_with(": ConfigMap company-ca"), "{}", late.message);
    // What was not read is never what is recorded, so that the Events are read.
    assert_ne!(decide(&seen(Refusal::NotRead, None), at(30)).message, late.message);
    let network = Failure { reason: Reason::SandboxFailed, message: "no IPs available".into() };
    let known = decide(&seen(Refusal::Known(network), None), at(300));
    assert_eq!((known.reason, known.look_again), (Reason::SandboxFailed, Some(at(600))));
    assert!(known.message.ends_with(": no IPs available"), "{}", known.message);
    // What is known better is said instead.
    let evicted = Failure { reason: Reason::Evicted, message: String::new() };
    assert_eq!(decide(&seen(Refusal::NotRead, Some(evicted)), at(30)).reason, Reason::Evicted);
}

#[test]
fn who_waits_for_a_download_has_no_children_and_starts_when_there_is_a_place() {
    let mut world = World::new(Downloader::Loader { image: "loader".into() });
    world.happens(&Happening::Queue(Some(3)));
    let decision = world.look(usize::MAX);
    assert_eq!((decision.phase, decision.reason, decision.writes), (Phase::Pending, Reason::Queued, vec![]));
    world.happens(&Happening::Queue(None));
    world.look(usize::MAX);
    let status = world.model.status.clone().unwrap();
    assert_eq!((status.phase, status.download.unwrap().attempt), (Some(Phase::Downloading), 1));
    // A download that runs goes on, however many others there are.
    world.happens(&Happening::Queue(Some(1)));
    assert_eq!(world.look(usize::MAX).phase, Phase::Downloading);
    world.kind_step();

    // Content stays offered while newer content waits.
    world.happens(&Happening::SpecChanges(1));
    world.happens(&Happening::Queue(Some(2)));
    (0..3).for_each(|_| drop(world.look(usize::MAX)));
    world.happens(&Happening::JobGone);
    let decision = world.look(usize::MAX);
    assert_eq!((decision.phase, decision.reason), (Phase::Ready, Reason::Queued));
}

#[test]
fn stock_images_withdraw_the_old_content_before_they_overwrite_it() {
    let mut world = World::new(Downloader::Stock);
    (0..3).for_each(|_| world.kind_step());
    world.happens(&Happening::SpecChanges(1));
    let decision = world.look(usize::MAX);
    assert_eq!((decision.phase, decision.content, decision.writes), (Phase::Pending, None, vec![]));
}

#[test]
fn a_permanent_failure_waits_for_a_person_and_a_passing_one_for_the_hour() {
    for (reason, phase) in [(Reason::SourceNotFound, Phase::Failed), (Reason::NetworkError, Phase::Pending)] {
        let mut world = World::new(Downloader::Stock);
        world.happens(&Happening::Look { writes: 9 });
        world.happens(&Happening::JobFails(reason));
        world.happens(&Happening::Look { writes: 9 });
        world.happens(&Happening::TimePasses(60));
        // The TTL removes the Job.
        world.happens(&Happening::JobDeleted);
        world.happens(&Happening::JobGone);
        assert_eq!(world.look(9).phase, phase, "{reason}");
        // A new spec is a new chance.
        world.happens(&Happening::SpecChanges(1));
        assert_eq!(world.look(9).phase, Phase::Downloading, "{reason}");
    }
}

#[test]
fn a_job_that_the_cluster_gives_no_pod_is_looked_at_ever_more_rarely() {
    let model = model("https://example.com/0");
    let persisted = Persisted::try_from(&model).unwrap();
    let at = |second| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
    let decided = |refusal: Refusal, second: i64| {
        let podless = Some(Podless { since: at(0), refusal });
        let claim = ClaimState::Ours { uid: "claim".into(), bound: false, trouble: None };
        let seen =
            alone(&persisted, claim, JobState::Running { trouble: None, progress: None, unmounted: None, podless });
        let decision = decide(&seen, at(second));
        (decision.reason, decision.message, decision.look_again)
    };
    let soon = decided(Refusal::NotRead, 19);
    assert_eq!((soon.0, soon.2), (Reason::Downloading, Some(at(20))));
    let failure = Failure { reason: Reason::QuotaExceeded, message: "exceeded quota: none".into() };
    for (second, next) in [(20, 40), (40, 80), (300, 600), (3000, 3600)] {
        let known = decided(Refusal::Known(failure.clone()), second);
        assert_eq!((known.0, known.2), (Reason::QuotaExceeded, Some(at(next))));
        assert!(known.1.ends_with(": exceeded quota: none"), "{}", known.1);
    }
    // What was not read is never what is recorded, so that the Events are read.
    assert_ne!(decided(Refusal::NotRead, 20).1, decided(Refusal::Unknown, 20).1);
}

#[test]
fn a_volume_that_nobody_makes_is_named_after_half_a_minute() {
    let model = model("https://example.com/0");
    let persisted = Persisted::try_from(&model).unwrap();
    let at = |second| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
    let reason = |bound: bool, second: i64| {
        let (volumes, refusal) = ("claim model-llama".into(), Refusal::NotRead);
        let unmounted = Some(Unmounted { since: at(0), placed: false, volumes, refusal });
        let claim = ClaimState::Ours { uid: "claim".into(), bound, trouble: None };
        let seen =
            alone(&persisted, claim, JobState::Running { trouble: None, progress: None, unmounted, podless: None });
        decide(&seen, at(second)).reason
    };
    assert_eq!(reason(false, 29), Reason::Downloading, "a class that waits for the first consumer");
    assert_eq!(reason(false, 30), Reason::ClaimPending);
    assert_eq!(reason(true, 30), Reason::Unschedulable);
}

#[test]
fn a_pod_that_cannot_ask_the_source_says_why_after_half_a_minute() {
    let mut model = model("https://example.com/0");
    model.spec.storage.size = None;
    let persisted = Persisted::try_from(&model).unwrap();
    let at = |second| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
    let decided = |placed: bool, refusal: Refusal, second: i64| {
        let unmounted = Some(Unmounted { since: at(0), placed, volumes: "ConfigMap company-ca".into(), refusal });
        let plan = PlanState::Running { uid: "plan".into(), trouble: None, unmounted, podless: None };
        let decision =
            decide(&Observed { plan, ..alone(&persisted, ClaimState::Absent, JobState::Absent) }, at(second));
        assert_eq!((decision.phase, &decision.writes), (Phase::Pending, &vec![]));
        (decision.reason, decision.message, decision.look_again)
    };
    let soon = decided(true, Refusal::NotRead, 29);
    assert_eq!((soon.0, soon.2), (Reason::Planning, Some(at(30))));
    let late = decided(true, Refusal::Unknown, 30);
    assert_eq!((late.0, late.2), (Reason::VolumeNotMounted, Some(at(60))));
    assert!(late.1.ends_with("the pod that asks the source needs: ConfigMap company-ca"), "{}", late.1);
    assert_ne!(decided(true, Refusal::NotRead, 30).1, late.1, "so that the Events are read");
    let network = Failure { reason: Reason::SandboxFailed, message: "no IPs available".into() };
    assert_eq!(decided(true, Refusal::Known(network), 30).0, Reason::SandboxFailed);
    assert_eq!(decided(false, Refusal::NotRead, 30).0, Reason::Unschedulable);
}

#[test]
fn without_a_size_the_source_is_asked_before_there_is_a_claim() {
    let mut world = World::new(Downloader::Loader { image: "loader".into() }).without_size();
    let asked = world.look(usize::MAX);
    assert_eq!(
        (asked.phase, asked.reason, asked.writes),
        (Phase::Pending, Reason::Planning, vec![Write::CreatePlanJob])
    );
    assert_eq!(world.look(usize::MAX).writes, []);
    // A source that refuses is said, and nothing was made.
    world.happens(&Happening::PlanFails(Reason::AccessDenied));
    let refused = world.look(usize::MAX);
    assert_eq!((refused.phase, refused.reason, refused.writes), (Phase::Failed, Reason::AccessDenied, vec![]));
    let settled = world.model.status.clone();
    world.happens(&Happening::TimePasses(1));
    world.look(usize::MAX);
    assert_eq!(world.model.status, settled);
    // Deleting the Job is the wish to retry, as with the download.
    world.happens(&Happening::JobDeleted);
    world.happens(&Happening::JobGone);
    (0..2).for_each(|_| drop(world.look(usize::MAX)));
    world.happens(&Happening::PlanSucceeds);
    let starts = world.look(usize::MAX);
    assert_eq!(starts.writes, [Write::CreateClaim { size: "1Gi".into() }, Write::CreateJob]);
    let download = world.model.status.clone().unwrap().download.unwrap();
    assert_eq!((download.total_bytes, download.total_files, download.attempt), (Some(1 << 20), Some(1), 2));
}

#[test]
fn a_size_that_is_too_small_is_judged_anew_when_it_changes_and_stock_images_need_one() {
    let mut world = World::new(Downloader::Loader { image: "loader".into() });
    world.model.spec.preflight = true;
    world.model.spec.storage.size = Some("1Mi".into());
    world.look(usize::MAX);
    world.happens(&Happening::PlanSucceeds);
    let small = world.look(usize::MAX);
    assert_eq!((small.phase, small.reason, small.writes), (Phase::Failed, Reason::StorageTooSmall, vec![]));
    // The plan Job's time is over; what it found is recorded.
    world.happens(&Happening::JobDeleted);
    world.happens(&Happening::JobGone);
    assert_eq!(world.look(usize::MAX).reason, Reason::StorageTooSmall);
    world.model.spec.storage.size = Some("1Gi".into());
    assert_eq!(world.look(usize::MAX).writes, [Write::CreateClaim { size: "1Gi".into() }, Write::CreateJob]);

    let mut stock = World::new(Downloader::Stock).without_size();
    let needs = stock.look(usize::MAX);
    assert_eq!((needs.phase, needs.reason, needs.writes), (Phase::Failed, Reason::SizeRequired, vec![]));
}
