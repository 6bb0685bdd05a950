//! The folder in memory for models and downloads.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A fresh folder that goes when this value is dropped or the process ends, killed or not: what it holds is gigabytes of
/// memory, so a bench that was interrupted must not leave it.
pub struct WorkFolder {
    path: PathBuf,
    /// Waits for the end of its standard input, which is the end of this process, and removes the folder.
    remover: Child,
}

impl WorkFolder {
    /// Creates it in `parent`.
    ///
    /// # Errors
    /// The folder cannot be created, or no shell can be started.
    pub fn create(parent: &Path) -> io::Result<Self> {
        let path = tempfile::Builder::new().prefix("bench-loader-").tempdir_in(parent)?.keep();
        let remover = Command::new("sh")
            .args(["-c", r#"cat >/dev/null; rm -rf -- "$0""#])
            .arg(&path)
            .stdin(Stdio::piped())
            // Of its own, so that Ctrl-C does not end it too.
            .process_group(0)
            .spawn();
        match remover {
            Ok(remover) => Ok(Self { path, remover }),
            Err(error) => {
                fs::remove_dir(&path)?;
                Err(error)
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        // `wait` closes the standard input first. If it fails, the end of this process does the same.
        let _ = self.remover.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_all_that_is_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = WorkFolder::create(parent.path()).unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/file"), "content").unwrap();
        drop(folder);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
