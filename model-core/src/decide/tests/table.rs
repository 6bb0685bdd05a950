//! Every phase with every state of the claim and the Job, in one table that a human reads.

use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::seen::alone;
use super::world::model;
use crate::api::{Content, DownloadStatus, ModelStatus, Phase};
use crate::decide::{Write, decide};
use crate::observed::{ClaimState, JobState, Observed, Placement};
use crate::persisted::Persisted;
use crate::queue::Place;
use crate::reason::Reason;
use crate::report::{Failure, Published};

fn claims() -> [(&'static str, ClaimState); 8] {
    let ours = |uid: &str, bound| ClaimState::Ours { uid: uid.into(), bound, trouble: None };
    [
        ("absent", ClaimState::Absent),
        ("missing", ClaimState::Missing),
        ("terminating", ClaimState::Terminating),
        ("foreign", ClaimState::Foreign { owner: "Model/other".into() }),
        ("lost", ClaimState::Lost),
        ("pending", ours("claim", false)),
        ("bound", ours("claim", true)),
        ("made anew", ours("another", true)),
    ]
}

fn jobs() -> [(&'static str, JobState); 7] {
    let failure = Failure { reason: Reason::NetworkError, message: "connection reset".into() };
    [
        ("absent", JobState::Absent),
        ("terminating", JobState::Terminating),
        ("foreign", JobState::Foreign { owner: "nobody".into() }),
        ("stale", JobState::Stale { uid: "stale".into() }),
        ("running", JobState::Running { trouble: None, progress: None, unmounted: None, podless: None }),
        ("succeeded", JobState::Succeeded { published: Some(Published::default()) }),
        ("failed", JobState::Failed { failure, at: Timestamp::UNIX_EPOCH }),
    ]
}

/// What the controller recorded when it left the Model in this phase.
fn recorded(phase: Option<Phase>, id: &str, source: &crate::api::Source) -> Option<ModelStatus> {
    let phase = phase?;
    let content = Content {
        id: id.to_owned(),
        path: format!("revisions/{id}"),
        version: None,
        source: source.clone(),
        resolved_revision: None,
        listing: None,
        asked_at: None,
        bytes: None,
        verified: true,
    };
    let ready = phase == Phase::Ready;
    let started = phase != Phase::Pending;
    let failure = crate::api::LastFailure {
        reason: Reason::NetworkError,
        message: "connection reset".into(),
        at: Time(Timestamp::UNIX_EPOCH),
    };
    Some(ModelStatus {
        phase: Some(phase),
        content: ready.then_some(content),
        claim_uid: ready.then(|| "claim".to_owned()),
        download: Some(DownloadStatus {
            id: id.to_owned(),
            attempt: 1,
            started_at: started.then_some(Time(Timestamp::UNIX_EPOCH)),
            last_failure: (phase == Phase::Failed).then_some(failure),
            ..DownloadStatus::default()
        }),
        ..ModelStatus::default()
    })
}

#[test]
fn every_phase_with_every_claim_and_job() {
    let phases = [None, Some(Phase::Pending), Some(Phase::Downloading), Some(Phase::Ready), Some(Phase::Failed)];
    let mut table = format!("{:<12} {:<12} {:<12} -> phase, reason, writes\n", "phase", "claim", "job");
    for phase in phases {
        for (claim_name, claim) in claims() {
            for (job_name, job) in jobs() {
                let mut model = model("https://example.com/0");
                let id = Persisted::try_from(&model).unwrap().content_id;
                model.status = recorded(phase, &id, &model.spec.source);
                let persisted = Persisted::try_from(&model).unwrap();
                let wanted_path = format!("revisions/{id}");
                let mut seen = Observed { wanted_path, ..alone(&persisted, claim.clone(), job) };
                let next = decide(&seen, Timestamp::UNIX_EPOCH);
                // A full house holds up what would start, and nothing else.
                seen.queue = Some(Place { nth: 3, of: 12, host: Some("example.com".into()) });
                let queued = decide(&seen, Timestamp::UNIX_EPOCH);
                if next.writes.contains(&Write::CreateJob) {
                    assert_eq!((queued.reason, queued.writes.len()), (Reason::Queued, 0));
                    assert_eq!((queued.phase, &queued.content), (Phase::Pending, &None));
                    assert_eq!(queued.message, "waiting for a free download from example.com: 3rd of 12");
                    let attempt = |download: Option<DownloadStatus>| download.map(|download| download.attempt);
                    assert_eq!(attempt(queued.download), attempt(model.status.clone().and_then(|old| old.download)));
                } else {
                    assert_eq!(queued, next);
                }

                let was_ready = phase == Some(Phase::Ready);
                if next.phase == Phase::Ready && !(was_ready && claim_name != "made anew") {
                    assert_eq!(job_name, "succeeded", "only a Job of this content and claim makes a Model ready");
                }
                let phase = phase.map_or("none", Phase::as_str);
                writeln!(
                    table,
                    "{phase:<12} {claim_name:<12} {job_name:<12} -> {} {} {:?}",
                    next.phase.as_str(),
                    next.reason,
                    next.writes
                )
                .unwrap();
            }
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_claim_of_one_pod_is_waited_for_and_published_content_stays() {
    let mut model = model("https://example.com/0");
    let id = Persisted::try_from(&model).unwrap().content_id;
    let placement = Placement::InUse { pod: "app".into() };
    for (phase, version) in [(None, None), (Some(Phase::Ready), Some("2"))] {
        model.status = recorded(phase, &id, &model.spec.source);
        model.spec.version = version.map(str::to_owned);
        let persisted = Persisted::try_from(&model).unwrap();
        let (wanted_path, placement) = (format!("revisions/{}", persisted.content_id), placement.clone());
        let claim = ClaimState::Ours { uid: "claim".into(), bound: true, trouble: None };
        let seen = Observed { wanted_path, placement, ..alone(&persisted, claim, JobState::Absent) };
        let next = decide(&seen, Timestamp::UNIX_EPOCH);
        assert_eq!((next.phase, next.reason), (phase.unwrap_or_default(), Reason::ClaimInUse));
        assert_eq!(next.message, "claim model-llama is ReadWriteOncePod and pod app uses it");
        assert!(next.writes.is_empty() && next.look_again.is_some(), "{next:?}");
        assert_eq!(next.content.is_some(), phase.is_some());
    }
}
