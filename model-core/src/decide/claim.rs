//! What is changed of a claim that is there: whom it goes with, and its size.

use super::{Decision, Look, Write};
use crate::api::DeletionPolicy;
use crate::observed::{ClaimDetails, ClaimState, Observed};
use crate::quantity::thousandths;
use crate::reason::Reason;

/// Adds to a decision what is to be done about the claim.
pub(super) fn claim(mut decision: Decision, seen: &Observed) -> Decision {
    let policy = seen.model.spec.deletion_policy;
    match (&seen.claim, &seen.claim_details) {
        (ClaimState::Ours { bound, .. }, Some(details)) => {
            let is_new = seen.model.status.and_then(|status| status.deletion_policy).is_none();
            decision.adopts = is_new && details.is_older;
            keep(&mut decision, details, policy);
            if let (true, Some(size)) = (*bound, &seen.model.spec.storage.size) {
                grow(&mut decision, details, size);
            }
        }
        _ if decision.writes.iter().any(|write| matches!(write, Write::CreateClaim { .. })) => {
            decision.deletion_policy = Some(policy);
        }
        _ => {}
    }
    decision
}

/// With `Retain` no owner reference lets the claim go with its Model; with `Delete` one does.
///
/// An owner beside the Model would take the claim with it as soon as the Model is none, whatever the policy. So the claim
/// stays the Model's until that owner is gone.
fn keep(decision: &mut Decision, details: &ClaimDetails, policy: DeletionPolicy) {
    if let (DeletionPolicy::Retain, true, Some(other)) = (policy, details.owned, &details.other_owner) {
        let message = format!("the claim cannot be retained: {other} owns it, too");
        decision.storage = Some((Reason::ClaimCoOwned, message));
        decision.deletion_policy = Some(DeletionPolicy::Delete);
        return;
    }
    let owned = policy == DeletionPolicy::Delete;
    if details.owned != owned {
        decision.writes.push(Write::SetClaimOwner { owned });
    }
    decision.deletion_policy = Some(policy);
}

fn grow(decision: &mut Decision, details: &ClaimDetails, wanted: &str) {
    let (Some(asks), Some(has)) = (details.requested.as_deref(), details.capacity.as_deref()) else { return };
    let (Some(wants), Some(asks_for)) = (thousandths(wanted), thousandths(asks)) else { return };
    if wants > asks_for {
        match details.expandable {
            None => decision.wants.push(Look::Class),
            Some(true) => {
                decision.writes.push(Write::GrowClaim { size: wanted.to_owned() });
                decision.storage = Some((Reason::ClaimResizing, format!("the volume grows from {has} to {wanted}")));
            }
            Some(false) => {
                let class = details.class.as_deref().unwrap_or_default();
                let message =
                    format!("the volume stays at {has}: storage class {class:?} does not let it grow to {wanted}");
                decision.storage = Some((Reason::ExpansionNotAllowed, message));
            }
        }
    } else if thousandths(has).is_some_and(|has| has < asks_for) {
        let message = match &details.resizing {
            Some(said) => format!("the volume grows from {has} to {asks}: {said}"),
            None => format!("the volume grows from {has} to {asks}"),
        };
        decision.storage = Some((Reason::ClaimResizing, message));
    }
}
