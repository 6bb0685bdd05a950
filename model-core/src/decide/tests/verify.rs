//! Requests to read published content again, each answered once.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::seen::alone;
use super::world::model;
use crate::api::{Content, EarlierContent, Model, ModelStatus, Verification, VerificationResult as Found};
use crate::decide::{Decision, Look, OFFERED_UNTIL, Write, decide, is_verification_open};
use crate::labels::VERIFY;
use crate::observed::{ClaimState, JobState, Observed, Placement, Users, VerifyJob, VerifyMark};
use crate::persisted::Persisted;
use crate::reason::Reason;
use crate::report::{CheckedFile, Failure, FileState, Verified};
use crate::status::status;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A Model that is ready, with this request.
fn ready(request: Option<&str>) -> Model {
    let mut model = model("https://example.com/0");
    let id = Persisted::try_from(&model).unwrap().content_id;
    let path = format!("revisions/{id}");
    let source = model.spec.source.clone();
    let content = Content { bytes: Some(3), verified: true, ..Content::new(id, path, source) };
    let claim_uid = Some("claim".to_owned());
    model.status = Some(ModelStatus { content: Some(content), claim_uid, ..ModelStatus::default() });
    model.metadata.annotations = request.map(|request| [(VERIFY.to_owned(), request.to_owned())].into());
    model
}

fn look<'a>(model: &'a Persisted<'a>, verify: VerifyJob) -> Observed<'a> {
    let claim = ClaimState::Ours { uid: "claim".into(), bound: true, trouble: None };
    let wanted_path = format!("revisions/{}", model.content_id);
    let users = Some(Users::default());
    Observed { wanted_path, users, verify, can_verify: true, ..alone(model, claim, JobState::Absent) }
}

fn decided(model: &Model, job: &VerifyJob, change: impl Fn(&mut Observed)) -> Decision {
    let persisted = Persisted::try_from(model).unwrap();
    let mut seen = look(&persisted, job.clone());
    change(&mut seen);
    decide(&seen, NOW)
}

/// One pass: what it writes, and the Model with its status.
fn pass(model: &mut Model, job: &VerifyJob) -> Vec<Write> {
    let persisted = model.clone();
    let persisted = Persisted::try_from(&persisted).unwrap();
    let seen = look(&persisted, job.clone());
    let decision = decide(&seen, NOW);
    model.status = Some(status(&seen, &decision, NOW));
    decision.writes
}

fn recorded(model: &Model) -> Option<Verification> {
    model.status.clone()?.verification
}

fn result(model: &Model) -> Option<(String, Found)> {
    recorded(model).map(|known| (known.request, known.result))
}

fn mark(request: &str) -> VerifyMark {
    VerifyMark { request: request.to_owned(), content: "id".to_owned() }
}

fn ended(request: &str, outcome: Result<Verified, Failure>) -> VerifyJob {
    VerifyJob::Ended { uid: "uid".into(), mark: mark(request), outcome, at: NOW }
}

fn answered(request: &str) -> Verification {
    serde_json::from_value(
        serde_json::json!({ "request": request, "result": "Intact", "startedAt": "1970-01-01T00:00:00Z" }),
    )
    .unwrap()
}

fn running(request: &str) -> VerifyJob {
    VerifyJob::Running { mark: mark(request), trouble: None }
}

#[test]
fn a_request_is_answered_once() {
    let mut model = ready(None);
    assert_eq!(pass(&mut model, &VerifyJob::Absent), []);
    assert_eq!(recorded(&model), None);
    model.metadata.annotations = Some([(VERIFY.to_owned(), "1".to_owned())].into());
    let writes = pass(&mut model, &VerifyJob::Absent);
    assert!(
        matches!(&writes[..], [Write::CreateVerifyJob { request, content }] if request == "1" && content.path.starts_with("revisions/"))
    );
    assert_eq!(result(&model), Some(("1".into(), Found::Running)));
    assert_eq!(pass(&mut model, &running("1")), []);
    let intact = Verified { bytes: 3, files: 2, fault_count: 0, faults: Vec::new() };
    let job = ended("1", Ok(intact));
    assert_eq!(pass(&mut model, &job), []);
    assert_eq!(result(&model), Some(("1".into(), Found::Intact)));
    let answer = recorded(&model);
    assert_eq!(answer.as_ref().and_then(|known| known.files), Some(2));
    // Neither the Job's end nor its removal counts again.
    for job in [&job, &VerifyJob::Absent] {
        assert_eq!(pass(&mut model, job), []);
        assert_eq!(recorded(&model), answer);
    }
    assert!(!is_verification_open(&Persisted::try_from(&model).unwrap()));

    // The next request removes the old Job first.
    model.metadata.annotations = Some([(VERIFY.to_owned(), "2".to_owned())].into());
    assert_eq!(pass(&mut model, &job), [Write::DeleteVerifyJob { uid: "uid".into() }]);
    assert_eq!(pass(&mut model, &VerifyJob::Terminating), []);
    assert_eq!(result(&model), Some(("1".into(), Found::Intact)));
    assert!(matches!(&pass(&mut model, &VerifyJob::Absent)[..], [Write::CreateVerifyJob { .. }]));
    assert_eq!(result(&model), Some(("2".into(), Found::Running)));
}

