//! Nothing is lost by dying: a controller that is killed at any of its writes, on either side of it, ends up where it
//! would have ended up otherwise.
//!
//! Each history is played once with a controller that lives, which counts the writes; then once for each write and
//! side with a controller that dies there and another one that takes its place. `MODEL_CONTROLLER_KILLS=all` tries all of
//! them, a number that many, chosen by `MODEL_CONTROLLER_KILLS_SEED`.

mod cluster;
mod histories;
mod mortal;
mod past;
mod picture;
mod stage;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dev_cluster::ControlPlane;
use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use model_controller::controller;
use model_watch::Namespaces;
use serde_json::json;

use crate::plane::{install, settings};
use histories::{HISTORIES, History};
use mortal::{Kill, Lives, Side};
use picture::Picture;
use stage::Stage;

/// Runs at once.
const AT_ONCE: usize = 6;
/// How many kills are tried unless more are asked for.
const KILLS: usize = 60;
/// For so long nothing was written: the controller is done.
const QUIET: Duration = Duration::from_millis(300);
/// A controller that failed waits for its next pass; one that lives has nothing to wait for after so long.
const SETTLED: Duration = Duration::from_millis(1500);
/// A history that is over and never came to the write.
const NEVER: Duration = Duration::from_secs(3);
/// How long the end of a disturbed history may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A history with or without a kill.
struct Run<'a> {
    history: &'a History,
    kill: Option<Kill>,
    undisturbed: Option<&'a Picture>,
}

/// What came of it.
struct Outcome {
    label: String,
    writes: usize,
    /// The write at which the controller died, for people.
    killed_at: Option<String>,
    picture: Picture,
    /// What is wrong with it.
    wrongs: Vec<String>,
}

impl Run<'_> {
    fn label(&self) -> String {
        let name = self.history.name.replace('_', "-");
        match self.kill {
            Some(Kill { write, side }) => format!("{name}-{write}-{side:?}"),
            None => name,
        }
    }

    async fn play(&self, config: &Config, admin: Client) -> Outcome {
        let label = self.label();
        let stage = Arc::new(Stage::new(admin, &label).await);
        stage.cluster.past().at_once = self.history.at_once;
        let witness = stage.cluster.clone();
        let lives = Lives::new(self.kill, Arc::new(move |write| witness.witness(write)));
        let (namespace, at_once) = (stage.namespace.clone(), self.history.at_once);
        let running = tokio::spawn({
            let (lives, config, cluster) = (lives.clone(), config.clone(), stage.cluster.clone());
            async move {
                let start = |client: Client| {
                    let controller = controller(client, settings())
                        .with_namespaces(Namespaces::new([namespace.clone()]))
                        .with_max_concurrent_downloads(at_once);
                    async move { controller.run_until(std::future::pending()).await.expect("it has no lease to lose") }
                };
                futures::join!(lives.run(&config, start), cluster.watch_jobs());
            }
        });
        (self.history.play)(&stage).await;
        let (picture, mut wrongs) = self.end(&stage, &lives).await;
        running.abort();
        wrongs.append(&mut stage.cluster.past().wrongs);
        let killed_at = lives.killed_at().map(|write| write.to_string());
        if !wrongs.is_empty() {
            println!("{label}, killed at {killed_at:?}: {wrongs:#?}");
        }
        Outcome { label, writes: lives.writes(), killed_at, picture, wrongs }
    }

    /// Waits until the end is the undisturbed one and stays so. Without one to compare with: until nothing happens.
    async fn end(&self, stage: &Stage, lives: &Lives) -> (Picture, Vec<String>) {
        let begun = Instant::now();
        let (mut writes, mut picture, mut since) = (lives.writes(), Picture::of(stage).await, Instant::now());
        loop {
            stage.cluster.round().await;
            let now = (lives.writes(), Picture::of(stage).await);
            if now != (writes, picture.clone()) {
                ((writes, picture), since) = (now, Instant::now());
            }
            let Some(undisturbed) = self.undisturbed else {
                if since.elapsed() >= SETTLED {
                    return (picture, Vec::new());
                }
                tokio::time::sleep(QUIET / 6).await;
                continue;
            };
            let differences = picture.differences(undisturbed);
            let died = lives.killed_at().is_some();
            if differences.is_empty() && since.elapsed() >= if died { QUIET } else { NEVER } {
                return (picture, differences);
            }
            // What nobody works on any more does not come right.
            if since.elapsed() >= NEVER || begun.elapsed() >= PATIENCE {
                return (picture, differences);
            }
            tokio::time::sleep(QUIET / 6).await;
        }
    }
}

