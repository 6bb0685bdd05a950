//! Running a client and measuring what it takes.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::client::Invocation;

/// What a process and its children took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Usage {
    /// Seconds from start to end.
    pub wall: f64,
    /// CPU-seconds in user space.
    pub user: f64,
    /// CPU-seconds in the kernel.
    pub system: f64,
    /// Largest resident set of one process, in KiB.
    pub peak_kib: u64,
}

impl Usage {
    /// CPU-seconds in user space and kernel.
    pub fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// How a client ended.
pub enum Ended {
    /// With exit code 0.
    Well(Usage),
    /// Otherwise: what it said, the last lines of it.
    Badly(String),
}

/// Runs a client to its end, or to the end of its time. It is measured by GNU time, a small process of its own: the peak
/// of a process counts from its fork, when it still has its parent's memory.
///
/// # Errors
/// A file in `scratch` cannot be written or read, or GNU time cannot be started.
pub fn run(invocation: &Invocation, scratch: &Path, limit: Duration) -> io::Result<Ended> {
    let (said, usage) = (scratch.join("said"), scratch.join("usage"));
    let output = File::create(&said)?;
    let mut command = Command::new("/usr/bin/time");
    command.args(["--quiet", "--format=%U %S %M", "--output"]).arg(&usage);
    command.args(["timeout", "--foreground", "--signal=KILL", &limit.as_secs().to_string()]);
    command.arg(&invocation.program).args(&invocation.arguments);
    command.env_clear().envs(invocation.environment.iter().map(|(name, value)| (*name, value)));
    command.stdin(std::process::Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let start = Instant::now();
    let status = command.status()?;
    let wall = start.elapsed();
    if !status.success() {
        let said = String::from_utf8_lossy(&fs::read(said)?).into_owned();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(10)..].join("\n");
        let late = if wall >= limit { format!(" after its {} s", limit.as_secs()) } else { String::new() };
        return Ok(Ended::Badly(format!("{status}{late}\n{last}")));
    }
    let text = fs::read_to_string(usage)?;
    parse(&text, wall).map(Ended::Well).ok_or_else(|| io::Error::other(format!("GNU time wrote {text:?}")))
}

fn parse(text: &str, wall: Duration) -> Option<Usage> {
    let mut numbers = text.split_whitespace();
    let mut seconds = || numbers.next()?.parse().ok();
    let (user, system) = (seconds()?, seconds()?);
    Some(Usage { wall: wall.as_secs_f64(), user, system, peak_kib: numbers.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_gnu_time_is_read() {
        let usage = parse("1.25 0.50 20480\n", Duration::from_millis(1500)).unwrap();
        assert_eq!(usage, Usage { wall: 1.5, user: 1.25, system: 0.5, peak_kib: 20_480 });
        assert!((usage.cpu() - 1.75).abs() < 1e-9);
        assert_eq!(parse("Command exited with non-zero status 1", Duration::ZERO), None);
    }
}
