//! Where a model goes, and where it is prepared so that the last step is as small as possible.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use model_core::reason::Reason;
use rustix::fs::{Access, AtFlags, CWD, StatxAttributes, StatxFlags};

use crate::{Error, name::HIDDEN_DIR};

/// A directory that a model is to be published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The directory, absolute.
    pub(crate) dir: PathBuf,
    /// Where files are prepared. On the same file system.
    pub(crate) staging: PathBuf,
    /// Whether files are moved into `dir`, which stays, or a whole directory is renamed to it.
    pub(crate) mounted: bool,
}

impl Place {
    /// Looks at the directory and its parent. Writes nothing.
    pub(crate) fn find(to: &Path) -> Result<Self, Error> {
        let dir = absolute(to)?;
        let wrong = |why: &str| Err(Error::new(Reason::WrongUse, format!("{} {why}", dir.display())));
        let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
            return wrong("is the root of the file system: name a directory");
        };
        let exists = match fs::symlink_metadata(&dir) {
            Ok(found) if found.is_dir() => true,
            Ok(_) => return wrong("is not a directory"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(Error::io("look at", &dir, error)),
        };
        let mounted = exists && (is_mount_point(&dir) || !is_writable(parent));
        let staging = if mounted {
            dir.join(HIDDEN_DIR)
        } else {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(".partial");
            parent.join(hidden)
        };
        Ok(Self { dir, staging, mounted })
    }

    /// Refuses a directory that holds anything that is not ours. An absent one is empty.
    pub(crate) fn check_empty(&self) -> Result<(), Error> {
        if self.mounted && self.staging.join("publishing").exists() {
            // A publication that was interrupted is taken back before anything else.
            return Ok(());
        }
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("look at", &self.dir, error)),
        };
        for entry in entries {
            let name = entry.map_err(|error| Error::io("look at", &self.dir, error))?.file_name();
            // Many file systems are born with this directory.
            let ours = name == "lost+found" || (self.mounted && name == HIDDEN_DIR);
            if !ours {
                let message = format!(
                    "{} is not empty and was not published by this loader (it holds {}): choose another directory",
                    self.dir.display(),
                    name.display(),
                );
                return Err(Error::new(Reason::WrongUse, message));
            }
        }
        Ok(())
    }
}

/// The path with links resolved as far as it exists.
fn absolute(to: &Path) -> Result<PathBuf, Error> {
    if let Ok(real) = fs::canonicalize(to) {
        return Ok(real);
    }
    let unusable = |error| Error::io("use the directory", to, error);
    let whole = std::path::absolute(to).map_err(unusable)?;
    if whole.components().any(|part| matches!(part, std::path::Component::ParentDir)) {
        return Err(Error::new(Reason::WrongUse, format!("{} does not exist: write it without '..'", to.display())));
    }
    Ok(whole)
}

/// Whether another file system, or another part of one, begins here. A rename cannot replace such a directory.
fn is_mount_point(dir: &Path) -> bool {
    rustix::fs::statx(CWD, dir, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn is_writable(dir: &Path) -> bool {
    rustix::fs::accessat(CWD, dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}
