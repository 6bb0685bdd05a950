//! A program under test, and what it takes.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Ticks of `/proc/PID/stat` in a second: `USER_HZ`, which Linux has kept at 100 on every architecture that Rust knows.
const TICKS_PER_SECOND: f64 = 100.0;

/// A program that runs until it is dropped.
pub struct Process {
    child: Child,
    name: String,
}

/// What a process has taken so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU-seconds in user space and kernel.
    pub cpu: f64,
    /// Resident memory now, in MiB.
    pub now: f64,
    /// The most that was resident at any time, in MiB.
    pub peak: f64,
}

impl Process {
    /// Starts a program; its log goes to `log`.
    pub fn start(program: &Path, arguments: &[String], log: &Path) -> anyhow::Result<Self> {
        let name = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let log = File::create(log).with_context(|| format!("could not write {}", log.display()))?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("could not start {}: build it for release first", program.display()))?;
        Ok(Self { child, name })
    }

    /// Waits until `http://127.0.0.1:PORT/readyz` says 200.
    pub async fn is_ready(&mut self, health_port: u16) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !crate::http::is_ok(health_port, "/readyz").await {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended: {status}", self.name);
            }
            if Instant::now() > deadline {
                bail!("{} is not ready after two minutes", self.name);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// What it has taken since it started.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let read = |file: &str| {
            let path = format!("/proc/{}/{file}", self.child.id());
            fs::read_to_string(&path).with_context(|| format!("could not read {path}: has {} ended?", self.name))
        };
        let (stat, status) = (read("stat")?, read("status")?);
        let usage = cpu(&stat).zip(memory(&status, "VmRSS").zip(memory(&status, "VmHWM")));
        let (cpu, (now, peak)) = usage.with_context(|| format!("could not make sense of /proc of {}", self.name))?;
        Ok(Usage { cpu, now, peak })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time of a line of `/proc/PID/stat`, in seconds.
#[expect(clippy::cast_precision_loss, reason = "ticks of a bench")]
fn cpu(stat: &str) -> Option<f64> {
    // The name in parentheses may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut ticks = fields.split(' ').skip(11).map(|field| field.parse::<u64>().ok());
    Some((ticks.next()?? + ticks.next()??) as f64 / TICKS_PER_SECOND)
}

/// A line of `/proc/PID/status`, in MiB.
fn memory(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_process_are_read() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 5 0 100 1 1 1\n";
        assert_eq!(cpu(stat), Some(2.0));
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1536 kB\n";
        assert_eq!((memory(status, "VmRSS"), memory(status, "VmHWM")), (Some(1.5), Some(2.0)));
        assert_eq!(memory(status, "VmSwap"), None);
    }
}
