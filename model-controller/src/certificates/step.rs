//! What to do next about the webhook's certificate: values in, values out.
//!
//! An authority signs one certificate, and its key is thrown away. So a new certificate has a new authority, and the API
//! server trusts that one before any replica can serve by it, and the old one for as long as any replica still may.

use jiff::{SignedDuration, Timestamp};

use super::Rhythm;

/// The certificate in the Secret. It is valid, and its key belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Current {
    /// Its authority, PEM.
    pub ca: String,
    /// When to make the next one. `None`: somebody else made this one.
    pub renew_at: Option<Timestamp>,
}

/// A certificate that nobody has seen yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// Its authority, PEM.
    pub ca: String,
    /// For how long the API server has been trusting it. `None`: it does not yet.
    pub trusted_for: Option<SignedDuration>,
}

/// One look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// `None`: there is no Secret, or what it holds serves nobody.
    pub current: Option<Current>,
    pub next: Option<Next>,
    /// The authorities that the API server trusts, for each registered webhook.
    pub bundles: Vec<Vec<String>>,
    /// Whether every replica serves the current certificate.
    pub served: bool,
}

/// The next step. After each, look again; the process may end between any two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make the next certificate, and keep it in memory.
    Make,
    /// Have the API server trust exactly these authorities.
    Trust(Vec<String>),
    /// Write the next certificate into the Secret, from where the replicas take it.
    Publish,
    /// Nothing to do now.
    Wait,
}

/// Decides the next step. A process that ends leaves at worst an authority behind whose key nobody has; it is dropped
/// from the bundle like an old one.
pub(super) fn step(seen: &Seen, rhythm: &Rhythm, now: Timestamp) -> Step {
    let current = seen.current.as_ref();
    // While anything is uncertain, all that was trusted stays.
    let wanted = current.map(|current| &current.ca).into_iter().chain(seen.next.as_ref().map(|next| &next.ca));
    let mut all: Vec<String> = Vec::new();
    for ca in seen.bundles.iter().flatten().chain(wanted.clone()) {
        if !all.contains(ca) {
            all.push(ca.clone());
        }
    }
    if wanted.into_iter().any(|ca| !seen.bundles.iter().all(|bundle| bundle.contains(ca))) {
        return Step::Trust(all);
    }
    let Some(current) = current else {
        // Nobody serves, so there is nobody to wait for.
        return if seen.next.is_some() { Step::Publish } else { Step::Make };
    };
    if let Some(next) = &seen.next {
        let all_know = next.trusted_for.is_some_and(|time| time >= rhythm.settle);
        return if all_know { Step::Publish } else { Step::Wait };
    }
    if seen.served && seen.bundles.iter().any(|bundle| bundle.len() > 1) {
        return Step::Trust(vec![current.ca.clone()]);
    }
    let renew_at = current.renew_at.unwrap_or(now);
    // A replica that never takes the certificate must not keep all others on one that ends.
    let is_urgent = now >= renew_at.saturating_add(rhythm.patience()).unwrap_or(Timestamp::MAX);
    if now >= renew_at && (seen.served || is_urgent) { Step::Make } else { Step::Wait }
}

