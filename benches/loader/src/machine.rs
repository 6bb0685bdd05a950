//! The machine that figures are from, and whether it has room for a model.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::error::Error;

/// What a reader of the figures wants to know of the machine.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    /// GiB of memory.
    pub memory_gib: u64,
    pub kernel: String,
    /// Processes that ran or wanted to, on average over the minute before the bench.
    pub load_before: f64,
}

impl Machine {
    /// This machine, now. What cannot be found out is empty or 0.
    pub fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let cpu = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
        Self {
            cpu: cpu.map(|(_, name)| name.trim().to_owned()).unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: memory("MemTotal") >> 30,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        }
    }
}

/// Checks that `folder` and the memory hold the model twice, served and downloaded, and a GiB for clients.
///
/// # Errors
/// They do not, or the folder cannot be looked at.
pub fn has_room(folder: &Path, model: u64) -> Result<(), Error> {
    let needed = 2 * model + (1 << 30);
    let system = rustix::fs::statvfs(folder).map_err(|error| Error::at("look at", folder)(error.into()))?;
    let (disk, memory) = (system.f_bavail * system.f_frsize, memory("MemAvailable"));
    for (free, what) in [(disk, format!("free space in {}", folder.display())), (memory, "free memory".to_owned())] {
        if free < needed {
            let (needed, free) = (needed >> 20, free >> 20);
            let advice = "choose smaller models with --shrink, or other --scenarios";
            return Err(Error::Unfit(format!("needs {needed} MiB of {what}, which are {free} MiB: {advice}")));
        }
    }
    Ok(())
}

/// A line of `/proc/meminfo`, in bytes.
fn memory(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
