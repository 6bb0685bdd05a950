//! Earlier content goes, whoever dies meanwhile, and no pod is left without what it names.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::seen::alone;
use super::world::{Happening, World, model};
use crate::api::{Content, EarlierContent, Model, ModelStatus, Phase};
use crate::decide::{Decision, Look, Write, decide};
use crate::observed::{ClaimState, JobState, Observed, PruneJob, PruneStep, Users};
use crate::persisted::{Downloader, Persisted};
use crate::reason::Reason;
use crate::report::Published;
use crate::status::{PRUNE_FAILED, status};

/// What comes in between while earlier content is taken away.
fn interruption() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (0_usize..3).prop_map(|writes| Happening::Look { writes }),
        3 => (1_usize..4, any::<bool>()).prop_map(|(contents, lives)| Happening::PruneWorks { contents, lives }),
        2 => Just(Happening::OtherReads),
        2 => Just(Happening::OtherActs),
        1 => Just(Happening::PruneGivesUp),
        1 => Just(Happening::PruneDeleted),
        2 => Just(Happening::PruneGone),
        2 => Just(Happening::OldPodComes),
        1 => (0_u8..3).prop_map(Happening::SpecChanges),
        1 => Just(Happening::JobDeleted),
        1 => Just(Happening::JobGone),
        1 => Just(Happening::JobSucceeds),
        1 => (1_u32..15).prop_map(Happening::TimePasses),
    ]
}

/// Everybody does their part, so often that all that can be taken off the claim is.
pub fn settle(world: &mut World) {
    world.happens(&Happening::Queue(None));
    for _ in 0..8 {
        world.happens(&Happening::TimePasses(11));
        (0..6).for_each(|_| world.kind_step());
    }
}

/// A world in which content is earlier for eleven minutes.
fn due() -> World {
    let mut world = World::new(Downloader::Loader { image: "loader".into() });
    (0..3).for_each(|_| world.kind_step());
    world.happens(&Happening::SpecChanges(1));
    (0..3).for_each(|_| world.kind_step());
    world.happens(&Happening::TimePasses(11));
    world
}

proptest! {
    #[test]
    fn a_prune_job_that_is_killed_anywhere_leaves_no_pod_without_its_content(
        history in proptest::collection::vec(interruption(), 0..20),
    ) {
        let mut world = World::new(Downloader::Loader { image: "loader".into() });
        for number in 0..3 {
            world.happens(&Happening::SpecChanges(number));
            (0..3).for_each(|_| world.kind_step());
        }
        world.happens(&Happening::TimePasses(11));
        for happening in &history {
            world.happens(happening);
        }
        settle(&mut world);
        prop_assert!(world.missing().is_empty(), "{:?} cannot be mounted: {world:#?}", world.missing());
        prop_assert_eq!(world.contents().1, 0, "{:#?}", world);
    }
}

#[test]
fn earlier_content_goes_after_ten_minutes_once_no_pod_names_it() {
    let mut world = World::new(Downloader::Loader { image: "loader".into() });
    (0..3).for_each(|_| world.kind_step());
    world.happens(&Happening::PodComes);
    world.happens(&Happening::SpecChanges(1));
    (0..3).for_each(|_| world.kind_step());
    assert!(world.is_ready());
    assert_eq!(world.contents(), (2, 0, 1), "the old content is still there");
    world.happens(&Happening::TimePasses(8));
    assert!(world.look(usize::MAX).writes.is_empty());
    settle(&mut world);
    assert_eq!(world.contents(), (2, 0, 1), "a pod names it");
    world.happens(&Happening::PodGoes);
    settle(&mut world);
    assert_eq!(world.contents(), (1, 0, 0));
    assert_eq!(world.model.status.as_ref().unwrap().earlier, []);
}

#[test]
fn as_many_contents_stay_as_the_spec_keeps_and_the_way_back_is_short() {
    let mut world = World::new(Downloader::Loader { image: "loader".into() });
    for number in 0..5 {
        world.happens(&Happening::SpecChanges(number));
        world.model.spec.keep_revisions = 3;
        (0..3).for_each(|_| world.kind_step());
    }
    settle(&mut world);
    assert_eq!(world.contents(), (3, 0, 0));
    world.model.spec.keep_revisions = 1;
    settle(&mut world);
    assert_eq!(world.contents(), (1, 0, 0));
}

