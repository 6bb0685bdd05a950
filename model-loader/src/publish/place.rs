//! Where a model goes, and where it is prepared so that the last step is as small as possible.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
};

use model_core::reason::Reason;
use rustix::fs::{Access, AtFlags, CWD, StatxAttributes, StatxFlags};

use crate::{Error, manifest::Manifest, name::HIDDEN_DIR};

/// Most names that are told of, and the longest of them in bytes: they travel in a termination message.
const MOST_OTHERS: usize = 50;
const LONGEST_OTHER: usize = 40;

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
        let staging = if mounted { dir.join(HIDDEN_DIR) } else { parent.join(hidden_name(name, "partial")) };
        Ok(Self { dir, staging, mounted })
    }

    /// What else was published beside the directory, set aside or not: its name, sorted, at most [`MOST_OTHERS`].
    pub(crate) fn others(&self) -> Vec<String> {
        let beside = self.dir.parent().filter(|_| !self.mounted).and_then(|parent| fs::read_dir(parent).ok());
        let published = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok().filter(|name| name.len() <= LONGEST_OTHER)?;
            let is_other = entry.path() != self.dir && Manifest::path(&entry.path()).exists();
            let hidden = name.strip_prefix('.');
            let aside = hidden.and_then(|name| name.strip_suffix(".trash").or_else(|| name.strip_suffix(".going")));
            let bare = aside.unwrap_or(&name);
            is_other.then(|| bare.to_owned())
        };
        let mut names: Vec<_> = beside.into_iter().flatten().flatten().filter_map(published).collect();
        names.sort();
        names.dedup();
        names.truncate(MOST_OTHERS);
        names
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

/// The name beside a directory for what is ours and not to be seen: `.NAME.KIND`.
pub(crate) fn hidden_name(name: impl AsRef<OsStr>, kind: &str) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    hidden.push(kind);
    hidden
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
