//! Files to serve: small made-up models, and a real one from a package registry. Real clients and servers to test with.

mod clients;
mod made_up;
mod minilm;
mod programs;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;

pub use clients::python_clients;
pub use made_up::{made_up, random_file, random_safetensors};
pub use minilm::{MINILM, minilm, minilm_folder};
pub use programs::GoProgram;

use crate::Error;

/// Where downloads are kept between runs: `$XDG_CACHE_HOME` or `~/.cache`, then `model-platform/fixtures`.
///
/// # Errors
/// Neither variable is set, or the folder cannot be created.
pub fn cache() -> Result<PathBuf, Error> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let base = base.ok_or_else(|| Error::Program {
        doing: "find the cache folder".to_owned(),
        reason: "set HOME or XDG_CACHE_HOME".to_owned(),
    })?;
    let folder = base.join("model-platform/fixtures");
    std::fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
    Ok(folder)
}

/// Makes `cache()/name` with `make` unless an earlier call did. Processes that want the same
/// wait for each other; a folder that was left half made is made again.
fn once(name: &str, make: impl FnOnce(&Path) -> Result<(), Error>) -> Result<PathBuf, Error> {
    let cache = cache()?;
    let folder = cache.join(name);
    let marker = cache.join(format!("{name}.complete"));
    let lock_path = cache.join(format!("{name}.lock"));
    let lock = File::create(&lock_path).map_err(Error::file("create", &lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            tracing::info!(name, "waiting for another process to make a fixture");
            lock.lock().map_err(Error::file("lock", &lock_path))?;
        }
        Err(TryLockError::Error(error)) => return Err(Error::file("lock", &lock_path)(error)),
    }
    if marker.exists() && folder.exists() {
        return Ok(folder);
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(Error::file("remove", &folder))?;
    }
    make(&folder)?;
    std::fs::write(&marker, "").map_err(Error::file("write", &marker))?;
    Ok(folder)
}

/// Runs a program to its end. Its output is shown only if it fails.
fn run(doing: &str, command: &mut Command) -> Result<(), Error> {
    let failed = |reason| Error::Program { doing: doing.to_owned(), reason };
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| failed(format!("{program}: {error}; is it installed?")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{program} ended with {}: {}", output.status, said.trim())))
}
