//! Runs a program to its end and keeps what it said for the error message.

use std::process::{Command, Stdio};

use crate::Error;

/// Runs `program` with `args` and returns its standard output.
///
/// # Errors
/// [`Error::Io`] when the program cannot be started, [`Error::Command`] with its output when it fails.
pub(crate) fn run(doing: &str, program: &str, args: &[&str]) -> Result<String, Error> {
    output(doing, Command::new(program).args(args))
}

/// Like [`run`], for a prepared command. Standard input is empty.
pub(crate) fn output(doing: &str, command: &mut Command) -> Result<String, Error> {
    let out = command.stdin(Stdio::null()).output().map_err(Error::io(doing))?;
    let stdout = String::from_utf8_lossy(&out.stdout).into_owned();
    if out.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&out.stderr);
    Err(Error::Command { doing: doing.to_owned(), output: format!("{}{stdout}", stderr.trim_end()) })
}
