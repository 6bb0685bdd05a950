//! The staging directory: one owner at a time, complete files kept across runs, nothing else.
//!
//! ```text
//! lock           held for the whole run; the kernel lets go of it when a run dies
//! journal        one line of JSON for each complete file
//! incoming/…     files while they are written: by number in the plan, or by what tells their content, then with records
//! tree/…         complete files under their own names; becomes the published directory
//! publishing     only in place: the manifest-to-be, from the first moved entry to the last
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Mutex,
};

use super::{
    Place,
    lock::{self, NOFOLLOW},
    release, seal,
};
use crate::{
    Error,
    manifest::{FileRecord, Manifest},
    name::FileName,
    plan::PlannedFile,
    verify::hash,
};

/// Largest file that is not synced before all are published, in bytes: many small syncs would take longer than the rest.
pub(crate) const UNSYNCED: u64 = 1 << 20;
/// Threads that sync files: a volume takes several requests at once.
const SYNC_THREADS: usize = 8;

/// A locked staging directory.
#[derive(Debug)]
pub(crate) struct Staging {
    place: Place,
    journal: Mutex<File>,
    complete: BTreeMap<FileName, FileRecord>,
    _lock: File,
}

impl Staging {
    /// Takes the staging directory of a place, waiting for another loader that has it, and looks what is complete in it.
    ///
    /// `None` where that other loader has published meanwhile.
    pub(crate) async fn open(place: Place) -> Result<Option<Self>, Error> {
        let Some(lock) = lock::lock(&place).await? else { return Ok(None) };
        tokio::task::spawn_blocking(move || Self::enter(place, lock).map(Some)).await.map_err(Error::task)?
    }