#[test]
fn a_request_during_a_check_is_answered_after_it() {
    let mut model = ready(Some("1"));
    pass(&mut model, &VerifyJob::Absent);
    model.metadata.annotations = Some([(VERIFY.to_owned(), "2".to_owned())].into());
    assert_eq!(pass(&mut model, &running("1")), []);
    assert_eq!(result(&model), Some(("1".into(), Found::Running)));
    let job = ended("1", Ok(Verified::default()));
    assert_eq!(pass(&mut model, &job), []);
    assert_eq!(result(&model), Some(("1".into(), Found::Intact)));
    assert_eq!(pass(&mut model, &job), [Write::DeleteVerifyJob { uid: "uid".into() }]);
}

#[test]
fn a_job_that_was_made_before_a_crash_is_taken_for_what_it_says() {
    let mut model = ready(Some("1"));
    assert_eq!(pass(&mut model, &running("1")), []);
    assert_eq!(result(&model), Some(("1".into(), Found::Running)));
    let mut model = ready(Some("1"));
    assert_eq!(pass(&mut model, &ended("1", Ok(Verified::default()))), []);
    assert_eq!(result(&model), Some(("1".into(), Found::Intact)));
}

#[test]
fn a_job_whose_claim_is_gone_answers_its_request_and_goes() {
    let mut model = ready(Some("1"));
    pass(&mut model, &VerifyJob::Absent);
    let stale = VerifyJob::Stale { uid: "uid".into(), mark: mark("1") };
    assert_eq!(pass(&mut model, &stale), [Write::DeleteVerifyJob { uid: "uid".into() }]);
    let known = recorded(&model).unwrap();
    assert_eq!((known.result, known.request.as_str()), (Found::Failed, "1"));
    assert_eq!(known.message.as_deref(), Some("the claim that it was to read is gone"));
    // Another request is not held up by it.
    model.metadata.annotations = Some([(VERIFY.to_owned(), "2".to_owned())].into());
    assert_eq!(pass(&mut model, &stale), [Write::DeleteVerifyJob { uid: "uid".into() }]);
    assert!(matches!(&pass(&mut model, &VerifyJob::Absent)[..], [Write::CreateVerifyJob { .. }]));
}

#[test]
fn who_deletes_the_job_takes_the_request_back() {
    for forgotten in [false, true] {
        let mut model = ready(Some("1"));
        pass(&mut model, &VerifyJob::Absent);
        if forgotten {
            model.metadata.annotations = None;
        }
        assert_eq!(pass(&mut model, &VerifyJob::Absent), []);
        let known = recorded(&model).unwrap();
        assert_eq!(known.result, Found::Failed);
        assert_eq!(known.message.as_deref(), Some("its Job was deleted before it had ended"));
        assert_eq!(pass(&mut model, &VerifyJob::Absent), []);
    }
}

#[test]
fn what_differs_is_counted_and_the_first_of_it_named() {
    let mut model = ready(Some("1"));
    let fault = |file: &str| CheckedFile { file: file.into(), bytes: None, state: FileState::Changed };
    let faults = ["a", "b\u{1b}[2J", "c", "d"].map(fault).to_vec();
    let damaged = Verified { bytes: 3, files: 9, fault_count: 40, faults };
    pass(&mut model, &ended("1", Ok(damaged)));
    let known = recorded(&model).unwrap();
    assert_eq!((known.result, known.files, known.faults), (Found::Damaged, Some(9), Some(40)));
    assert_eq!(known.message.as_deref(), Some("changed a, changed b\\u{1b}[2J, changed c, and 37 more"));
    assert_eq!(known.ended_at, Some(Time(NOW)));
}