/// Whether the look after a step need not wait. Where somebody takes back what is written, that is no reason to write as
/// fast as they do: every way back to the same step leads through one that waits.
pub(super) const fn goes_on_at_once(done: &Step, before: Option<&Step>) -> bool {
    match done {
        Step::Make => true,
        Step::Trust(_) => matches!(before, Some(Step::Make)),
        Step::Publish | Step::Wait => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: SignedDuration = SignedDuration::from_secs(1);
    const RHYTHM: Rhythm = Rhythm {
        valid_for: SignedDuration::from_secs(300),
        renew_after: SignedDuration::from_secs(100),
        settle: SignedDuration::from_secs(10),
        look_every: SECOND,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ca(names: &str) -> Vec<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_api_server_trusts_before_anybody_serves_and_until_nobody_does() {
        let old = |renew: i64| Some(Current { ca: "old".into(), renew_at: Some(at(renew)) });
        let foreign = Some(Current { ca: "old".into(), renew_at: None });
        let next =
            |seconds: Option<i64>| Some(Next { ca: "new".into(), trusted_for: seconds.map(SignedDuration::from_secs) });
        let trust = |names| Step::Trust(ca(names));
        for (name, current, next, bundle, served, want) in [
            ("nothing there", None, None, "", false, Step::Make),
            ("made for nothing there", None, next(None), "", false, trust("new")),
            ("trusted, and nobody to wait for", None, next(Some(0)), "new", false, Step::Publish),
            (
                "the Secret was lost: what replicas still serve stays trusted",
                None,
                next(None),
                "old",
                true,
                trust("old new"),
            ),
            ("all is well", old(5000), None, "old", true, Step::Wait),
            ("the bundle was emptied", old(5000), None, "", true, trust("old")),
            ("the bundle was emptied, and it is time for a new one", old(0), None, "", true, trust("old")),
            ("somebody else's bundle", old(5000), None, "x", false, trust("x old")),
            ("time for a new one", old(0), None, "old", true, Step::Make),
            ("somebody else's certificate is taken over", foreign, None, "old", true, Step::Make),
            ("made", old(0), next(None), "old", true, trust("old new")),
            ("trusted by some API servers", old(0), next(Some(9)), "old new", true, Step::Wait),
            ("trusted by all", old(0), next(Some(10)), "old new", true, Step::Publish),
            ("published, not served by all", old(5000), None, "before old", false, Step::Wait),
            ("served by all", old(5000), None, "before old", true, trust("old")),
            ("after a crash before the Secret was written", old(5000), None, "old lost", true, trust("old")),
            ("the same, and it is time", old(0), None, "old lost", true, trust("old")),
            ("one replica lags behind", old(901), None, "before old", false, Step::Wait),
            ("one replica lags behind for too long", old(900), None, "before old", false, Step::Make),
        ] {
            let seen = Seen { current, next, bundles: vec![ca(bundle)], served };
            assert_eq!(step(&seen, &RHYTHM, at(1000)), want, "{name}");
        }
    }

    #[test]
    fn a_fight_over_the_bundle_or_the_secret_is_fought_at_the_pace_of_looks() {
        let trust = Step::Trust(ca("old new"));
        for (done, before, want) in [
            (Step::Make, None, true),
            (Step::Make, Some(Step::Wait), true),
            (trust.clone(), Some(Step::Make), true),
            (trust.clone(), Some(trust.clone()), false),
            (trust.clone(), Some(Step::Publish), false),
            (trust.clone(), Some(Step::Wait), false),
            (trust.clone(), None, false),
            (Step::Publish, Some(trust), false),
            (Step::Wait, Some(Step::Wait), false),
        ] {
            assert_eq!(goes_on_at_once(&done, before.as_ref()), want, "{done:?} after {before:?}");
        }
    }

    #[test]
    fn every_registration_is_looked_at() {
        let current = Some(Current { ca: "old".into(), renew_at: Some(at(5000)) });
        let with = |bundles: &[&str]| Seen {
            current: current.clone(),
            next: None,
            bundles: bundles.iter().map(|names| ca(names)).collect(),
            served: true,
        };
        for (bundles, want) in [
            (&[][..], Step::Wait),
            (&["old", ""], Step::Trust(ca("old"))),
            (&["old", "x old"], Step::Trust(ca("old"))),
            (&["x old", "y"], Step::Trust(ca("x old y"))),
            (&["old", "old"], Step::Wait),
        ] {
            assert_eq!(step(&with(bundles), &RHYTHM, at(1000)), want, "{bundles:?}");
        }
    }

    /// Each replica takes a certificate some time after it was published, and the process may end after any step.
    #[test]
    fn no_replica_ever_serves_what_is_not_trusted() {
        for (lag, crash_at) in (0..12).flat_map(|lag| (0..40).map(move |crash| (lag, crash))) {
            let mut seen = Seen { current: None, next: None, bundles: vec![vec![]], served: false };
            let mut replicas: [Option<String>; 2] = [None, None];
            let (mut published, mut made, mut trusted, mut rotations) = (0, 0, None, 0);
            for second in 0..600 {
                let now = at(second);
                for (index, replica) in replicas.iter_mut().enumerate() {
                    let index = i64::try_from(index).unwrap();
                    if seen.current.is_some() && second >= published + lag * index {
                        *replica = seen.current.as_ref().map(|current| current.ca.clone());
                    }
                }
                let serves =
                    |replica: &Option<String>| replica.as_ref() == seen.current.as_ref().map(|current| &current.ca);
                seen.served = seen.current.is_some() && replicas.iter().all(serves);
                if let Some(next) = &mut seen.next {
                    next.trusted_for = trusted.map(|since| now.duration_since(since));
                }
                match step(&seen, &RHYTHM, now) {
                    Step::Make => {
                        made += 1;
                        trusted = None;
                        seen.next = Some(Next { ca: format!("ca{made}"), trusted_for: None });
                    }
                    Step::Trust(cas) => {
                        seen.bundles = vec![cas];
                        trusted = seen.next.as_ref().map(|_| now);
                    }
                    Step::Publish => {
                        let ca = seen.next.take().unwrap().ca;
                        seen.current = Some(Current { ca, renew_at: Some(now + RHYTHM.renew_after) });
                        (published, rotations) = (second, rotations + 1);
                    }
                    Step::Wait => {}
                }
                if second == crash_at {
                    seen.next = None;
                }
                for replica in replicas.iter().flatten() {
                    assert!(seen.bundles[0].contains(replica), "at {second}: {replica} is not in {:?}", seen.bundles);
                }
            }
            assert!(rotations >= 5, "{rotations} rotations with a lag of {lag}");
            assert!(seen.bundles[0].len() <= 3, "{:?}", seen.bundles);
        }
    }
}
