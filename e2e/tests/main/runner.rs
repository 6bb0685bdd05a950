//! Runs scenarios side by side, each in a namespace of its own, and says how long each took.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use e2e::{Cluster, Error, Hub, report};
use futures::FutureExt;
use futures::future::LocalBoxFuture;

use crate::scene::Scene;

/// A scenario and its name, which is also that of its namespace.
pub struct Scenario {
    name: &'static str,
    run: Box<dyn Fn(Scene) -> LocalBoxFuture<'static, Result<(), Error>> + Send + Sync>,
}

/// Names an async function as a scenario.
pub fn scenario<F>(name: &'static str, run: fn(Scene) -> F) -> Scenario
where
    F: Future<Output = Result<(), Error>> + 'static,
{
    Scenario { name, run: Box::new(move |scene| run(scene).boxed_local()) }
}

/// What every scenario shares.
pub struct World {
    pub kubectl: PathBuf,
    pub kubeconfig: PathBuf,
    pub hub: Hub,
    pub node: dev_cluster::Cluster,
}

impl World {
    /// The cluster, for requests outside of any scenario.
    pub fn connect(&self) -> Result<Cluster, Error> {
        // kubectl is all that is used of it, so its client needs no runtime that lives on.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be made").block_on(Cluster::connect(&self.kubectl, &self.kubeconfig))
    }
}

/// Which scenarios to run: those whose name contains one of these words, or all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    words: Vec<String>,
    pub list: bool,
}

impl Filter {
    /// Reads the words behind `cargo test … --`. Options other than `--list` mean nothing here.
    pub fn from_arguments() -> Self {
        let (options, words): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|word| word.starts_with("--"));
        Self { words, list: options.iter().any(|option| option == "--list") }
    }

    pub fn keeps_all(&self) -> bool {
        self.words.is_empty()
    }

    pub fn keeps(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }
}

/// Prints the names of scenarios as cargo's own harness does.
pub fn list(scenarios: &[Scenario]) {
    for scenario in scenarios {
        println!("{}: test", scenario.name);
    }
}

/// Whether the filter keeps any of these.
pub fn any(filter: &Filter, scenarios: &[Scenario]) -> bool {
    scenarios.iter().any(|scenario| filter.keeps(scenario.name))
}

/// Runs the scenarios that the filter keeps, at most `at_once` side by side. Gives the names of those that failed.
pub fn run(world: &World, filter: &Filter, at_once: usize, scenarios: Vec<Scenario>) -> Vec<&'static str> {
    let kept: VecDeque<_> = scenarios.into_iter().filter(|scenario| filter.keeps(scenario.name)).collect();
    let waiting = Mutex::new(kept);
    let failed = Mutex::new(Vec::new());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(scenario) = next() {
                    let start = Instant::now();
                    let succeeded = passes(world, &scenario);
                    let verdict = if succeeded { "ok" } else { "FAILED" };
                    println!("test {} ... {verdict} ({:.1} s)", scenario.name, start.elapsed().as_secs_f32());
                    if !succeeded {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(scenario.name);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn passes(world: &World, scenario: &Scenario) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    let namespace = scenario.name.replace('_', "-");
    let cluster = match runtime.block_on(Cluster::connect(&world.kubectl, &world.kubeconfig)) {
        Ok(cluster) => cluster,
        Err(error) => return refuted(scenario, &error.to_string()),
    };
    let scene = Scene {
        cluster: cluster.clone(),
        hub: world.hub.clone(),
        node: world.node.clone(),
        namespace: namespace.clone(),
        unsteady: false,
    };
    let result = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            cluster.run(&["create", "namespace", &namespace])?;
            (scenario.run)(scene).await
        })
    }));
    match result {
        Ok(Ok(())) => {
            // What a failed scenario left stays to be looked at until the node ends.
            let _ = cluster.run(&["delete", "namespace", &namespace, "--wait=false"]);
            true
        }
        Ok(Err(error)) => refuted(scenario, &format!("{error}{}", causes(&error))),
        // The panic's own message was printed when it happened.
        Err(_) => refuted(scenario, &report::namespace(&cluster, &namespace)),
    }
}

fn refuted(scenario: &Scenario, why: &str) -> bool {
    eprintln!("---- {} ----\n{why}\n", scenario.name);
    false
}

/// The errors behind an error.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
