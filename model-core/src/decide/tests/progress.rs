//! What the log says, true or not, never moves progress backwards.

use jiff::Timestamp;
use proptest::prelude::*;

use super::seen::alone;
use super::world::model;
use crate::api::{Model, Phase};
use crate::decide::decide;
use crate::observed::{ClaimState, JobState};
use crate::persisted::Persisted;
use crate::reason::Reason;
use crate::report::{Failure, Progress};
use crate::status::status;

/// One pass while the Job runs, recorded.
fn pass(model: &mut Model, progress: Option<Progress>, trouble: Option<Failure>) {
    let current = model.clone();
    let persisted = Persisted::try_from(&current).unwrap();
    let claim = ClaimState::Ours { uid: "claim".into(), bound: true, trouble: None };
    let seen = alone(&persisted, claim, JobState::Running { trouble, progress, unmounted: None, podless: None });
    let decision = decide(&seen, Timestamp::UNIX_EPOCH);
    model.status = Some(status(&seen, &decision, Timestamp::UNIX_EPOCH));
}

fn line() -> impl Strategy<Value = Progress> {
    let count = || prop_oneof![0_u64..2000, any::<u64>(), Just(u64::MAX), Just(0)];
    (count(), proptest::option::of(count()), count()).prop_map(|(downloaded_bytes, total_bytes, bytes_per_second)| {
        Progress { downloaded_bytes, total_bytes, bytes_per_second, files: 0, total_files: None }
    })
}

proptest! {
    #[test]
    fn progress_never_goes_back_nor_ends_early(lines in proptest::collection::vec(proptest::option::of(line()), 0..30)) {
        let mut model = model("https://example.com/0");
        let mut before = (0, 0);
        for line in lines {
            pass(&mut model, line, None);
            let status = model.status.clone().unwrap();
            let download = status.download.unwrap();
            let now = (status.progress.unwrap(), download.downloaded_bytes.unwrap_or(0));
            prop_assert!(now.0 >= before.0 && now.1 >= before.1, "{before:?} then {now:?}");
            prop_assert!((0..100).contains(&now.0));
            prop_assert!(download.eta_seconds.is_none_or(|seconds| (0..=30 * 24 * 3600).contains(&seconds)));
            prop_assert!(status.message.unwrap().len() < 200);
            prop_assert_eq!(status.phase, Some(Phase::Downloading));
            before = now;
        }
    }
}

#[test]
fn the_time_left_follows_from_bytes_and_speed() {
    let mut model = model("https://example.com/0");
    for (there, total, speed, want) in [
        (0, Some(1000), 0, None),
        (0, Some(1000), 300, Some(4)),
        (1000, Some(1000), 300, Some(0)),
        (1000, None, 300, Some(0)),
    ] {
        let progress = Progress {
            downloaded_bytes: there,
            total_bytes: total,
            bytes_per_second: speed,
            files: 0,
            total_files: None,
        };
        pass(&mut model, Some(progress), None);
        let download = model.status.clone().unwrap().download.unwrap();
        assert_eq!(download.eta_seconds, want, "{there} of {total:?} at {speed}");
    }
}

#[test]
fn whether_the_source_answers_is_known_from_what_it_did_last() {
    let mut model = model("https://example.com/0");
    let reachable = |model: &Model| {
        let conditions = model.status.clone().unwrap().conditions;
        let found = conditions.into_iter().find(|condition| condition.type_ == "SourceReachable").unwrap();
        (found.status, found.reason)
    };
    let is = |status: &str, reason: Reason| (status.to_owned(), reason.to_string());
    let bytes = |count| Progress {
        downloaded_bytes: count,
        total_bytes: Some(9),
        bytes_per_second: 0,
        files: 0,
        total_files: None,
    };
    let failure = |reason| Some(Failure { reason, message: "x".into() });
    pass(&mut model, None, None);
    assert_eq!(reachable(&model), is("Unknown", Reason::NotChecked));
    pass(&mut model, Some(bytes(1)), None);
    assert_eq!(reachable(&model), is("True", Reason::SourceAnswered));
    pass(&mut model, Some(bytes(1)), failure(Reason::DiskFull));
    assert_eq!(reachable(&model), is("True", Reason::SourceAnswered));
    pass(&mut model, Some(bytes(1)), failure(Reason::RateLimited));
    assert_eq!(reachable(&model), is("False", Reason::RateLimited));
    pass(&mut model, Some(bytes(1)), None);
    assert_eq!(reachable(&model), is("False", Reason::RateLimited), "a new attempt has not got anywhere yet");
    pass(&mut model, Some(bytes(2)), None);
    assert_eq!(reachable(&model), is("True", Reason::SourceAnswered));
}
