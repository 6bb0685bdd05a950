//! Newer content is looked for at most once in an interval, and nothing but a condition tells of it.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::histories::happening;
use super::seen::alone;
use super::world::{Happening, World, model};
use crate::api::{Content, HuggingFaceSource, Model, ModelStatus, Phase, Source, SourceCheck};
use crate::decide::{Decision, Write, decide, next_check};
use crate::observed::{ClaimState, JobState, Observed, PlanState, PruneJob, PruneStep, Refusal, Unmounted};
use crate::persisted::{Downloader, Persisted};
use crate::reason::Reason;
use crate::report::{Failure, Planned};
use crate::status::status;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn at(minute: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute)
}

fn condition<'a>(status: &'a ModelStatus, kind: &str) -> (&'a str, &'a str, &'a str) {
    let found = status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
    (&found.status, &found.reason, &found.message)
}

/// A Model whose content was there before anybody wished for checks, which was at the first minute.
fn checked() -> Model {
    let mut model = model("https://example.com/0");
    model.spec.check_interval = Some("1h".into());
    let id = Persisted::try_from(&model).unwrap().content_id;
    model.status = Some(ModelStatus {
        phase: Some(Phase::Ready),
        content: Some(Content {
            path: format!("revisions/{id}"),
            id,
            version: None,
            source: model.spec.source.clone(),
            resolved_revision: Some("old".into()),
            listing: Some("files".into()),
            asked_at: Some(Time(Timestamp::UNIX_EPOCH - SignedDuration::from_hours(9))),
            bytes: Some(7),
            verified: true,
        }),
        claim_uid: Some("claim".into()),
        check: Some(SourceCheck {
            since: Time(Timestamp::UNIX_EPOCH),
            checked_at: None,
            found: None,
            last_failure: None,
            job: None,
        }),
        ..ModelStatus::default()
    });
    model
}

/// One pass with this plan Job, recorded.
fn pass(model: &mut Model, plan: PlanState, now: Timestamp) -> Decision {
    pass_of(model, now, |seen| seen.plan = plan)
}

fn pass_of(model: &mut Model, now: Timestamp, see: impl FnOnce(&mut Observed)) -> Decision {
    let current = model.clone();
    let persisted = Persisted::try_from(&current).unwrap();
    let claim = ClaimState::Ours { uid: "claim".into(), bound: true, trouble: None };
    let wanted_path = format!("revisions/{}", persisted.content_id);
    let mut seen = Observed { wanted_path, ..alone(&persisted, claim, JobState::Absent) };
    see(&mut seen);
    let decision = decide(&seen, now);
    model.status = Some(status(&seen, &decision, now));
    decision
}

fn answered(uid: &str, revision: Option<&str>, listing: Option<&str>, bytes: u64) -> PlanState {
    let text = |text: &str| text.to_owned();
    let (resolved_revision, listing) = (revision.map(text), listing.map(text));
    let planned = Planned { resolved_revision, listing, bytes: Some(bytes), files: 1 };
    PlanState::Succeeded { uid: uid.to_owned(), planned: Some(planned), at: Timestamp::UNIX_EPOCH }
}

fn running(trouble: Option<Reason>) -> PlanState {
    let trouble = trouble.map(|reason| Failure { reason, message: "no such image".into() });
    PlanState::Running { uid: "plan".into(), trouble, unmounted: None, podless: None }
}

/// The node has the pod for longer than it should need, and says why it does not start it.
fn not_started(reason: Reason) -> PlanState {
    let refusal = Refusal::Known(Failure { reason, message: "words of the node".into() });
    let unmounted = Some(Unmounted { since: at(0), placed: true, volumes: "ca".into(), refusal });
    PlanState::Running { uid: "plan".into(), trouble: None, unmounted, podless: None }
}

