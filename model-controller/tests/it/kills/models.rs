//! Models: every history, with a kill at every write, and with a conflict at each.

use std::sync::Arc;
use std::time::Instant;

use futures::{FutureExt, StreamExt, stream};
use kube::{Client, Config};
use model_controller::controller;
use model_watch::Namespaces;

use super::histories::{HISTORIES, History};
use super::mortal::{Kill, Kind, Side, Trouble};
use super::picture::Picture;
use super::settle::settle;
use super::stage::Stage;
use super::{chosen, plane};
use crate::plane::settings;

/// Runs at once.
const AT_ONCE: usize = 6;
/// How many kills are tried unless more are asked for.
const KILLS: usize = 60;

struct Run<'a> {
    history: &'a History,
    trouble: Trouble,
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
        self.trouble.label(&self.history.name.replace('_', "-"))
    }

    async fn play(&self, config: &Config, admin: Client) -> Outcome {
        let label = self.label();
        let stage = Arc::new(Stage::new(admin, &label).await);
        stage.cluster.past().at_once = self.history.at_once;
        let witness = Arc::new(stage.cluster.clone());
        let lives = self.trouble.lives(witness);
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
        let is_over = || matches!(self.trouble, Trouble::Conflicts) || lives.killed_at().is_some();
        let (picture, mut wrongs) = settle(&stage, self.undisturbed, || lives.writes(Kind::Work), is_over).await;
        running.abort();
        wrongs.extend(lives.given_up());
        wrongs.append(&mut stage.cluster.past().wrongs);
        let killed_at = lives.killed_at().map(|write| write.to_string());
        if !wrongs.is_empty() {
            println!("{label}, killed at {killed_at:?}: {wrongs:#?}");
        }
        Outcome { label, writes: lives.writes(Kind::Work), killed_at, picture, wrongs }
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
async fn a_controller_disturbed_at_any_write_ends_where_it_would_have_ended_anyway() {
    let (config, admin) = plane().await;
    let wanted = std::env::var("MODEL_CONTROLLER_KILLS_HISTORY").unwrap_or_default();
    let histories: Vec<_> = HISTORIES.iter().filter(|history| history.name.contains(&wanted)).collect();
    let begun = Instant::now();
    let undisturbed =
        histories.iter().map(|history| Run { history, trouble: Trouble::Nothing, undisturbed: None }).collect();
    let mut undisturbed = play(undisturbed, &config, &admin).await;
    undisturbed.sort_by_key(|outcome| outcome.label.clone());
    let (mut kills, mut conflicts) = (Vec::new(), Vec::new());
    for history in &histories {
        let label = history.name.replace('_', "-");
        let outcome = undisturbed.iter().find(|outcome| outcome.label == label).expect("it was played");
        assert!(outcome.wrongs.is_empty(), "{label}, undisturbed: {:#?}", outcome.wrongs);
        let run = |trouble| Run { history, trouble, undisturbed: Some(&outcome.picture) };
        kills.extend(
            Kill::each(Kind::Work, outcome.writes, &[Side::Before, Side::After]).map(|kill| run(Trouble::Dies(kill))),
        );
        conflicts.push(run(Trouble::Conflicts));
    }
    let all = kills.len();
    let outcomes = play(chosen(kills, KILLS), &config, &admin).await;
    let died = outcomes.iter().filter(|outcome| outcome.killed_at.is_some()).count();
    let kept = outcomes.iter().filter(|outcome| outcome.wrongs.is_empty()).count();
    let seconds = begun.elapsed().as_secs();
    println!(
        "{} of {all} kills tried over {} histories in {seconds} s: {died} controllers died, {kept} ends as undisturbed",
        outcomes.len(),
        histories.len()
    );
    let contested = play(conflicts, &config, &admin).await;
    let wrong = outcomes.iter().chain(&contested).filter(|outcome| !outcome.wrongs.is_empty()).map(|one| &one.label);
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "these ended otherwise, as told above: {wrong:#?}");
    // A write that was counted and did not come again was the second try of one that somebody else's write had crossed.
    assert!(4 * died >= 3 * outcomes.len(), "{died} controllers died of {} that were meant to", outcomes.len());
}
