//! Where things lie on this machine, and how logs are quoted.

use std::{env, fmt::Write as _, fs, path::Path, path::PathBuf};

use crate::Error;

/// Built programs and images. Safe to delete while no cluster runs.
pub(crate) fn cache() -> Result<PathBuf, Error> {
    base("XDG_CACHE_HOME", ".cache")
}

/// One directory for each cluster that runs or died.
pub(crate) fn clusters() -> Result<PathBuf, Error> {
    base("XDG_STATE_HOME", ".local/state")
}

fn base(variable: &'static str, below_home: &str) -> Result<PathBuf, Error> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = set(variable).or_else(|| set("HOME").map(|home| home.join(below_home))).ok_or(Error::NoHome(variable))?;
    Ok(dir.join("model-platform").join("dev-cluster"))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The last `count` lines of `text`.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The end of a log file; says so when there is none.
pub(crate) fn log_tail(path: &Path) -> String {
    match fs::read(path) {
        Ok(bytes) if !bytes.is_empty() => last_lines(&String::from_utf8_lossy(&bytes), 20),
        _ => format!("(nothing in {})", path.display()),
    }
}