#[test]
fn what_the_source_has_is_compared_recorded_and_then_the_job_goes() {
    for (case, answer, want) in [
        ("the same commit", answered("plan", Some("old"), None, 7), ("True", Reason::UpToDate)),
        (
            "another commit of the same files",
            answered("plan", Some("new"), Some("files"), 7),
            ("True", Reason::UpToDate),
        ),
        ("another commit", answered("plan", Some("new"), Some("others"), 7), ("False", Reason::NewRevision)),
        ("another commit, its files unknown", answered("plan", Some("new"), None, 7), ("False", Reason::NewRevision)),
        ("the same files, no revision", answered("plan", None, Some("files"), 7), ("True", Reason::UpToDate)),
        ("other files, no revision", answered("plan", None, Some("others"), 7), ("False", Reason::NewRevision)),
        ("another size is all", answered("plan", None, None, 8), ("False", Reason::NewRevision)),
        ("the same size is all", answered("plan", None, None, 7), ("Unknown", Reason::NotChecked)),
    ] {
        let mut model = checked();
        let decision = pass(&mut model, answer.clone(), at(90));
        assert_eq!(decision.writes, [], "{case}: recorded before it is removed");
        let status = model.status.clone().unwrap();
        assert_eq!(status.check.clone().unwrap().checked_at, Some(Time(at(90))), "{case}");
        let (truth, reason, message) = condition(&status, "UpToDate");
        assert_eq!((truth, reason), (want.0, want.1.as_str()), "{case}: {message}");
        assert!(message.contains("at 1970-01-01T01:30:00Z"), "{message}");
        if want.1 == Reason::NewRevision {
            assert!(message.ends_with("fetch it with `kubectl model refresh llama`"), "{message}");
        }
        assert_eq!((status.phase, condition(&status, "Ready").0), (Some(Phase::Ready), "True"), "{case}");
        assert_eq!(condition(&status, "Downloaded").0, "True", "{case}");
        let removes = pass(&mut model, answer, at(91));
        assert_eq!(removes.writes, [Write::DeletePlanJob { uid: "plan".into() }], "{case}");
        assert_eq!(model.status, Some(status.clone()), "{case}: nothing new to record");
        let rests = pass(&mut model, PlanState::Absent, at(92));
        assert_eq!((rests.writes, &model.status), (vec![], &Some(status)), "{case}");
        assert!(rests.look_again.is_some_and(|again| again >= at(150)), "{case}");
    }
}

#[test]
fn a_check_that_fails_leaves_what_is_known_and_says_so_of_the_source() {
    let failed = |reason| PlanState::Failed {
        uid: "second".into(),
        failure: Failure { reason, message: "words of the Job".into() },
        at: at(0),
    };
    let lost = PlanState::Succeeded { uid: "second".into(), planned: None, at: at(0) };
    for (case, second, reachable, reason) in [
        ("the source is down", failed(Reason::NetworkError), "False", "NetworkError"),
        ("it refuses", failed(Reason::AccessDenied), "False", "AccessDenied"),
        ("the node took the pod", failed(Reason::Evicted), "Unknown", "Evicted"),
        ("it had its time", failed(Reason::DeadlineExceeded), "Unknown", "DeadlineExceeded"),
        ("nobody read the answer", lost, "Unknown", "DownloadFailed"),
        ("a Job of others", PlanState::Foreign { owner: "Model/x".into() }, "Unknown", "JobConflict"),
        ("no image", running(Some(Reason::ImagePullFailed)), "Unknown", "ImagePullFailed"),
        ("no ConfigMap", not_started(Reason::VolumeNotMounted), "Unknown", "VolumeNotMounted"),
        ("no sandbox", not_started(Reason::SandboxFailed), "Unknown", "SandboxFailed"),
    ] {
        let mut model = checked();
        pass(&mut model, answered("first", Some("new"), Some("others"), 7), at(90));
        let before = model.status.clone().unwrap();
        let decision = pass(&mut model, second.clone(), at(500));
        assert_eq!((decision.phase, decision.writes), (Phase::Ready, vec![]), "{case}");
        let after = model.status.clone().unwrap();
        assert_eq!(condition(&after, "UpToDate"), condition(&before, "UpToDate"), "{case}");
        let (status, word, message) = condition(&after, "SourceReachable");
        assert_eq!((status, word), (reachable, reason), "{case}: {message}");
        assert!(message.starts_with("the source could not be asked for newer content: "), "{case}: {message}");
        assert_eq!((&after.content, &after.message), (&before.content, &before.message), "{case}");
        assert_eq!(after.check.as_ref().unwrap().checked_at, Some(Time(at(500))), "{case}: not again at once");
        // The next answer clears it.
        pass(&mut model, answered("third", Some("old"), None, 7), at(600));
        let after = model.status.clone().unwrap();
        assert_eq!(condition(&after, "SourceReachable").1, "SourceAnswered", "{case}");
    }
    let mut model = checked();
    assert!(pass(&mut model, running(Some(Reason::Unschedulable)), at(90)).writes.is_empty(), "a node may come");
    assert_eq!(model.status.unwrap().check.unwrap().checked_at, None);
}

