//! `kubectl model`: Models for people.
//!
//! What is said is a function of objects: [`why`] turns a look at the cluster into findings, [`list`], [`usage`] and [`check`] into
//! tables, [`progress`] into the line and the bar. What talks to the cluster is thin and stands around that. Text that
//! others wrote into the cluster goes through [`text`], so that it cannot draw on the terminal, and credentials in
//! addresses are left out.
//!
//! Exit codes: 0 done, or the Model is ready; 1 it failed, is not ready or is damaged, or the cluster refused; 2 wrong
//! use.

pub mod check;
mod cli;
mod cluster;
mod command;
mod error;
pub mod list;
pub mod progress;
pub mod source;
mod suggest;
mod table;
pub mod text;
pub mod usage;
pub mod why;
mod wish;

use std::process::ExitCode;

pub use cli::Cli;
pub use error::Error;

/// Runs one command line and says how it ended, errors on standard error.
pub async fn run(cli: Cli) -> ExitCode {
    match Box::pin(command::run(cli)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            text::complain(&error);
            error.exit_code()
        }
    }
}
