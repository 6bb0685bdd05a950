//! The binary: reads the command line, runs the library, reports how it ended.

mod cli;
mod run;

use std::{io::IsTerminal as _, process::exit};

use clap::Parser;
use tracing_subscriber::EnvFilter;

/// Exit code of a command line that is wrong.
const WRONG_USE: i32 = 64;

fn main() -> anyhow::Result<()> {
    let cli = cli::Cli::try_parse().unwrap_or_else(|error| {
        // Help and version come this way too, and are no mistake.
        let code = if error.use_stderr() { WRONG_USE } else { 0 };
        let _ = error.print();
        exit(code)
    });
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(run::run(cli.command));
    // Not by leaving main: a task that writes to a dead volume must not keep the process.
    exit(code.into())
}