#[test]
fn that_content_may_be_gone_from_its_place_is_recorded_before_a_job_is_made() {
    let mut world = due();
    let begins = world.look(usize::MAX);
    assert_eq!((begins.writes.len(), begins.earlier[0].setting_aside), (0, true));
    let sets_aside = world.look(usize::MAX);
    assert!(matches!(sets_aside.writes[..], [Write::CreatePruneJob(PruneStep::SetAside(_))]));
    // It works, and is gone before anybody sees its end.
    world.happens(&Happening::OldPodComes);
    world.happens(&Happening::PruneWorks { contents: usize::MAX, lives: false });
    world.happens(&Happening::PruneDeleted);
    world.happens(&Happening::PruneGone);
    assert_eq!(world.contents(), (1, 1, 1));
    let named = vec![begins.earlier[0].id.clone()];
    assert_eq!(
        world.look(usize::MAX).writes,
        [Write::CreatePruneJob(PruneStep::Finish { put_back: named, delete: vec![] })]
    );
    (0..6).for_each(|_| world.kind_step());
    assert_eq!(world.contents(), (2, 0, 1), "it can be mounted again");
}

#[test]
fn a_job_is_removed_once_what_it_did_is_recorded_and_an_older_look_makes_no_other() {
    let mut world = due();
    (0..2).for_each(|_| drop(world.look(usize::MAX)));
    world.happens(&Happening::OtherReads);
    world.happens(&Happening::PruneWorks { contents: usize::MAX, lives: true });
    // The record first: whoever finds no Job finds that.
    let records = world.look(usize::MAX);
    assert_eq!((records.writes, records.earlier[0].set_aside), (vec![], true));
    let removes = world.look(usize::MAX);
    assert!(matches!(removes.writes[..], [Write::DeletePruneJob { and_wait: false, .. }]), "{removes:#?}");
    assert_eq!(removes.earlier, records.earlier);
    world.happens(&Happening::PruneGone);
    // Another controller has read the Model before all that, and finds no Job now.
    let before = world.clone();
    world.happens(&Happening::OtherActs);
    assert_eq!(world.prune_job(), PruneJob::Absent);
    assert_eq!(world.model, before.model);
}

#[test]
fn what_a_job_may_have_done_is_taken_down_also_where_the_record_was_lost() {
    for gives_up in [false, true] {
        let mut world = due();
        (0..2).for_each(|_| drop(world.look(usize::MAX)));
        world.happens(&Happening::PruneWorks { contents: usize::MAX, lives: false });
        if gives_up {
            world.happens(&Happening::PruneGivesUp);
        }
        world.model.status.as_mut().unwrap().earlier.clear();
        world.happens(&Happening::OldPodComes);
        // Also before it makes way for a download.
        world.happens(&Happening::SpecChanges(2));
        world.happens(&Happening::JobDeleted);
        world.happens(&Happening::JobGone);
        let takes_down = world.look(usize::MAX);
        assert_eq!(takes_down.writes, [], "it stays until that is recorded");
        assert!(takes_down.earlier.iter().any(|known| known.setting_aside), "{takes_down:#?}");
        (0..6).for_each(|_| world.kind_step());
        assert!(world.is_ready() && world.missing().is_empty(), "{world:#?}");
    }
}

