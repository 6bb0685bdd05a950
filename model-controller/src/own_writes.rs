//! What this controller has written and its caches may not hold yet.
//!
//! A pass over caches that lag behind its own writes finds them undone, and would read everything anew only to learn that
//! they are not.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model_core::api::Model;
use model_core::persisted::Persisted;

/// How long a cache may lag behind. What it does not hold then was undone by somebody.
const LAG: Duration = Duration::from_secs(1);

/// The newest writes of one Model that no cache was seen to hold.
#[derive(Debug)]
struct Unseen {
    claim: Option<String>,
    job: Option<String>,
    /// The Model's resource version that a record was written over.
    over: Option<String>,
    since: Instant,
}

/// What caches hold of one Model: UIDs of claim and download Job, and the Model's resource version.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cached<'a> {
    pub claim: Option<&'a str>,
    pub job: Option<&'a str>,
    pub version: Option<&'a str>,
}

/// Own writes of all Models, by UID of the Model.
#[derive(Debug, Default)]
pub(crate) struct OwnWrites(Mutex<HashMap<String, Unseen>>);

impl OwnWrites {
    /// A claim of this UID was made.
    pub(crate) fn created_claim(&self, model: &Persisted, uid: &str) {
        self.note(model.uid, |unseen| unseen.claim = Some(uid.to_owned()));
    }

    /// A download Job of this UID was made.
    pub(crate) fn created_job(&self, model: &Persisted, uid: &str) {
        self.note(model.uid, |unseen| unseen.job = Some(uid.to_owned()));
    }

    /// A status was written over the one that this Model was read with.
    pub(crate) fn recorded(&self, model: &Model) {
        if let (Some(uid), Some(version)) = (&model.metadata.uid, &model.metadata.resource_version) {
            self.note(uid, |unseen| unseen.over = Some(version.clone()));
        }
    }

    /// How long to wait at most for caches that lag behind. The change that they lack ends the wait. `None`: they hold
    /// everything, or have had time enough.
    pub(crate) fn lag(&self, model: &Persisted, cached: Cached, now: Instant) -> Option<Duration> {
        let mut all = self.all();
        let unseen = all.get_mut(model.uid)?;
        unseen.claim.take_if(|uid| cached.claim == Some(uid));
        unseen.job.take_if(|uid| cached.job == Some(uid));
        // Resource versions tell same from other, and no more.
        unseen.over.take_if(|version| cached.version != Some(version));
        let waits = unseen.claim.is_some() || unseen.job.is_some() || unseen.over.is_some();
        let left = LAG.saturating_sub(now.saturating_duration_since(unseen.since));
        if waits && !left.is_zero() {
            return Some(left);
        }
        all.remove(model.uid);
        None
    }

    fn note(&self, model: &str, write: impl FnOnce(&mut Unseen)) {
        let (mut all, now) = (self.all(), Instant::now());
        // Nobody asks for those of a Model that is gone.
        all.retain(|_, unseen| now.saturating_duration_since(unseen.since) < LAG);
        let unseen = all.entry(model.to_owned()).or_insert(Unseen { claim: None, job: None, over: None, since: now });
        unseen.since = now;
        write(unseen);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Unseen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pass_waits_for_what_the_controller_wrote_itself_but_not_for_ever() {
        let object: Model = serde_json::from_value(json!({
            "metadata": { "name": "tiny", "namespace": "team", "uid": "u", "generation": 1, "resourceVersion": "1" },
            "spec": { "source": { "url": { "url": "https://host/a" } }, "storage": { "size": "1Gi" } },
        }))
        .unwrap();
        let model = Persisted::try_from(&object).unwrap();
        let writes = OwnWrites::default();
        let now = Instant::now;
        let none = Cached { version: Some("1"), ..Cached::default() };
        assert_eq!(writes.lag(&model, none, now()), None);

        writes.created_claim(&model, "c");
        writes.created_job(&model, "j");
        writes.recorded(&object);
        let steps = [
            ("nothing is seen", none, true),
            ("the claim is", Cached { claim: Some("c"), ..none }, true),
            ("an older Job is", Cached { claim: Some("c"), job: Some("i"), version: Some("2") }, true),
            ("all is", Cached { claim: Some("c"), job: Some("j"), version: Some("2") }, false),
            ("it is not asked for again", none, false),
        ];
        for (case, cached, waits) in steps {
            assert_eq!(writes.lag(&model, cached, now()).is_some(), waits, "{case}");
        }
        writes.created_job(&model, "k");
        assert_eq!(writes.lag(&model, none, now() + LAG), None, "it was deleted at once");
        assert!(writes.all().is_empty());
    }
}
