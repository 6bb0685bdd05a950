//! The lease: of two replicas the leader dies at any of its writes, those of the lease included, or hears nothing of the
//! API server from there on; and the other one takes over.
//!
//! The leader takes the lease and renews it while a download is under way. Once that is done it is told to stop and gives
//! the lease back, and the other one downloads what is wanted next.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use futures::{StreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use kube::{Client, Config};
use model_controller::{LEASE, LeaderElection, controller};
use model_core::api::Phase;
use model_watch::Namespaces;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::cluster::Cluster;
use super::histories::{point_at, spec};
use super::mortal::{Kill, Kind, Lives, Side, Witness, Write};
use super::picture::Picture;
use super::settle::settle;
use super::stage::Stage;
use super::{chosen, plane};
use crate::plane::settings;

/// Runs at once. Most of its time each waits until a lease has run out.
const AT_ONCE: usize = 10;
/// How many kills are tried unless more are asked for.
const KILLS: usize = 6;
/// How often the leader takes or renews the lease at least before the download ends.
const RENEWALS: usize = 3;

const SIDES: [Side; 3] = [Side::Before, Side::After, Side::CutOff];

const FIRST: &str = "first";
const SECOND: &str = "second";

/// Who has had the lease, as the API server was told, one after another. Nobody's is an empty name.
#[derive(Default)]
struct Holders {
    all: Vec<String>,
    wrongs: Vec<String>,
}

/// One of the two.
#[derive(Clone)]
struct Replica {
    name: &'static str,
    holders: Arc<Mutex<Holders>>,
    cluster: Cluster,
}

impl Replica {
    fn holders(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().expect("nobody panicked")
    }

    fn leads(&self) -> bool {
        self.holders().all.last().is_some_and(|holder| holder == self.name)
    }

    fn election(&self, namespace: &str) -> LeaderElection {
        let mut election = LeaderElection::new(namespace);
        self.name.clone_into(&mut election.identity);
        election
    }
}

impl Witness for Replica {
    /// Who does not have the lease writes nothing.
    fn sent(&self, write: &Write) {
        if write.holder().is_some() {
            return;
        }
        if !self.leads() {
            let mut holders = self.holders();
            let wrong = format!("{} wrote {write}, and the lease was held by {:?}", self.name, holders.all);
            holders.wrongs.push(wrong);
        }
        self.cluster.sent(write);
    }

    fn made(&self, write: &Write) {
        let Some(holder) = write.holder() else { return };
        let mut holders = self.holders();
        if holders.all.last().is_none_or(|last| last != holder) {
            holders.all.push(holder.to_owned());
        }
    }
}

struct Run<'a> {
    kill: Option<Kill>,
    undisturbed: Option<&'a Picture>,
}

struct Outcome {
    label: String,
    /// Writes of the first leader, but for those of the lease.
    writes: usize,
    died: bool,
    picture: Picture,
    wrongs: Vec<String>,
}

