//! Measures `model-loader` and other downloaders side by side: wall time, CPU, peak memory, bytes that the server sent.
//!
//! Every client is a process of its own that downloads the same model from the same server on the loopback interface
//! into a fresh folder in memory (`/dev/shm`). The server uses `sendfile`, so that it costs little beside the client. It
//! speaks plain HTTP in three protocols: plain files, the Hugging Face hub and S3. The clients take turns in rounds;
//! figures are medians. After each download, outside of the measured time, the files are compared byte for byte with
//! the model. What the peers do not do, the digests of what came, is then measured apart, with `openssl`.
//!
//! `make bench` installs the peers (`benches/loader/peers/install`), builds everything for release and measures all; on
//! two cores that takes about twenty minutes. A quick look: `bench-loader --shrink 16 --rounds 1 --clients
//! model-loader,curl`.
//!
//! Memory: the largest model is 4 GiB and is there twice, served and downloaded, so about 10 GiB must be free.

mod bench;
mod check;
mod client;
mod error;
mod machine;
mod measure;
mod model;
mod report;
mod scenario;
mod server;
mod verify;
mod work_folder;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum};

use bench::{Plan, Results};
use client::{Client, Programs};
use machine::Machine;
use report::Report;
use scenario::Scenario;

/// Measures model-loader and other downloaders side by side. Prints Markdown tables of medians.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// What to measure. All by default.
    #[arg(long, value_delimiter = ',')]
    scenarios: Vec<Scenario>,
    /// With which clients. All by default.
    #[arg(long, value_delimiter = ',')]
    clients: Vec<Client>,
    /// Downloads by each client in each scenario.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Smaller models: the number or else the size of their files is divided by this.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    shrink: u64,
    /// Binary of model-loader. By default the one beside this program.
    #[arg(long)]
    model_loader: Option<PathBuf>,
    /// Folder of the installed peers. By default `model-platform/peers` in the user's cache.
    #[arg(long, env = "BENCH_PEERS")]
    peers: Option<PathBuf>,
    /// A folder in memory for models and downloads.
    #[arg(long, default_value = "/dev/shm")]
    folder: PathBuf,
    /// Seconds after which a client is ended.
    #[arg(long, default_value_t = 180)]
    limit: u64,
    /// A client that took more than this many seconds is not measured again in that scenario.
    #[arg(long, default_value_t = 30)]
    once_over: u64,
    /// File for all figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("model-loader"));
    let model_loader = cli.model_loader.map_or_else(beside, std::path::absolute)?;
    let programs = Programs { model_loader, peers: cli.peers.map_or_else(cache, Ok)? };
    let plan = Plan {
        scenarios: all_or(cli.scenarios),
        clients: all_or(cli.clients),
        rounds: cli.rounds,
        shrink: cli.shrink,
        folder: cli.folder,
        limit: Duration::from_secs(cli.limit),
        once_over: Duration::from_secs(cli.once_over),
        programs,
    };
    let mut versions = Vec::new();
    for client in &plan.clients {
        let program = client.program(&plan.programs);
        let version = client.version(&plan.programs);
        let advice = "run benches/loader/peers/install and a release build of model-loader, or choose --clients";
        versions
            .push((client.name(), version.with_context(|| format!("could not run {}: {advice}", program.display()))?));
    }
    let machine = Machine::here();
    let Results { samples, failures } = bench::run(&plan)?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = ["bench-loader".to_owned()].into_iter().chain(arguments).collect::<Vec<_>>().join(" ");
    let report = Report { machine, command, shrink: plan.shrink, versions, samples, failures };
    println!("{}", report.markdown());
    if let Some(path) = cli.json {
        let json = serde_json::to_vec_pretty(&report)?;
        std::fs::write(&path, json).with_context(|| format!("could not write {}", path.display()))?;
    }
    if !report.failures.is_empty() {
        bail!("downloads that failed: {}", report.failures.len());
    }
    Ok(())
}

fn all_or<T: ValueEnum + Clone>(chosen: Vec<T>) -> Vec<T> {
    if chosen.is_empty() { T::value_variants().to_vec() } else { chosen }
}

/// Where `peers/install` puts the peers.
fn cache() -> anyhow::Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    Ok(base.context("could not find the cache folder: set HOME or XDG_CACHE_HOME")?.join("model-platform/peers"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
