//! Last step: make what was fetched visible, whole or not at all.
//!
//! Where the directory can be replaced, publishing is one rename of the staging tree to it. A directory that is a mount
//! point, or whose parent is not writable, cannot be replaced: its files are moved in one by one, and **the manifest,
//! moved in last, is the mark of completeness**. A run that dies in between is taken back by the next one.

mod earlier;
mod lock;
mod place;
mod release;
mod seal;
mod staging;

pub(crate) use earlier::Earlier;
pub(crate) use lock::{NOFOLLOW, open_lock};
pub(crate) use place::{Place, hidden_name};
pub(crate) use release::{remove_file, tidy};
pub(crate) use seal::{remove_tree, sync};
pub(crate) use staging::{Staging, UNSYNCED};

use std::{fs, path::Path};

use model_core::reason::Reason;

use crate::{Error, manifest::Manifest};

/// The manifest of `dir` if this very request is published there, after a look at all sizes.
///
/// # Errors
/// Files of the published directory are gone or have another size; or something else than this request is published.
pub(crate) fn published(dir: &Path, request: &str) -> Result<Option<Manifest>, Error> {
    let Some(manifest) = Manifest::read(dir)? else { return Ok(None) };
    if manifest.request != request {
        let message = format!("{} holds {} already: choose another directory", dir.display(), manifest.source);
        return Err(Error::new(Reason::WrongUse, message));
    }
    for file in &manifest.files {
        let size =
            fs::symlink_metadata(file.path.below(dir)).ok().filter(fs::Metadata::is_file).map(|found| found.len());
        if size != Some(file.size) {
            let message =
                format!("{} was published in {} and is damaged now: remove the directory", file.path, dir.display());
            return Err(Error::new(Reason::ChecksumMismatch, message));
        }
    }
    Ok(Some(manifest))
}

#[cfg(test)]
mod tests;