impl Run<'_> {
    async fn play(&self, config: &Config, admin: Client) -> Outcome {
        let label = self.kill.map_or_else(|| "hand-over".to_owned(), |kill| format!("hand-over-{kill}"));
        let stage = Stage::new(admin, &label).await;
        let holders = Arc::default();
        let replica = |name| Replica { name, holders: Arc::clone(&holders), cluster: stage.cluster.clone() };
        let (first, second) = (replica(FIRST), replica(SECOND));
        let (of_first, of_second) =
            (Lives::new(self.kill, Arc::new(first.clone())), Lives::new(None, Arc::new(second.clone())));
        let stop = Arc::new(Notify::new());
        let mut running = JoinSet::new();
        let start = |replica: &Replica, lives: &Lives, stop: Arc<Notify>| {
            let (election, namespace) = (replica.election(&stage.namespace), stage.namespace.clone());
            let (lives, config) = (lives.clone(), config.clone());
            async move {
                let run = async |client: Client| {
                    let controller = controller(client, settings())
                        .with_namespaces(Namespaces::new([namespace]))
                        .with_leader_election(election);
                    // Who loses the lease ends, as by a kill.
                    controller.run_until(async move { stop.notified().await }).await.ok();
                };
                lives.run_once(&config, run).await;
            }
        };
        let cluster = stage.cluster.clone();
        running.spawn(async move { cluster.watch_jobs().await });
        let running_first = running.spawn(start(&first, &of_first, stop.clone()));
        let is_dead = || of_first.killed_at().is_some();
        stage.until("the first one leads", async || (first.leads() || is_dead()).then_some(())).await;
        running.spawn(start(&second, &of_second, Arc::default()));

        stage.cluster.past().hold = true;
        stage.create("llama", &spec("a")).await;
        let renewed = || of_first.writes(Kind::Lease) >= RENEWALS;
        stage.until("the lease is renewed", async || (renewed() || is_dead()).then_some(())).await;
        // One that ended while nobody leads would never be told of as begun.
        stage.status("the download", |status| status.phase == Some(Phase::Downloading)).await;
        stage.cluster.past().hold = false;
        stage.up_to_date("llama").await;
        stop.notify_one();
        stage.until("the second one leads", async || second.leads().then_some(())).await;
        // One that never led need not stop.
        let had_led = first.holders().all.iter().any(|holder| holder == FIRST);
        let is_cut_off = had_led && self.kill.is_some_and(|kill| kill.side == Side::CutOff);
        let still_runs = is_cut_off && is_dead() && !running_first.is_finished();
        point_at(&stage, "b").await;
        stage.up_to_date("llama").await;
        let (picture, mut wrongs) = settle(&stage, self.undisturbed, || of_second.writes(Kind::Work), is_dead).await;
        wrongs.append(&mut stage.cluster.past().wrongs);
        wrongs.append(&mut first.holders().wrongs);
        wrongs.extend(still_runs.then(|| "who was cut off ran on while somebody else led".to_owned()));
        let holders = first.holders().all.clone();
        wrongs.extend(self.of_lease(&stage, is_dead(), holders).await);
        if !wrongs.is_empty() {
            println!("{label}, killed at {:?}: {wrongs:#?}", of_first.killed_at().map(|write| write.to_string()));
        }
        Outcome { label, writes: of_first.writes(Kind::Work), died: is_dead(), picture, wrongs }
    }

    /// The lease went from the first one to the second one, and to nobody else.
    async fn of_lease(&self, stage: &Stage, died: bool, holders: Vec<String>) -> Option<String> {
        let leases: Api<Lease> = Api::namespaced(stage.client.clone(), &stage.namespace);
        let lease = leases.get(LEASE).await.expect("the lease").spec.unwrap_or_default();
        let found = (lease.holder_identity.unwrap_or_default(), lease.lease_transitions.unwrap_or_default());
        let (transitions, want) = match self.kill.filter(|_| died) {
            // It never had the lease.
            Some(Kill { kind: Kind::Lease, write: 1, side: Side::Before | Side::CutOff }) => (0, vec![SECOND]),
            None | Some(Kill { kind: Kind::Release, side: Side::After, .. }) => (1, vec![FIRST, "", SECOND]),
            Some(_) => (1, vec![FIRST, SECOND]),
        };
        let is_right = found == (SECOND.to_owned(), transitions) && holders == want;
        (!is_right).then(|| format!("the lease is held by {found:?} and went {holders:?} instead of {want:?}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_killed_at_any_write_is_followed_by_the_other_replica() {
    let (config, admin) = plane().await;
    let begun = Instant::now();
    let undisturbed = Run { kill: None, undisturbed: None }.play(&config, admin.clone()).await;
    assert!(undisturbed.wrongs.is_empty(), "undisturbed: {:#?}", undisturbed.wrongs);
    let kinds = [(Kind::Work, undisturbed.writes), (Kind::Lease, RENEWALS), (Kind::Release, 1)];
    let kills: Vec<_> = kinds.into_iter().flat_map(|(kind, writes)| Kill::each(kind, writes, &SIDES)).collect();
    let all = kills.len();
    let one = |kill| {
        let (config, admin, undisturbed) = (&config, admin.clone(), Some(&undisturbed.picture));
        async move { Run { kill: Some(kill), undisturbed }.play(config, admin).await }
    };
    let outcomes: Vec<_> = stream::iter(chosen(kills, KILLS)).map(one).buffer_unordered(AT_ONCE).collect().await;
    let died = outcomes.iter().filter(|outcome| outcome.died).count();
    let wrong: Vec<_> = outcomes.iter().filter(|outcome| !outcome.wrongs.is_empty()).map(|one| &one.label).collect();
    println!(
        "{} of {all} kills of a leader tried in {} s: {died} died, {} ends as undisturbed",
        outcomes.len(),
        begun.elapsed().as_secs(),
        outcomes.len() - wrong.len()
    );
    assert!(wrong.is_empty(), "these ended otherwise, as told above: {wrong:#?}");
    assert!(4 * died >= 3 * outcomes.len(), "{died} leaders died of {} that were meant to", outcomes.len());
}
