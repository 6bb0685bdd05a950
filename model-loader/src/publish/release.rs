//! From the staging tree to the published directory, in an order that a crash cannot break.

use std::{collections::BTreeSet, fs, io, path::Path};

use super::{Place, lock::open_lock, seal};
use crate::{Error, manifest::Manifest, name::HIDDEN_DIR};

/// Publishes the tree, which holds the manifest's files and nothing else, and removes the staging directory.
pub(super) fn release(place: &Place, manifest: &Manifest) -> Result<(), Error> {
    if place.mounted { move_in(place, manifest) } else { rename(place, manifest) }
}

fn rename(place: &Place, manifest: &Manifest) -> Result<(), Error> {
    let (tree, dir) = (place.staging.join("tree"), &place.dir);
    let hidden = tree.join(HIDDEN_DIR);
    fs::create_dir(&hidden).map_err(|error| Error::io("create", &hidden, error))?;
    manifest.write_file(&Manifest::path(&tree))?;
    seal::seal_below(&tree)?;
    // The tree itself stays writable until it is there: a directory that changes its parent has to be.
    fs::rename(&tree, dir).map_err(|error| Error::io("publish", dir, error))?;
    if let Some(parent) = dir.parent() {
        seal::sync(parent)?;
    }
    clear(place)
}

fn move_in(place: &Place, manifest: &Manifest) -> Result<(), Error> {
    let (tree, dir) = (place.staging.join("tree"), &place.dir);
    let tops: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.top()).collect();
    for top in tops.iter().map(|top| tree.join(top)).filter(|top| top.is_dir()) {
        seal::seal_below(&top)?;
    }
    let publishing = place.staging.join("publishing");
    manifest.write_file(&publishing)?;
    seal::sync(&place.staging)?;
    for top in &tops {
        let target = dir.join(top);
        fs::rename(tree.join(top), &target).map_err(|error| Error::io("publish", &target, error))?;
        if target.is_dir() {
            seal::seal(&target)?;
        }
    }
    seal::sync(dir)?;
    let published = Manifest::path(dir);
    fs::rename(&publishing, &published).map_err(|error| Error::io("publish", &published, error))?;
    seal::sync(&place.staging)?;
    clear(place)
}

/// Moves the entries of a publication that was interrupted back into the tree.
pub(super) fn take_back(place: &Place) -> Result<(), Error> {
    let publishing = place.staging.join("publishing");
    if let Some(manifest) = Manifest::read_file(&publishing)? {
        let tops: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.top()).collect();
        for top in tops {
            let (from, to) = (place.dir.join(top), place.staging.join("tree").join(top));
            match fs::symlink_metadata(&from) {
                Ok(found) if found.is_dir() => seal::unseal(&from)?,
                Ok(_) => {}
                Err(_) => continue,
            }
            fs::rename(&from, &to).map_err(|error| Error::io("take back", &from, error))?;
        }
    }
    remove_file(&publishing)
}

/// Finishes what a run that was killed right after it published has left. Best effort: another loader may be at it.
pub(crate) fn tidy(place: &Place) {
    let left = |entry: io::Result<fs::DirEntry>| entry.is_ok_and(|entry| entry.file_name() != "manifest.json");
    let something_left = fs::read_dir(&place.staging).is_ok_and(|mut entries| !place.mounted || entries.any(left));
    if !something_left {
        return;
    }
    let lock = open_lock(&place.staging.join("lock"));
    if lock.is_ok_and(|lock| lock.try_lock().is_ok() && clear(place).is_ok()) {
        tracing::info!(staging = %place.staging.display(), "removed what an interrupted run left");
    }
}

/// Makes a published directory read-only and removes its staging files.
fn clear(place: &Place) -> Result<(), Error> {
    if !place.mounted {
        seal::seal(&place.dir)?;
        return seal::remove_tree(&place.staging);
    }
    for name in ["tree", "incoming"] {
        seal::remove_tree(&place.staging.join(name))?;
    }
    for name in ["journal", "lock"] {
        remove_file(&place.staging.join(name))?;
    }
    seal::seal(&place.staging)
}

/// Removes a file, or a link itself. Absent is fine.
pub(crate) fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}