    fn enter(place: Place, lock: File) -> Result<Self, Error> {
        if place.mounted {
            release::take_back(&place)?;
        }
        place.check_empty()?;
        for name in ["incoming", "tree"] {
            let path = place.staging.join(name);
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.map_err(|error| Error::io("create", &path, error))?,
            }
        }
        seal::unseal(&place.staging.join("tree"))?;
        let path = place.staging.join("journal");
        let lines = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        // A last line that was cut off is no record, nor is anything else that a lost node may leave.
        let lines_read = lines.split(|byte| *byte == b'\n');
        let records = lines_read.filter_map(|line| serde_json::from_slice::<FileRecord>(line).ok());
        let complete = records.map(|record| (record.path.clone(), record)).collect();
        let journal = OpenOptions::new().append(true).create(true).custom_flags(NOFOLLOW).open(&path);
        let mut journal = journal.map_err(|error| Error::io("open", &path, error))?;
        if lines.last().is_some_and(|byte| *byte != b'\n') {
            journal.write_all(b"\n").map_err(|error| Error::io("write", &path, error))?;
        }
        Ok(Self { place, journal: Mutex::new(journal), complete, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.place.staging
    }

    /// The record of a file that an earlier run completed, if it is the same content.
    pub(crate) fn complete(&self, file: &PlannedFile) -> Option<&FileRecord> {
        let record = self.complete.get(&file.path)?;
        let same_digest = file.digest.as_ref() == Some(&record.digest);
        let same_tag = file.etag.is_some() && file.etag == record.etag;
        let same_size = file.size.is_none_or(|size| size == record.size);
        let found = fs::symlink_metadata(file.path.below(&self.tree())).ok()?;
        let whole = found.is_file() && found.len() == record.size;
        let same = whole && same_size && (same_digest || same_tag);
        // Small files are not synced before they are published: a node that was lost may have lost their bytes.
        let kept = || {
            record.size > UNSYNCED
                || hash(&file.path.below(&self.tree()), record).is_ok_and(|digest| digest == record.digest)
        };
        (same && kept()).then_some(record)
    }

    /// Where a file is while it is written.
    pub(crate) fn incoming(&self, name: &str) -> PathBuf {
        self.place.staging.join("incoming").join(name)
    }

    /// Removes what earlier runs have begun, other than files of these names.
    pub(crate) fn keep_incoming(&self, names: &BTreeSet<String>) -> Result<(), Error> {
        let dir = self.place.staging.join("incoming");
        for entry in fs::read_dir(&dir).map_err(|error| Error::io("list", &dir, error))? {
            let entry = entry.map_err(|error| Error::io("list", &dir, error))?;
            if !entry.file_name().to_str().is_some_and(|name| names.contains(name)) {
                let path = entry.path();
                let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(|error| Error::io("remove", &path, error))?;
            }
        }
        Ok(())
    }

    /// The directory that is published to.
    pub(crate) fn target(&self) -> &Path {
        &self.place.dir
    }

    /// Takes a file that is written, checked and synced into the tree. The journal first: a file without its line is
    /// fetched again, and a line without its file says nothing.
    pub(crate) fn accept(&self, incoming: &Path, record: &FileRecord) -> Result<(), Error> {
        let tree = self.tree();
        for parent in record.path.parents() {
            let path = tree.join(parent);
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // What is left of another plan can be in the way, and a link must not lead out of the tree.
                    if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
                        fs::remove_file(&path)
                            .and_then(|()| fs::create_dir(&path))
                            .map_err(|error| Error::io("create", &path, error))?;
                    }
                }
                other => other.map_err(|error| Error::io("create", &path, error))?,
            }
        }
        let target = record.path.below(&tree);
        if fs::symlink_metadata(&target).is_ok_and(|found| found.is_dir()) {
            seal::remove_tree(&target)?;
        }
        let path = self.place.staging.join("journal");
        let line = serde_json::to_string(record).map_err(|error| Error::io("write", &path, error.into()))? + "\n";
        let mut journal = self.journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        journal.write_all(line.as_bytes()).map_err(|error| Error::io("write", &path, error))?;
        fs::rename(incoming, &target).map_err(|error| Error::io("move a file to", &target, error))
    }

    /// Publishes the files of the manifest and removes the staging directory.
    pub(crate) fn publish(&self, manifest: &Manifest) -> Result<(), Error> {
        self.remove_unplanned(manifest)?;
        self.sync_files(manifest)?;
        release::release(&self.place, manifest)
    }

    /// Makes all files survive the loss of the node. Large ones do already, which costs nothing here.
    fn sync_files(&self, manifest: &Manifest) -> Result<(), Error> {
        let tree = self.tree();
        let sync = |files: &[FileRecord]| {
            files.iter().map(|file| file.path.below(&tree)).try_for_each(|path| {
                let synced = File::open(&path).and_then(|file| file.sync_all());
                synced.map_err(|error| Error::io("sync", &path, error))
            })
        };
        let share = manifest.files.len().div_ceil(SYNC_THREADS).max(1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = manifest.files.chunks(share).map(|files| scope.spawn(move || sync(files))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(Error::panicked())))
        })
    }

    /// Removes what an earlier plan left in the tree.
    fn remove_unplanned(&self, manifest: &Manifest) -> Result<(), Error> {
        let files: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
        let directories: BTreeSet<&str> = manifest.files.iter().flat_map(|file| file.path.parents()).collect();
        let tree = self.tree();
        let mut pending = vec![tree.clone()];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(&dir).map_err(|error| Error::io("list", &dir, error))? {
                let path = entry.map_err(|error| Error::io("list", &dir, error))?.path();
                let relative = path.strip_prefix(&tree).ok().and_then(Path::to_str).unwrap_or_default();
                let is_dir = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
                if is_dir && directories.contains(relative) {
                    pending.push(path);
                } else if is_dir {
                    seal::remove_tree(&path)?;
                } else if !files.contains(relative) {
                    fs::remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
                }
            }
        }
        Ok(())
    }

    fn tree(&self) -> PathBuf {
        self.place.staging.join("tree")
    }
}