#[test]
fn what_cannot_be_checked_is_said_and_no_job_is_made() {
    let unpublished = |model: &Model| Model { status: None, ..model.clone() };
    let model = ready(Some("1"));
    let in_use = |seen: &mut Observed| seen.placement = Placement::InUse { pod: "server-1".into() };
    let foreign = VerifyJob::Foreign { owner: "CronJob/x".into() };
    let absent = VerifyJob::Absent;
    for (case, decision, want) in [
        ("stock images", decided(&model, &absent, |seen| seen.can_verify = false), "stock images record nothing"),
        ("one pod", decided(&model, &absent, in_use), "pod server-1 has the claim"),
        ("a foreign Job", decided(&model, &foreign, |_| ()), "Job model-verify-llama belongs to CronJob/x"),
        ("no content", decided(&unpublished(&model), &absent, |_| ()), "nothing is published"),
    ] {
        let known = decision.verification.unwrap();
        assert_eq!((known.result, known.request.as_str()), (Found::Failed, "1"), "{case}");
        assert!(known.message.clone().unwrap().contains(want), "{case}: {known:?}");
        assert!(!decision.writes.iter().any(|write| matches!(write, Write::CreateVerifyJob { .. })), "{case}");
    }
    let failure = Failure { reason: Reason::DownloadFailed, message: "exit code 1".into() };
    let known = decided(&model, &ended("1", Err(failure)), |_| ()).verification.unwrap();
    assert_eq!(known.message.as_deref(), Some("DownloadFailed: exit code 1"));
    let trouble = Failure { reason: Reason::Unschedulable, message: "0/3 nodes".into() };
    let held_up = VerifyJob::Running { mark: mark("1"), trouble: Some(trouble) };
    let known = decided(&model, &held_up, |_| ()).verification.unwrap();
    assert_eq!((known.result, known.message.as_deref()), (Found::Running, Some("Unschedulable: 0/3 nodes")));
}

#[test]
fn it_is_first_looked_where_the_claim_is() {
    let decision = decided(&ready(Some("1")), &VerifyJob::Absent, |seen| seen.users = None);
    assert_eq!((decision.wants, decision.writes, decision.verification), (vec![Look::Users], vec![], None));
}

#[test]
fn a_refused_write_answers_the_request_and_leaves_the_model_as_it_is() {
    let model = ready(Some("1"));
    let persisted = Persisted::try_from(&model).unwrap();
    for job in [VerifyJob::Absent, ended("0", Ok(Verified::default()))] {
        let mut persisted = persisted.clone();
        let mut status = model.status.clone().unwrap();
        status.verification = Some(Verification { ended_at: Some(Time(NOW)), ..answered("0") });
        persisted.status = Some(&status);
        let seen = look(&persisted, job);
        let before = decide(&seen, NOW);
        let [write] = &before.writes[..] else { panic!("{:?}", before.writes) };
        let after = before.clone().refused(&seen, write, "exceeded quota".into(), NOW);
        let known = after.verification.unwrap();
        assert_eq!((known.request.as_str(), known.result), ("1", Found::Failed));
        assert_eq!(known.message.as_deref(), Some("exceeded quota"));
        assert_eq!((after.phase, after.reason, after.failed), (before.phase, before.reason, false));
    }
}

#[test]
fn content_that_a_job_reads_stays_even_before_its_pod_is_there() {
    let since = Time(NOW - OFFERED_UNTIL);
    let earlier = EarlierContent { id: "id".into(), since, partial: false, setting_aside: false, set_aside: false };
    for (job, stays) in [(running("1"), true), (ended("1", Ok(Verified::default())), false)] {
        let mut model = ready(Some("1"));
        model.status.as_mut().unwrap().earlier = vec![earlier.clone()];
        pass(&mut model, &job);
        assert_eq!(model.status.unwrap().earlier[0].is_begun(), !stays, "{job:?}");
    }
}

#[test]
fn a_request_is_a_short_word() {
    let long = "x".repeat(65);
    for (request, counts) in [("", false), ("2026-01-01T00:00:00Z", true), (&long[1..], true), (&long, false)] {
        let model = ready(Some(request));
        assert_eq!(is_verification_open(&Persisted::try_from(&model).unwrap()), counts, "{request}");
    }
}