#[test]
fn before_a_download_starts_all_content_is_put_back() {
    let mut world = due();
    (0..2).for_each(|_| drop(world.look(usize::MAX)));
    world.happens(&Happening::PruneWorks { contents: usize::MAX, lives: false });
    world.happens(&Happening::SpecChanges(2));
    world.happens(&Happening::JobDeleted);
    world.happens(&Happening::JobGone);
    let wait = world.look(usize::MAX);
    assert!(matches!(wait.writes[..], [Write::DeletePruneJob { and_wait: true, .. }]), "{wait:#?}");
    assert_eq!((wait.phase, wait.reason), (Phase::Ready, Reason::JobTerminating));
    assert!(world.look(usize::MAX).writes.is_empty());
    world.happens(&Happening::PruneGone);
    let restores = world.look(usize::MAX);
    assert!(matches!(&restores.writes[..], [Write::CreatePruneJob(step)] if step.only_restores()), "{restores:#?}");
    assert_eq!((restores.phase, restores.reason), (Phase::Ready, Reason::Starting));
    assert!(world.look(usize::MAX).writes.is_empty(), "that Job is waited for");
    world.happens(&Happening::PruneWorks { contents: usize::MAX, lives: true });
    assert_eq!(world.contents(), (2, 0, 0));
    world.look(usize::MAX);
    world.happens(&Happening::PruneGone);
    let starts = world.look(usize::MAX);
    assert!(starts.writes.contains(&Write::CreateJob), "{starts:#?}");
    assert!(!starts.earlier.iter().any(|known| known.setting_aside || known.set_aside));
}

#[test]
fn a_download_waits_for_the_way_back_only_until_that_has_failed() {
    let mut world = due();
    (0..2).for_each(|_| drop(world.look(usize::MAX)));
    world.happens(&Happening::PruneGivesUp);
    world.happens(&Happening::SpecChanges(2));
    world.happens(&Happening::JobDeleted);
    world.happens(&Happening::JobGone);
    assert!(matches!(world.look(usize::MAX).writes[..], [Write::DeletePruneJob { and_wait: true, .. }]));
    world.happens(&Happening::PruneGone);
    assert!(matches!(world.look(usize::MAX).writes[..], [Write::CreatePruneJob(_)]));
    world.happens(&Happening::PruneGivesUp);
    assert!(world.look(usize::MAX).writes.contains(&Write::CreateJob));
}

const EARLIER: &str = "0123456789abcdef0123";

/// A Model with published content and, beside it, content whose removal has begun.
fn begun() -> Model {
    let mut model = model("https://example.com/0");
    let id = Persisted::try_from(&model).unwrap().content_id;
    let content = Content {
        path: format!("revisions/{id}"),
        id,
        version: None,
        source: model.spec.source.clone(),
        resolved_revision: None,
        listing: None,
        asked_at: None,
        bytes: None,
        verified: true,
    };
    let since = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH);
    let earlier = EarlierContent { id: EARLIER.into(), since, partial: false, setting_aside: true, set_aside: false };
    model.status = Some(ModelStatus {
        phase: Some(Phase::Ready),
        content: Some(content),
        claim_uid: Some("claim".into()),
        earlier: vec![earlier],
        ..ModelStatus::default()
    });
    model
}

/// What is decided so many minutes later about a prune Job of the first minute, beside a pod that names what it takes.
fn decided(prune: PruneJob, named: Option<bool>, minutes: i64) -> (Decision, Vec<String>) {
    let model = begun();
    let persisted = Persisted::try_from(&model).unwrap();
    let mount = serde_json::json!({ "name": "m", "mountPath": "/m", "subPath": format!("revisions/{EARLIER}") });
    let pod = serde_json::from_value(serde_json::json!({ "spec": {
        "volumes": [{ "name": "m", "persistentVolumeClaim": { "claimName": "model-llama" } }],
        "containers": [{ "name": "app", "volumeMounts": [mount] }],
    } }))
    .unwrap();
    let users = named.map(|named| Users::of_claim("model-llama", named.then_some(&pod)));
    let claim = ClaimState::Ours { uid: "claim".into(), bound: true, trouble: None };
    let seen = Observed {
        wanted_path: format!("revisions/{}", persisted.content_id),
        prune,
        users,
        ..alone(&persisted, claim, JobState::Absent)
    };
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
    let decision = decide(&seen, now);
    let status = status(&seen, &decision, now);
    let failures = status.conditions.into_iter().filter(|condition| condition.type_ == PRUNE_FAILED);
    let failures =
        failures.map(|condition| format!("{} {}: {}", condition.status, condition.reason, condition.message));
    (decision, failures.collect())
}

