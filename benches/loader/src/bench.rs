//! The rounds: every client downloads every model, in turns.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::check;
use crate::client::{Client, Download, Programs};
use crate::error::Error;
use crate::machine::has_room;
use crate::measure::{self, Ended, Usage};
use crate::model::{Model, Shape};
use crate::report::{Failure, Sample};
use crate::scenario::Scenario;
use crate::server::{Manners, Server};
use crate::verify;
use crate::work_folder::WorkFolder;

/// What to measure.
#[derive(Debug)]
pub struct Plan {
    pub scenarios: Vec<Scenario>,
    pub clients: Vec<Client>,
    pub rounds: u32,
    /// Models are smaller by this factor.
    pub shrink: u64,
    /// A folder in memory for models and downloads.
    pub folder: PathBuf,
    /// After this a client is ended.
    pub limit: Duration,
    /// A client that took longer is not measured again in that scenario.
    pub once_over: Duration,
    pub programs: Programs,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Results {
    pub samples: Vec<Sample>,
    pub failures: Vec<Failure>,
}

/// Measures. Says on standard error what it is doing.
///
/// # Errors
/// The machine has no room for a model, a client does not work even on a small model, or the system refuses something.
pub fn run(plan: &Plan) -> Result<Results, Error> {
    let work = WorkFolder::create(&plan.folder).map_err(Error::at("create a folder in", &plan.folder))?;
    warm_up(plan, work.path())?;
    let mut results = Results::default();
    let mut written: Option<Written> = None;
    for &scenario in &plan.scenarios {
        let shape = scenario.shape().shrunk(plan.shrink);
        // Another model goes first: two of the largest would not fit beside a download.
        let same = written.take().filter(|written| written.shape == shape);
        let Written { model, .. } = written.insert(match same {
            Some(same) => same,
            None => write(shape, work.path())?,
        });
        let server = Server::start(model.clone(), scenario.manners()).map_err(Error::doing("start the server"))?;
        measure(plan, scenario, model, &server, work.path(), &mut results)?;
    }
    Ok(results)
}

/// Lets every client download two small models, of small files and of weights: so that all are known to work, and are in
/// memory, before time counts.
fn warm_up(plan: &Plan, work: &Path) -> Result<(), Error> {
    for shape in [Scenario::Small.shape().shrunk(100), Scenario::Shards.shape().shrunk(256)] {
        let Written { model, .. } = &write(shape, work)?;
        let server = Server::start(model.clone(), Manners::default()).map_err(Error::doing("start the server"))?;
        for &client in &plan.clients {
            if let Outcome::Failed(reason) = once(plan, client, model, &server, work)? {
                let advice = "run benches/loader/peers/install, or choose others with --clients";
                return Err(Error::Unfit(format!("{} does not work here: {advice}\n{reason}", client.name())));
            }
        }
    }
    Ok(())
}

/// A model and what it was made from.
struct Written {
    shape: Shape,
    model: Arc<Model>,
    /// Goes, with the model's files, when this value does.
    _folder: TempDir,
}

fn write(shape: Shape, work: &Path) -> Result<Written, Error> {
    has_room(work, shape.max_bytes())?;
    eprintln!("writing the model {:?}: {} MiB", shape.name, shape.max_bytes() >> 20);
    let folder = TempDir::new_in(work).map_err(Error::at("create a folder in", work))?;
    let model = Model::write(&shape, folder.path()).map_err(Error::at("write a model into", folder.path()))?;
    Ok(Written { shape, model: Arc::new(model), _folder: folder })
}

fn measure(
    plan: &Plan,
    scenario: Scenario,
    model: &Model,
    server: &Server,
    work: &Path,
    results: &mut Results,
) -> Result<(), Error> {
    let mut done: Vec<Client> = Vec::new();
    for round in 0..plan.rounds {
        for client in order(&plan.clients, round) {
            if done.contains(&client) {
                continue;
            }
            let said = format!("{}, round {} of {}: {}", scenario.title(), round + 1, plan.rounds, client.name());
            match once(plan, client, model, server, work)? {
                Outcome::Failed(reason) => {
                    eprintln!("{said} FAILED: {reason}");
                    results.failures.push(Failure { scenario, client, round, reason });
                    done.push(client);
                }
                Outcome::Measured { usage, check, sent, requests, connections } => {
                    eprintln!("{said} {:.2} s, {:.2} CPU-s", usage.wall, usage.cpu());
                    let size = model.bytes();
                    let sample = Sample { scenario, client, round, usage, check, size, sent, requests, connections };
                    results.samples.push(sample);
                    if usage.wall > plan.once_over.as_secs_f64() {
                        done.push(client);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Each round begins with another client, and every second one goes backwards, so that none always follows the same.
fn order(clients: &[Client], round: u32) -> Vec<Client> {
    let mut order = clients.to_vec();
    if !order.is_empty() {
        order.rotate_left(round as usize % clients.len());
    }
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

enum Outcome {
    Measured { usage: Usage, check: Option<Usage>, sent: u64, requests: u64, connections: u64 },
    Failed(String),
}

/// One download into a fresh folder, compared afterwards with what was served.
fn once(plan: &Plan, client: Client, model: &Model, server: &Server, work: &Path) -> Result<Outcome, Error> {
    let folder = TempDir::new_in(work).map_err(Error::at("create a folder in", work))?;
    let (target, scratch) = (folder.path().join("target"), folder.path().join("scratch"));
    for folder in [&target, &scratch] {
        fs::create_dir(folder).map_err(Error::at("create", folder))?;
    }
    let url = server.url();
    let manners = server.manners();
    let download = Download { model, url: &url, manners, target: &target, scratch: &scratch };
    let invocation = client.command(&plan.programs, &download).map_err(Error::at("write a list into", &scratch))?;
    let before = server.counts();
    let ended = measure::run(&invocation, &scratch, plan.limit).map_err(Error::doing("run a client under GNU time"))?;
    let after = server.counts();
    let usage = match ended {
        Ended::Badly(said) => return Ok(Outcome::Failed(said)),
        Ended::Well(usage) => usage,
    };
    let difference = verify::difference(model, &target).map_err(Error::at("compare with", &model.folder))?;
    if let Some(difference) = difference {
        return Ok(Outcome::Failed(format!("exit code 0, but {difference}")));
    }
    let mut check = None;
    if !client.verifies() {
        let digests = check::digests(model, &target, &scratch).map_err(Error::at("write a list into", &scratch))?;
        match measure::run(&digests, &scratch, plan.limit).map_err(Error::doing("run openssl under GNU time"))? {
            Ended::Well(usage) => check = Some(usage),
            Ended::Badly(said) => return Ok(Outcome::Failed(format!("the digests cannot be computed: {said}"))),
        }
    }
    Ok(Outcome::Measured {
        usage,
        check,
        sent: after.bytes - before.bytes,
        requests: after.requests - before.requests,
        connections: after.connections - before.connections,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_its_turn_in_every_round_and_neighbours_change() {
        let clients = [Client::ModelLoader, Client::Curl, Client::S5cmd];
        let rounds: Vec<Vec<&str>> =
            (0..3).map(|round| order(&clients, round).into_iter().map(Client::name).collect()).collect();
        assert_eq!(
            rounds,
            [["model-loader", "curl", "s5cmd"], ["model-loader", "s5cmd", "curl"], ["s5cmd", "model-loader", "curl"]]
        );
    }
}
