//! Programs that are run to their end, with an error that says what they said.

use std::process::{Command, Stdio};

/// A program that could not be run, or failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The program is not there or cannot be started.
    #[error("could not {doing}: {program} cannot be run")]
    Start {
        /// What was being done.
        doing: String,
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It ended with an error.
    #[error("could not {doing}: {output}")]
    Failed {
        /// What was being done.
        doing: String,
        /// The end of what it wrote.
        output: String,
    },
}

/// Longest part of a program's output that an error repeats, in lines.
const QUOTED_LINES: usize = 20;

/// Runs a program to its end and gives its standard output.
///
/// # Errors
/// When it cannot be started or fails; the error ends with the last lines that it wrote.
pub fn run(doing: &str, command: &mut Command) -> Result<String, CommandError> {
    let output = command.stdin(Stdio::null()).output().map_err(|source| CommandError::Start {
        doing: doing.to_owned(),
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    let lines: Vec<_> = said.trim().lines().collect();
    let end = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n");
    Err(CommandError::Failed { doing: doing.to_owned(), output: format!("{}\n{end}", output.status) })
}