#[test]
fn a_job_that_waits_is_replaced_where_it_can_never_run_or_a_pod_waits_for_it() {
    let aside = || PruneStep::SetAside(vec![EARLIER.into()]);
    let back = || PruneStep::Finish { put_back: vec![EARLIER.into()], delete: vec![] };
    let running = |step: PruneStep, misplaced| PruneJob::Running {
        uid: "prune".into(),
        step,
        since: Timestamp::UNIX_EPOCH,
        misplaced,
    };
    for (case, job, named, minutes, looks, replaced) in [
        ("it is young", running(aside(), false), None, 1, false, false),
        ("it takes long, and nobody has looked", running(aside(), false), None, 2, true, false),
        ("it takes long, and nobody waits", running(aside(), false), Some(false), 2, false, false),
        ("a pod waits for what it may have taken", running(aside(), false), Some(true), 2, false, true),
        ("a pod waits for what it gives back", running(back(), false), Some(true), 2, false, false),
        ("the volume is elsewhere", running(back(), true), Some(true), 2, false, true),
    ] {
        let (decision, failures) = decided(job, named, minutes);
        assert_eq!(decision.wants.contains(&Look::Users), looks, "{case}");
        let delete = [Write::DeletePruneJob { uid: "prune".into(), and_wait: true }];
        assert_eq!(decision.writes == delete, replaced, "{case}: {decision:#?}");
        assert!(looks || replaced || decision.look_again.is_some(), "{case}: somebody looks again");
        assert!(failures.is_empty() && decision.phase == Phase::Ready, "{case}");
    }
}

#[test]
fn a_job_that_failed_is_shown_with_what_to_do_and_stays_unless_a_pod_waits_for_it() {
    let failed = |step| PruneJob::Failed { uid: "prune".into(), step, why: "the volume is read-only".into() };
    let aside = PruneStep::SetAside(vec![EARLIER.into()]);
    let back = PruneStep::Finish { put_back: vec![EARLIER.into()], delete: vec![] };
    for (case, step, named, replaced) in [
        ("nobody waits", aside.clone(), false, false),
        ("a pod waits for what it may have taken", aside, true, true),
        ("it failed to give it back", back, true, false),
    ] {
        let (decision, failures) = decided(failed(step), Some(named), 2);
        assert_eq!(decision.writes.len(), usize::from(replaced), "{case}: {decision:#?}");
        let want = "True PruneFailed: earlier content could not be removed: the volume is read-only; \
                    kubectl describe job/model-prune-llama and its log say why; it is tried again after an hour, or once \
                    that Job is deleted";
        assert_eq!(failures, [want], "{case}");
        assert_eq!((decision.phase, decision.reason), (Phase::Ready, Reason::Downloaded), "{case}");
    }
}

#[test]
fn an_older_copy_of_what_is_published_that_a_model_before_had_set_aside_goes() {
    let mut model = model("https://example.com/0");
    let id = Persisted::try_from(&model).unwrap().content_id;
    let claim = ClaimState::Ours { uid: "claim".into(), bound: true, trouble: None };
    let published = Published { others: vec![id.clone()], ..Published::default() };
    let mut pass = |job: JobState| {
        let current = model.clone();
        let persisted = Persisted::try_from(&current).unwrap();
        let (wanted_path, users) = (format!("revisions/{id}"), Some(Users::default()));
        let seen = Observed { wanted_path, users, ..alone(&persisted, claim.clone(), job) };
        let decision = decide(&seen, Timestamp::UNIX_EPOCH);
        model.status = Some(status(&seen, &decision, Timestamp::UNIX_EPOCH));
        decision.writes
    };
    let mut writes = pass(JobState::Succeeded { published: Some(published) });
    writes.extend(pass(JobState::Absent));
    let delete = Write::CreatePruneJob(PruneStep::Finish { put_back: Vec::new(), delete: vec![id.clone()] });
    assert_eq!(writes.last(), Some(&delete), "{writes:?}");
}
