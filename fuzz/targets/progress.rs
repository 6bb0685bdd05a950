//! What a download pod says: its log, in pieces as the controller reads them, and its termination message.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use model_core::api::{HuggingFaceSource, Model, ModelSpec, ModelStatus, Phase, Source, Storage};
use model_core::decide::decide;
use model_core::observed::{ClaimState, JobState, Observed, Placement, PlanState, PruneJob, VerifyJob};
use model_core::persisted::Persisted;
use model_core::report::{MAX_OUTCOME_BYTES, Outcome, Progress};
use model_core::status::status;

fuzz_target!(|log: &str| {
    let mut model = Model::new(
        "tiny",
        ModelSpec::new(Source::HuggingFace(HuggingFaceSource::new("acme/tiny")), Storage::of_size("1Gi")),
    );
    model.metadata.namespace = Some("team".to_owned());
    model.metadata.uid = Some("uid".to_owned());
    model.metadata.generation = Some(1);
    let mut before = (0, 0);
    for piece in log.split("\n\n") {
        let progress = Progress::newest_in(piece);
        assert!(progress.as_ref().and_then(Progress::percent).is_none_or(|percent| (0..=100).contains(&percent)));
        let running = JobState::Running { trouble: None, progress, unmounted: None, podless: None };
        let status = pass(&mut model, running);
        let download = status.download.expect("it runs");
        let now = (status.progress.expect("it is told"), download.downloaded_bytes.unwrap_or(0));
        assert!((0..100).contains(&now.0), "{now:?}");
        assert!(now.0 >= before.0 && now.1 >= before.1, "{before:?} then {now:?}");
        let numbers = [download.total_bytes, download.total_files, download.bytes_per_second, download.eta_seconds];
        assert!(numbers.into_iter().flatten().all(|number| number >= 0), "{numbers:?}");
        assert!(status.message.is_some_and(|message| message.len() < 200), "one line for people");
        before = now;
    }
    let Some(outcome) = Outcome::parse(log) else { return };
    let job = match outcome.clone() {
        Outcome::Succeeded(published) => JobState::Succeeded { published: Some(published) },
        Outcome::Failed(failure) => JobState::Failed { failure, at: Timestamp::UNIX_EPOCH },
        Outcome::Planned(_) | Outcome::Verified(_) => JobState::Succeeded { published: None },
    };
    let ended = pass(&mut model, job);
    assert!(ended.progress.is_some_and(|percent| (0..=100).contains(&percent)));
    assert_eq!(ended.progress == Some(100), ended.phase == Some(Phase::Ready));
    assert!(ended.content.and_then(|content| content.bytes).is_none_or(|bytes| bytes >= 0));
    if let Outcome::Failed(_) | Outcome::Verified(_) = outcome {
        let message = outcome.to_termination_message();
        assert!(message.len() <= MAX_OUTCOME_BYTES && Outcome::parse(&message).is_some(), "{message}");
    }
});

/// One pass over a quiet cluster, recorded.
fn pass(model: &mut Model, job: JobState) -> ModelStatus {
    let current = model.clone();
    let persisted = Persisted::try_from(&current).expect("the API server stored it");
    let seen = Observed {
        model: &persisted,
        wanted_path: String::new(),
        claim: ClaimState::Ours { uid: "claim".to_owned(), bound: true, trouble: None },
        placement: Placement::Anywhere,
        job,
        plan: PlanState::Absent,
        checks_full: false,
        writer: None,
        queue: None,
        claim_details: None,
        prune: PruneJob::Absent,
        users: None,
        verify: VerifyJob::Absent,
        can_verify: false,
    };
    let decision = decide(&seen, Timestamp::UNIX_EPOCH);
    let next = status(&seen, &decision, Timestamp::UNIX_EPOCH);
    model.status = Some(next.clone());
    next
}