#[test]
fn a_refused_job_is_a_check_that_failed() {
    let mut model = checked();
    let current = model.clone();
    let persisted = Persisted::try_from(&current).unwrap();
    let claim = ClaimState::Ours { uid: "claim".into(), bound: true, trouble: None };
    let wanted_path = format!("revisions/{}", persisted.content_id);
    let seen = Observed { wanted_path, ..alone(&persisted, claim, JobState::Absent) };
    let decision = decide(&seen, at(90));
    assert_eq!(decision.writes, [Write::CreateCheckJob]);
    let refused = decision.refused(&seen, &Write::CreateCheckJob, "exceeded quota: pods".into(), at(90));
    let after = status(&seen, &refused, at(90));
    assert_eq!((after.phase, condition(&after, "Ready").1), (Some(Phase::Ready), "Downloaded"));
    assert_eq!(condition(&after, "SourceReachable").1, "QuotaExceeded");
    model.status = Some(after);
    assert!(pass(&mut model, PlanState::Absent, at(91)).writes.is_empty());
}

#[test]
fn what_needs_no_check_or_cannot_have_one_gets_none() {
    let commit = Source::HuggingFace(HuggingFaceSource {
        repo_id: "a/b".into(),
        revision: "0123456789abcdef0123456789abcdef01234567".into(),
        include: vec![],
        exclude: vec![],
    });
    for (case, interval, source, plan, want) in [
        ("no interval", None, None, PlanState::Absent, ("Unknown", "NotChecked", "kubectl model refresh llama")),
        ("a commit", Some("1h"), Some(commit), PlanState::Absent, ("True", "UpToDate", "nothing newer")),
        ("stock images", Some("1h"), None, PlanState::Unsupported, ("Unknown", "NotChecked", "--loader-image")),
    ] {
        let mut model = checked();
        model.spec.check_interval = interval.map(str::to_owned);
        if let Some(source) = source {
            model.spec.source = source;
            let id = Persisted::try_from(&model).unwrap().content_id;
            model.status.as_mut().unwrap().content.as_mut().unwrap().id = id;
        }
        let decision = pass(&mut model, plan, at(100_000));
        assert_eq!((decision.writes, decision.look_again), (vec![], None), "{case}");
        let status = model.status.unwrap();
        assert_eq!(status.check, None, "{case}");
        let (truth, reason, message) = condition(&status, "UpToDate");
        assert_eq!((truth, reason), (want.0, want.1), "{case}");
        assert!(message.contains(want.2), "{case}: {message}");
    }
}