/// Plays runs, several at once, and gives what came of each.
async fn play<'a>(runs: Vec<Run<'a>>, config: &Config, admin: &Client) -> Vec<Outcome> {
    let one = |run: Run<'a>| {
        let (config, admin) = (config.clone(), admin.clone());
        async move {
            let label = run.label();
            std::panic::AssertUnwindSafe(run.play(&config, admin)).catch_unwind().await.map_err(|_| label)
        }
    };
    let outcomes: Vec<_> = stream::iter(runs).map(one).buffer_unordered(AT_ONCE).collect().await;
    let (played, broken): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    let broken: Vec<_> = broken.into_iter().filter_map(Result::err).collect();
    assert!(broken.is_empty(), "these did not come to their end: {broken:#?}");
    played.into_iter().filter_map(Result::ok).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_at_any_write_ends_where_it_would_have_ended_anyway() {
    let plane = tokio::task::spawn_blocking(|| ControlPlane::start().expect("a control plane starts"));
    let plane = plane.await.expect("it starts");
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).expect("its kubeconfig is there");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config");
    let admin = Client::try_from(config.clone()).expect("a client");
    install(&admin).await;
    let growing = json!({ "metadata": { "name": "growing" }, "provisioner": "nobody", "allowVolumeExpansion": true });
    let growing: StorageClass = serde_json::from_value(growing).expect("a class");
    Api::all(admin.clone()).create(&PostParams::default(), &growing).await.expect("the class is accepted");

    let wanted = std::env::var("MODEL_CONTROLLER_KILLS_HISTORY").unwrap_or_default();
    let histories: Vec<_> = HISTORIES.iter().filter(|history| history.name.contains(&wanted)).collect();
    let begun = Instant::now();
    let undisturbed = histories.iter().map(|history| Run { history, kill: None, undisturbed: None }).collect();
    let mut undisturbed = play(undisturbed, &config, &admin).await;
    undisturbed.sort_by_key(|outcome| outcome.label.clone());
    let mut kills = Vec::new();
    for history in &histories {
        let label = history.name.replace('_', "-");
        let outcome = undisturbed.iter().find(|outcome| outcome.label == label).expect("it was played");
        assert!(outcome.wrongs.is_empty(), "{label}, undisturbed: {:#?}", outcome.wrongs);
        for write in 1..=outcome.writes {
            for side in [Side::Before, Side::After] {
                kills.push(Run { history, kill: Some(Kill { write, side }), undisturbed: Some(&outcome.picture) });
            }
        }
    }
    let all = kills.len();
    let outcomes = play(chosen(kills), &config, &admin).await;
    let died = outcomes.iter().filter(|outcome| outcome.killed_at.is_some()).count();
    let kept = outcomes.iter().filter(|outcome| outcome.wrongs.is_empty()).count();
    let seconds = begun.elapsed().as_secs();
    println!(
        "{} of {all} kills tried over {} histories in {seconds} s: {died} controllers died, {kept} ends as undisturbed",
        outcomes.len(),
        histories.len()
    );
    let wrong: Vec<_> = outcomes.iter().filter(|outcome| !outcome.wrongs.is_empty()).map(|one| &one.label).collect();
    assert!(wrong.is_empty(), "these ended otherwise, as told above: {wrong:#?}");
    // A write that was counted and did not come again was the second try of one that somebody else's write had crossed.
    assert!(4 * died >= 3 * outcomes.len(), "{died} controllers died of {} that were meant to", outcomes.len());
}

/// The kills that are tried.
fn chosen(mut kills: Vec<Run<'_>>) -> Vec<Run<'_>> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if std::env::var("MODEL_CONTROLLER_KILLS").is_ok_and(|kills| kills == "all") {
        return kills;
    }
    let mut state: u64 = number("MODEL_CONTROLLER_KILLS_SEED").unwrap_or(1);
    let wanted = number("MODEL_CONTROLLER_KILLS").map_or(KILLS, |count| usize::try_from(count).unwrap_or(KILLS));
    // A shuffle by SplitMix64.
    for last in (1..kills.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let other = (mixed ^ (mixed >> 31)) % (last as u64 + 1);
        kills.swap(last, usize::try_from(other).unwrap_or(0));
    }
    kills.truncate(wanted);
    kills
}
