//! One loader at a time in a staging directory.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    time::Duration,
};

use super::Place;
use crate::{Error, manifest::Manifest};

/// How often a loader that waits for another one looks again.
const LOCK_POLL: Duration = Duration::from_millis(500);
/// Links are never followed where a name is known to be ours.
pub(crate) const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// Locks the staging directory, which is created where it is absent. `None` once the place is published.
pub(super) async fn lock(place: &Place) -> Result<Option<File>, Error> {
    let (staging, path) = (&place.staging, place.staging.join("lock"));
    let mut told = false;
    loop {
        if Manifest::path(&place.dir).exists() {
            return Ok(None);
        }
        fs::create_dir_all(staging).map_err(|error| Error::io("create", staging, error))?;
        let file = match open_lock(&path) {
            Ok(file) => file,
            // The loader that had the directory has just removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("open", &path, error)),
        };
        match file.try_lock() {
            // A lock on a file that was removed meanwhile keeps nobody out.
            Ok(()) if is_still(&file, &path) => return Ok(Some(file)),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                if !told {
                    tracing::info!(staging = %staging.display(), "another loader works here; waits for it");
                    told = true;
                }
                tokio::time::sleep(LOCK_POLL).await;
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path, error)),
        }
    }
}

/// Opens the lock file, which is created where it is absent.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).custom_flags(NOFOLLOW).open(path)
}

fn is_still(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(held), Ok(found)) => (held.dev(), held.ino()) == (found.dev(), found.ino()),
        _ => false,
    }
}
