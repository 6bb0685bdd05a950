//! The rules in force and how often each has hit.

use std::sync::{Mutex, PoisonError};

use globset::{Glob, GlobMatcher};
use serde::Serialize;

use super::rule::{Fault, Rule};
use crate::{Error, Origin};

/// A rule in force and what it has done so far.
#[derive(Clone, Debug, Serialize)]
pub struct RuleState {
    /// The rule.
    #[serde(flatten)]
    pub rule: Rule,
    /// Requests that the rule has disturbed.
    pub hits: u32,
}

struct Armed {
    rule: Rule,
    paths: GlobMatcher,
    seen: u32,
    hits: u32,
}

impl Armed {
    fn new(rule: Rule) -> Result<Self, Error> {
        let paths = Glob::new(&rule.path)
            .map_err(|source| Error::Pattern { pattern: rule.path.clone(), source })?
            .compile_matcher();
        Ok(Self { rule, paths, seen: 0, hits: 0 })
    }

    fn concerns(&self, asked: &Asked) -> bool {
        self.rule.origin.is_none_or(|origin| origin == asked.origin)
            && self.rule.method.as_ref().is_none_or(|method| method == asked.method)
            && self.paths.is_match(asked.path)
    }

    /// Counts a request that the rule concerns. True if it is to be disturbed.
    fn fires(&mut self) -> bool {
        self.seen = self.seen.saturating_add(1);
        let fires = self.seen > self.rule.skip && self.rule.count.is_none_or(|count| self.hits < count);
        self.hits += u32::from(fires);
        fires
    }
}

/// What a request asks for, as far as rules look at it.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub origin: Origin,
    pub method: &'a str,
    pub path: &'a str,
}

/// All rules in force.
#[derive(Default)]
pub(crate) struct FaultSet {
    rules: Mutex<Vec<Armed>>,
}

impl FaultSet {
    pub(crate) fn replace(&self, rules: Vec<Rule>) -> Result<(), Error> {
        let armed = rules.into_iter().map(Armed::new).collect::<Result<_, _>>()?;
        *self.lock() = armed;
        Ok(())
    }

    pub(crate) fn add(&self, rule: Rule) -> Result<(), Error> {
        let armed = Armed::new(rule)?;
        self.lock().push(armed);
        Ok(())
    }

    pub(crate) fn list(&self) -> Vec<RuleState> {
        self.lock().iter().map(|armed| RuleState { rule: armed.rule.clone(), hits: armed.hits }).collect()
    }

    /// The faults that hit this request before it is served. Uses them up.
    pub(crate) fn of_request(&self, asked: &Asked, has_range: bool) -> Vec<Fault> {
        self.take(asked, |fault| !fault.is_of_answer() && (has_range || *fault != Fault::IgnoreRange))
    }

    /// The faults that hit the answer. Uses them up. `body` is where the file's bytes in it
    /// start and how many they are, if known; `None` if it holds no bytes of a file.
    pub(crate) fn of_answer(&self, asked: &Asked, body: Option<(u64, Option<u64>)>) -> Vec<Fault> {
        self.take(asked, |fault| match (fault, body) {
            (Fault::Etag { .. }, _) => true,
            (Fault::Flip { offset }, Some((start, length))) => {
                *offset >= start && length.is_none_or(|length| *offset - start < length)
            }
            (fault, body) => fault.is_of_answer() && body.is_some(),
        })
    }

    fn take(&self, asked: &Asked, applies: impl Fn(&Fault) -> bool) -> Vec<Fault> {
        let mut rules = self.lock();
        let concerned = rules.iter_mut().filter(|armed| applies(&armed.rule.fault) && armed.concerns(asked));
        concerned.filter_map(|armed| armed.fires().then(|| armed.rule.fault.clone())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Armed>> {
        // A panic elsewhere leaves the counters valid.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: Asked = Asked { origin: Origin::Cdn, method: "GET", path: "/acme/tiny/model.safetensors" };

    #[test]
    fn a_rule_skips_then_hits_then_is_spent() {
        let set = FaultSet::default();
        set.add(Rule::new(Fault::RedirectLoop).path("*.safetensors").skip(1).count(2)).unwrap();
        let hits: Vec<usize> = (0..5).map(|_| set.of_request(&SHARD, false).len()).collect();
        assert_eq!(hits, [0, 1, 1, 0, 0]);
        assert_eq!(set.list()[0].hits, 2);
    }

    #[test]
    fn a_rule_leaves_other_requests_alone() {
        let set = FaultSet::default();
        let rule = Rule::new(Fault::RedirectLoop).path("/acme/*").origin(Origin::Cdn).method("GET");
        set.replace(vec![rule]).unwrap();
        for (asked, want) in [
            (SHARD, 1),
            (Asked { origin: Origin::Hub, ..SHARD }, 0),
            (Asked { method: "HEAD", ..SHARD }, 0),
            (Asked { path: "/other/tiny/model.safetensors", ..SHARD }, 0),
        ] {
            assert_eq!(set.of_request(&asked, false).len(), want, "{} {}", asked.method, asked.path);
        }
    }

    #[test]
    fn a_flip_counts_only_answers_that_hold_the_byte() {
        let set = FaultSet::default();
        set.add(Rule::new(Fault::Flip { offset: 100 }).count(1)).unwrap();
        assert!(set.of_answer(&SHARD, None).is_empty(), "a redirect holds no byte");
        assert!(set.of_answer(&SHARD, Some((0, Some(100)))).is_empty());
        assert!(set.of_answer(&SHARD, Some((101, Some(100)))).is_empty());
        assert_eq!(set.of_answer(&SHARD, Some((100, Some(1)))).len(), 1);
        assert!(set.of_answer(&SHARD, Some((0, Some(1000)))).is_empty());
    }
}