#[test]
fn everything_else_goes_first_and_a_full_house_is_asked_again_soon() {
    let due = |see: fn(&mut Observed)| pass_of(&mut checked(), at(90), see);
    assert_eq!(due(|_| {}).writes, [Write::CreateCheckJob]);
    let pruning = due(|seen| {
        let (step, since) = (PruneStep::SetAside(vec![]), at(90));
        seen.prune = PruneJob::Running { uid: "prune".into(), step, since, misplaced: false };
    });
    assert_eq!(pruning.writes, []);
    let stale = due(|seen| seen.job = JobState::Stale { uid: "old".into() });
    assert_eq!(stale.writes, [Write::DeleteJob { uid: "old".into() }]);
    let full = due(|seen| seen.checks_full = true);
    assert_eq!((full.writes, full.look_again), (vec![], Some(at(91))));
    let preflight = due(|seen| seen.plan = PlanState::Stale { uid: "early".into() });
    assert_eq!(preflight.writes, [Write::DeletePlanJob { uid: "early".into() }]);
    // A newer spec is no business of a check.
    let mut model = checked();
    model.spec.version = Some("2".into());
    assert_eq!(pass(&mut model, PlanState::Absent, at(90)).writes, [Write::CreateJob]);
}

#[test]
fn a_thousand_models_are_asked_all_over_the_interval() {
    let mut check = checked().status.unwrap().check.unwrap();
    let minutes = |check: &SourceCheck| -> Vec<i64> {
        let due = |number: i32| next_check(check, HOUR, &format!("uid-{number}"));
        (0..1000).map(|number| due(number).duration_since(at(0)).as_mins()).collect()
    };
    let first = minutes(&check);
    assert!(first.iter().all(|minute| (0..60).contains(minute)));
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 60, "some in each minute");
    let most = (0..60).map(|minute| first.iter().filter(|due| **due == minute).count()).max().unwrap();
    assert!(most < 40, "{most} in one minute");
    check.checked_at = Some(Time(at(0)));
    assert!(minutes(&check).iter().all(|minute| (60..66).contains(minute)));
    // A clock that was far ahead does not put it off for ever.
    let mut model = checked();
    model.status.as_mut().unwrap().check.as_mut().unwrap().checked_at = Some(Time(at(1_000_000)));
    assert_eq!(pass(&mut model, PlanState::Absent, at(0)).writes, [Write::CreateCheckJob]);
}

fn with_checks() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => happening(),
        1 => Just(Happening::SourceMoves),
        1 => any::<bool>().prop_map(Happening::ChecksFull),
        3 => (60_u32..800).prop_map(Happening::TimePasses),
    ]
}

fn up_to_date(world: &World) -> (String, String) {
    let status = world.model.status.as_ref().unwrap();
    let (truth, reason, _) = condition(status, "UpToDate");
    (truth.to_owned(), reason.to_owned())
}

proptest! {
    /// The world itself checks at each step that nobody is asked too often, nor beside a download.
    #[test]
    fn whatever_happens_a_kind_world_learns_of_newer_content(
        without_size in any::<bool>(),
        history in proptest::collection::vec(with_checks(), 0..60),
    ) {
        let world = World::new(Downloader::Loader { image: "loader".into() }).with_checks();
        let mut world = if without_size { world.without_size() } else { world };
        for happening in &history {
            world.happens(happening);
        }
        let settle = |world: &mut World, minutes| {
            for _ in 0..8 {
                world.happens(&Happening::TimePasses(minutes));
                world.happens(&Happening::JobDeleted);
                (0..6).for_each(|_| world.kind_step());
            }
        };
        settle(&mut world, 60 * 24);
        prop_assert!(world.is_ready(), "{world:#?}");
        let before = world.model.status.clone().unwrap();
        world.happens(&Happening::SourceMoves);
        settle(&mut world, 60);
        let after = world.model.status.clone().unwrap();
        prop_assert_eq!(up_to_date(&world), ("False".to_owned(), "NewRevision".to_owned()));
        prop_assert_eq!((&after.content, after.phase), (&before.content, before.phase));
        prop_assert_eq!(&after.download, &before.download);
        // A change of what is wanted fetches it.
        world.happens(&Happening::SpecChanges(9));
        (0..6).for_each(|_| world.kind_step());
        prop_assert!(world.is_ready());
        prop_assert_eq!(up_to_date(&world), ("True".to_owned(), "UpToDate".to_owned()));
    }
}
