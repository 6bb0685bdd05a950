//! Makes trees read-only and durable, and takes both back.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::Error;

/// Mode of published directories, whatever the umask.
const SEALED_DIR: u32 = 0o555;
/// Mode of directories that are worked in.
const OPEN_DIR: u32 = 0o755;

/// Makes all directories below `dir` read-only and syncs them and `dir` itself, whose own mode is left.
pub(super) fn seal_below(dir: &Path) -> Result<(), Error> {
    for inner in subdirectories(dir)? {
        seal_below(&inner)?;
        seal(&inner)?;
    }
    sync(dir)
}

/// Makes one directory read-only.
pub(super) fn seal(dir: &Path) -> Result<(), Error> {
    set_mode(dir, SEALED_DIR)?;
    sync(dir)
}

/// Makes `dir` and all directories below it writable for us again.
pub(super) fn unseal(dir: &Path) -> Result<(), Error> {
    set_mode(dir, OPEN_DIR)?;
    subdirectories(dir)?.iter().try_for_each(|inner| unseal(inner))
}

/// Removes a tree, read-only directories too. Absent is fine.
pub(crate) fn remove_tree(dir: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(dir) {
        Ok(found) if found.is_dir() => unseal(dir)?,
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("look at", dir, error)),
    }
    fs::remove_dir_all(dir).map_err(|error| Error::io("remove", dir, error))
}

/// Makes entries of a directory survive a crash.
pub(crate) fn sync(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| Error::io("sync", dir, error))
}

/// Sets the mode, unless it is that already: only the owner may set it.
fn set_mode(dir: &Path, mode: u32) -> Result<(), Error> {
    let set = || {
        let found = fs::symlink_metadata(dir)?.permissions().mode() & 0o7777;
        if found == mode { Ok(()) } else { fs::set_permissions(dir, Permissions::from_mode(mode)) }
    };
    set().map_err(|error| Error::io("set the mode of", dir, error))
}

/// The directories in a directory. Links are not followed.
fn subdirectories(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let list = || {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                found.push(entry.path());
            }
        }
        Ok(found)
    };
    list().map_err(|error| Error::io("list", dir, error))
}
