//! What is changed of a claim that is there.

use jiff::Timestamp;

use super::seen::alone;
use super::world::model;
use crate::api::{DeletionPolicy, Model, ModelStatus};
use crate::decide::{Decision, Look, Write, decide};
use crate::observed::{ClaimDetails, ClaimState, JobState, Observed};
use crate::persisted::Persisted;
use crate::reason::Reason;
use crate::status::{STORAGE_BOUND, status};

/// A Model whose claim asks for 1 GiB and has it.
fn decided(model: &Model, bound: bool, details: &ClaimDetails) -> (Decision, String, String) {
    let persisted = Persisted::try_from(model).unwrap();
    let claim = ClaimState::Ours { uid: "claim".into(), bound, trouble: None };
    let job = JobState::Running { trouble: None, progress: None, unmounted: None, podless: None };
    let seen = Observed {
        wanted_path: "revisions/x".into(),
        claim_details: Some(details.clone()),
        ..alone(&persisted, claim, job)
    };
    let decision = decide(&seen, Timestamp::UNIX_EPOCH);
    let status = status(&seen, &decision, Timestamp::UNIX_EPOCH);
    let storage = status.conditions.into_iter().find(|condition| condition.type_ == STORAGE_BOUND).unwrap();
    (decision, storage.reason, storage.message)
}

fn details() -> ClaimDetails {
    ClaimDetails {
        owned: true,
        other_owner: None,
        is_older: false,
        requested: Some("1Gi".into()),
        capacity: Some("1Gi".into()),
        class: Some("fast".into()),
        resizing: None,
        expandable: None,
    }
}

#[test]
fn the_policy_says_whether_the_model_owns_the_claim() {
    for (policy, owned, write) in [
        (DeletionPolicy::Delete, true, None),
        (DeletionPolicy::Delete, false, Some(true)),
        (DeletionPolicy::Retain, false, None),
        (DeletionPolicy::Retain, true, Some(false)),
    ] {
        let mut model = model("https://example.com/0");
        model.spec.deletion_policy = policy;
        let (decision, ..) = decided(&model, true, &ClaimDetails { owned, ..details() });
        let want: Vec<_> = write.map(|owned| Write::SetClaimOwner { owned }).into_iter().collect();
        assert_eq!((decision.writes, decision.deletion_policy), (want, Some(policy)), "{policy:?} {owned}");
    }
}

#[test]
fn a_claim_with_another_owner_stays_the_models_until_that_is_gone() {
    let mut model = model("https://example.com/0");
    model.spec.deletion_policy = DeletionPolicy::Retain;
    let shared = ClaimDetails { other_owner: Some("StatefulSet/web".into()), ..details() };
    let (decision, reason, message) = decided(&model, true, &shared);
    assert_eq!((decision.writes, decision.deletion_policy), (vec![], Some(DeletionPolicy::Delete)));
    assert_eq!(reason, "ClaimCoOwned");
    let want = "the claim cannot be retained: StatefulSet/web owns it, too; remove the other owner from \
                metadata.ownerReferences: kubectl edit pvc model-llama";
    assert_eq!(message, want);
    model.spec.deletion_policy = DeletionPolicy::Delete;
    assert_eq!(decided(&model, true, &shared).1, "ClaimBound", "it goes with the Model, as it should");
}

#[test]
fn a_claim_of_an_earlier_model_is_told_of_once() {
    let mut model = model("https://example.com/0");
    let left = ClaimDetails { is_older: true, owned: false, ..details() };
    assert!(decided(&model, true, &left).0.adopts);
    assert!(!decided(&model, true, &details()).0.adopts, "it was made for this Model");
    let status = ModelStatus { deletion_policy: Some(DeletionPolicy::Delete), ..ModelStatus::default() };
    model.status = Some(status);
    assert!(!decided(&model, true, &left).0.adopts);
}

#[test]
fn a_larger_size_asks_the_volume_to_grow_where_its_class_lets_it() {
    let grow = || vec![Write::GrowClaim { size: "2Gi".into() }];
    let looked = |expandable| ClaimDetails { expandable: Some(expandable), ..details() };
    let asked = ClaimDetails { requested: Some("2Gi".into()), ..details() };
    let waiting = ClaimDetails { resizing: Some("waits for a pod".into()), ..asked.clone() };
    let grown = ClaimDetails { requested: Some("2Gi".into()), capacity: Some("2Gi".into()), ..details() };
    let (bound, resizing, refused) = (Reason::ClaimBound, Reason::ClaimResizing, Reason::ExpansionNotAllowed);
    for (case, size, details, writes, wants_class, reason, says) in [
        ("the same", "1Gi", details(), vec![], false, bound, ""),
        ("the same in other words", "1024Mi", details(), vec![], false, bound, ""),
        ("nobody looked at the class", "2Gi", details(), vec![], true, bound, ""),
        ("the class lets it", "2Gi", looked(true), grow(), false, resizing, "the volume grows from 1Gi to 2Gi"),
        ("the class does not", "2Gi", looked(false), vec![], false, refused, "storage class \"fast\" does not let it"),
        ("it grows", "2Gi", asked, vec![], false, resizing, "the volume grows from 1Gi to 2Gi"),
        ("it waits", "2Gi", waiting, vec![], false, resizing, "from 1Gi to 2Gi: waits for a pod"),
        ("it has grown", "2Gi", grown.clone(), vec![], false, bound, ""),
        ("somebody let it grow by hand", "1Gi", grown, vec![], false, bound, ""),
    ] {
        let mut model = model("https://example.com/0");
        model.spec.storage.size = Some(size.into());
        let (decision, found, message) = decided(&model, true, &details);
        assert_eq!((&decision.writes, decision.wants.contains(&Look::Class)), (&writes, wants_class), "{case}");
        assert_eq!(found, reason.as_str(), "{case}");
        assert!(message.contains(says), "{case}: {message}");
        // The API server takes a new size of bound claims only.
        let unbound = ClaimDetails { capacity: None, ..details };
        let (decision, found, _) = decided(&model, false, &unbound);
        assert!(decision.writes.is_empty() && found == "ClaimPending", "{case}: {decision:?} {found}");
    }
}
