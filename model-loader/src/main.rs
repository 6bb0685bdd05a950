//! The binary: reads the command line, runs the library, reports how it ended.

mod cli;
mod console;
mod display;
mod outcome;
mod run;
mod wrong_use;

use std::{
    io::IsTerminal as _,
    panic::{self, AssertUnwindSafe},
    process::exit,
};

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::{cli::Cli, console::Console};

/// Exit code of a fault of our own: what made it may pass.
const FAULT: u8 = 1;

fn main() {
    let cli = Cli::try_parse().unwrap_or_else(|error| exit(wrong_use::report(error)));
    outcome::leave_at_panic(cli.command.termination_log());
    let console = Console::default();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = console.clone();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(move || lines.clone())
        .init();
    let code = panic::catch_unwind(AssertUnwindSafe(|| run::run(cli.command, &console))).unwrap_or(FAULT);
    // Not by leaving main: a task that writes to a dead volume must not keep the process.
    exit(code.into())
}
