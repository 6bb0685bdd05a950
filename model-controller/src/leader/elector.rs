//! Looks at the lease, writes it, waits: for as long as the controller runs.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use model_watch::with_causes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::leadership::State;
use super::lease::{LOOK_EVERY, RENEW_WITHIN, Step, holder, released, step};
use super::{LEASE, LeaderElection, Leadership};

/// Longest wait for the lease to be released. After that it runs out by itself.
const RELEASE_WITHIN: Duration = Duration::from_secs(3);

/// A replica's part in the election, from start to end. It ends when this is dropped.
pub(crate) struct Elector {
    leases: Api<Lease>,
    identity: String,
    task: JoinSet<()>,
}

impl Elector {
    /// Takes part from now on.
    pub(crate) fn start(client: &Client, election: LeaderElection) -> (Self, Leadership) {
        let LeaderElection { namespace, identity } = election;
        let leases = Api::namespaced(client.clone(), &namespace);
        let (states, seen) = watch::channel(State::Standby);
        let mut task = JoinSet::new();
        let candidate = Candidate { leases: leases.clone(), identity: identity.clone(), seen: None, told: None };
        task.spawn(candidate.run(states));
        (Self { leases, identity, task }, Leadership::new(seen))
    }

    /// Ends, and lets another replica lead at once instead of when the lease runs out. For when nothing acts any more.
    pub(crate) async fn release(mut self) {
        self.task.shutdown().await;
        match timeout(RELEASE_WITHIN, self.try_release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = with_causes(&error), "could not release the lease; it runs out by itself");
            }
            Err(_) => tracing::warn!("could not release the lease in time; it runs out by itself"),
        }
    }

    async fn try_release(&self) -> Result<(), kube::Error> {
        let Some(lease) = self.leases.get_opt(LEASE).await? else { return Ok(()) };
        let Some(spec) = lease.spec.as_ref().filter(|spec| holder(spec) == Some(self.identity.as_str())) else {
            return Ok(());
        };
        let free = Lease { spec: Some(released(spec, Timestamp::now())), ..lease.clone() };
        self.leases.replace(LEASE, &PostParams::default(), &free).await.map(drop)
    }
}

struct Candidate {
    leases: Api<Lease>,
    identity: String,
    /// The lease as it was seen last, and since when it is like that.
    seen: Option<(Lease, Instant)>,
    /// What was logged last, so that nothing is logged twice in a row.
    told: Option<String>,
}

impl Candidate {
    async fn run(mut self, states: watch::Sender<State>) {
        let mut leads_until = None;
        loop {
            let started = Instant::now();
            // Without an answer by then, this is no leader any more, and others are not kept waiting.
            let patience = leads_until.unwrap_or(started + RENEW_WITHIN);
            let attempt = timeout_at(patience, self.look_and_write()).await;
            let next = match attempt {
                Ok(Ok(None)) => {
                    // Counted from before the request: the others count from when they see its effect.
                    let until = started + RENEW_WITHIN;
                    if leads_until.is_none() {
                        tracing::info!(identity = self.identity, "leading");
                    }
                    self.told = None;
                    leads_until = Some(until);
                    states.send_replace(State::Leads { until });
                    LOOK_EVERY
                }
                Ok(Ok(Some(wait))) => {
                    if leads_until.is_some() {
                        break;
                    }
                    wait
                }
                Ok(Err(error)) => {
                    self.failed(&with_causes(&error));
                    LOOK_EVERY
                }
                Err(_) => {
                    self.failed("no answer in time");
                    Duration::ZERO
                }
            };
            if leads_until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            let wake = leads_until.map_or(next, |until| next.min(until.saturating_duration_since(Instant::now())));
            sleep(wake).await;
        }
        tracing::error!(identity = self.identity, "the lease is lost");
        states.send_replace(State::Lost);
    }

    /// `None`: the lease is ours. Otherwise how long to wait until the next look.
    async fn look_and_write(&mut self) -> Result<Option<Duration>, kube::Error> {
        // A leader writes over what it wrote last. Where somebody else wrote meanwhile, that is refused.
        if !self.is_ours() {
            self.look().await?;
        }
        loop {
            let (lease, unchanged) = match &self.seen {
                Some((lease, since)) => (Some(lease), since.elapsed()),
                None => (None, Duration::ZERO),
            };
            let is_new = lease.is_none();
            let spec = lease.map(|lease| lease.spec.clone().unwrap_or_default());
            let written = match step(spec.as_ref(), unchanged, &self.identity, Timestamp::now()) {
                Step::Wait(left) => {
                    self.stand_by(spec.as_ref().and_then(holder).unwrap_or_default());
                    return Ok(Some(left));
                }
                Step::Create(spec) => {
                    let metadata = ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() };
                    let lease = Lease { metadata, spec: Some(spec) };
                    self.leases.create(&PostParams::default(), &lease).await
                }
                Step::Replace(spec) => {
                    let metadata = lease.map(|lease| lease.metadata.clone()).unwrap_or_default();
                    self.leases.replace(LEASE, &PostParams::default(), &Lease { metadata, spec: Some(spec) }).await
                }
            };
            match written {
                Ok(lease) => {
                    self.seen = Some((lease, Instant::now()));
                    return Ok(None);
                }
                Err(kube::Error::Api(status))
                    // What is missing when a lease is created is its namespace: only another look, later, helps.
                    if status.is_conflict() || status.is_already_exists() || (status.is_not_found() && !is_new) =>
                {
                    self.look().await?;
                    // Ours: an earlier write of ours that got no answer. Not ours: another replica was faster.
                    if self.seen.is_some() && !self.is_ours() {
                        return Ok(Some(LOOK_EVERY));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads the lease, and remembers since when it is as it is.
    async fn look(&mut self) -> Result<(), kube::Error> {
        let found = self.leases.get_opt(LEASE).await?;
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        self.seen = found.map(|lease| {
            let known = self.seen.as_ref().filter(|(known, _)| version(known) == version(&lease));
            let since = known.map_or_else(Instant::now, |(_, since)| *since);
            (lease, since)
        });
        Ok(())
    }

    fn is_ours(&self) -> bool {
        let spec = self.seen.as_ref().and_then(|(lease, _)| lease.spec.as_ref());
        spec.and_then(holder) == Some(self.identity.as_str())
    }

    fn stand_by(&mut self, leader: &str) {
        let told = format!("standing by for {leader}");
        if self.told.as_ref() != Some(&told) {
            tracing::info!(identity = self.identity, "{told}");
            self.told = Some(told);
        }
    }

    fn failed(&mut self, error: &str) {
        if self.told.as_deref() != Some(error) {
            let namespace = self.leases.namespace().unwrap_or_default();
            tracing::warn!(
                identity = self.identity,
                error,
                "could not take or renew the lease {namespace}/{LEASE}; the namespace has to be there, and the service account has to get, create and update leases in it"
            );
            self.told = Some(error.to_owned());
        }
    }
}
