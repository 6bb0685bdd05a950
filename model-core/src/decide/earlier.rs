//! What lies on the claim beside the published content, and how far its removal is.

use std::cmp::Reverse;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Decision;
use crate::api::{Content, EarlierContent};
use crate::content::is_content_id;
use crate::names::revision_path;
use crate::observed::{ClaimState, JobState, Observed, PruneStep};

/// Contents that are remembered, the newest of them.
const MOST_REMEMBERED: usize = 100;

impl EarlierContent {
    /// Whether its removal has begun. Then it may not be in its place, so it is never forgotten.
    pub(super) const fn is_begun(&self) -> bool {
        self.setting_aside || self.set_aside
    }
}

/// What lies on the claim beside the content that this decision offers, the newest first.
pub(super) fn remember(decision: &Decision, seen: &Observed, now: Timestamp) -> Vec<EarlierContent> {
    if matches!(seen.claim, ClaimState::Absent | ClaimState::Missing | ClaimState::Lost | ClaimState::Foreign { .. }) {
        return Vec::new();
    }
    let status = seen.model.status;
    let mut earlier = status.map(|status| status.earlier.clone()).unwrap_or_default();
    let mut add = |id: &str, partial: bool| {
        if is_content_id(id) && !earlier.iter().any(|known| known.id == id) {
            let (id, since) = (id.to_owned(), Time(now));
            earlier.push(EarlierContent { id, since, partial, setting_aside: false, set_aside: false });
        }
    };
    let offered = decision.content.as_ref().map(|content| content.id.as_str());
    if let Some(before) = status.and_then(|status| status.content.as_ref()).filter(|_| offered.is_some())
        && is_revision(before)
    {
        add(&before.id, false);
    }
    if let Some(before) = status.and_then(|status| status.download.as_ref())
        && decision.download.as_ref().is_some_and(|download| download.id != before.id)
    {
        add(&before.id, true);
    }
    // Only when it publishes: the Job stays for an hour, and what it found may have been pruned since.
    let recorded = status.and_then(|status| status.content.as_ref()).map(|content| content.id.as_str());
    if let JobState::Succeeded { published: Some(published) } = &seen.job
        && recorded != offered
        && decision.content.as_ref().is_some_and(is_revision)
    {
        published.others.iter().for_each(|id| add(id, false));
        // Beside itself there can be an older copy only, which was set aside when a Model before this one was there.
        for known in earlier.iter_mut().filter(|known| Some(known.id.as_str()) == offered) {
            known.set_aside |= published.others.contains(&known.id) && !known.setting_aside;
        }
    }
    // What is offered again is earlier no more, except for what was set aside of it before.
    earlier.retain(|known| known.is_begun() || Some(known.id.as_str()) != offered);
    earlier.sort_by_key(|known| Reverse(known.since.0));
    let mut place = 0;
    earlier.retain(|known| {
        place += 1;
        known.is_begun() || place <= MOST_REMEMBERED
    });
    earlier
}

/// Whether it has a directory of its own. Stock images overwrite one and the same.
fn is_revision(content: &Content) -> bool {
    content.path.ends_with(&revision_path(&content.id))
}

/// Notes that a Job may begin, or may have begun, to set these contents aside. Those too that a lost record knew.
pub(super) fn begin(earlier: &mut Vec<EarlierContent>, ids: &[String], now: Timestamp) {
    for id in ids {
        match earlier.iter_mut().find(|known| known.id == *id) {
            Some(known) => known.setting_aside |= !known.set_aside,
            None if is_content_id(id) => {
                let (id, since) = (id.clone(), Time(now));
                earlier.push(EarlierContent { id, since, partial: false, setting_aside: true, set_aside: false });
            }
            None => {}
        }
    }
}

/// Notes what a Job did. Nothing changes the second time.
pub(super) fn record(earlier: &mut Vec<EarlierContent>, step: &PruneStep, now: Timestamp) {
    match step {
        PruneStep::SetAside(ids) => {
            begin(earlier, ids, now);
            for known in earlier.iter_mut().filter(|known| ids.contains(&known.id)) {
                (known.setting_aside, known.set_aside) = (false, true);
            }
        }
        PruneStep::Finish { put_back, delete } => {
            earlier.retain(|known| !delete.contains(&known.id));
            for known in earlier.iter_mut().filter(|known| known.is_begun() && put_back.contains(&known.id)) {
                (known.setting_aside, known.set_aside) = (false, false);
                known.since = Time(now);
            }
        }
    }
}
