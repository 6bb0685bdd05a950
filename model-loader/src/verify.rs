//! Checks a published directory against its manifest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use model_core::{
    reason::Reason,
    report::{CheckedFile, FileState, Verified},
};

use crate::{
    Error,
    digest::{Digest, Hasher},
    manifest::{FileRecord, Manifest},
    name::HIDDEN_DIR,
    progress::Meter,
};

/// What each thread reads at once.
const BUFFER: usize = 1 << 20;

/// What a check of a published directory found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verification {
    /// What the directory should hold.
    pub manifest: Manifest,
    /// Everything that is not as it should be, sorted by path. Empty: all is well.
    pub faults: Vec<Fault>,
}

impl Verification {
    /// The sums, and the faults: a termination message.
    #[must_use]
    pub fn report(&self) -> Verified {
        Verified {
            bytes: self.manifest.bytes,
            files: self.manifest.files.len() as u64,
            fault_count: self.faults.len() as u64,
            faults: self.checked_files().into_iter().filter(|file| file.state != FileState::Ok).collect(),
        }
    }

    /// Every file that was published or found, sorted by path.
    #[must_use]
    pub fn checked_files(&self) -> Vec<CheckedFile> {
        let mut files: BTreeMap<String, CheckedFile> = BTreeMap::new();
        for published in &self.manifest.files {
            let file = published.path.to_string();
            files.insert(file.clone(), CheckedFile { file, bytes: Some(published.size), state: FileState::Ok });
        }
        for fault in &self.faults {
            let unknown = || CheckedFile { file: fault.path.clone(), bytes: None, state: FileState::Ok };
            files.entry(fault.path.clone()).or_insert_with(unknown).state = fault.kind.into();
        }
        files.into_values().collect()
    }
}

impl From<FaultKind> for FileState {
    fn from(kind: FaultKind) -> Self {
        match kind {
            FaultKind::Changed => Self::Changed,
            FaultKind::Missing => Self::Missing,
            FaultKind::Extra => Self::Extra,
            FaultKind::Unreadable => Self::Unreadable,
        }
    }
}

/// One file that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Path below the directory.
    pub path: String,
    /// What is wrong with it.
    pub kind: FaultKind,
}

/// What can be wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FaultKind {
    /// Its bytes or its length are others, or it is no ordinary file.
    Changed,
    /// It is not there.
    Missing,
    /// It is there and should not be.
    Extra,
    /// The volume does not give its bytes. The log says why.
    Unreadable,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = FileState::from(self.kind).as_str();
        // The name of an extra file is anybody's.
        write!(f, "{kind} {}", self.path.escape_debug())
    }
}

/// Reads every file of a published directory again and compares it with the manifest.
///
/// Files are read in as many threads as there are cores, the biggest first, 1 MiB of memory for each. `meter` tells
/// others how far it is.
///
/// # Errors
/// [`Reason::WrongUse`] where nothing is published at `dir`; others where its manifest or a directory cannot be read. A
/// single file that cannot be read is a [`Fault`].
pub fn verify(dir: &Path, meter: &Meter) -> Result<Verification, Error> {
    let nothing =
        || Error::new(Reason::WrongUse, format!("{} has no manifest: nothing was published there", dir.display()));
    let manifest = Manifest::read(dir)?.ok_or_else(nothing)?;
    meter.expect(Some(manifest.bytes), manifest.files.len() as u64);
    let mut faults = check_all(dir, &manifest.files, meter);
    let known: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    extras(dir, dir, &known, &mut faults)?;
    faults.sort();
    Ok(Verification { manifest, faults })
}

/// [Verifies](verify) a directory that is to be offered again, for example on a volume that came back from a backup.
///
/// # Errors
/// [`Reason::ContentDamaged`] names a file that is not as it was published.
pub fn recheck(dir: &Path, meter: &Meter) -> Result<(), Error> {
    let verification = verify(dir, meter)?;
    let faults = &verification.faults;
    for fault in faults {
        tracing::warn!(dir = %dir.display(), "{fault}");
    }
    let Some(first) = faults.first() else { return Ok(()) };
    let message = format!("{} is damaged: {} faults, the first is: {first}", dir.display(), faults.len());
    Err(Error::new(Reason::ContentDamaged, message))
}

/// Checks every file. The calling thread works too, so that it also goes on where no further thread can be had.
fn check_all(dir: &Path, files: &[FileRecord], meter: &Meter) -> Vec<Fault> {
    // The biggest file takes longest: begun last, it would be waited for alone.
    let mut order: Vec<&FileRecord> = files.iter().collect();
    order.sort_by_key(|file| std::cmp::Reverse(file.size));
    let next = AtomicUsize::new(0);
    let faults = Mutex::new(Vec::new());
    let work = || {
        let mut buffer = vec![0; BUFFER];
        while let Some(file) = order.get(next.fetch_add(1, Relaxed)) {
            if let Some(kind) = check(dir, file, &mut buffer, meter) {
                let fault = Fault { path: file.path.to_string(), kind };
                faults.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
            }
            meter.add_file();
        }
    };
    let helpers = thread::available_parallelism().map_or(1, usize::from).min(files.len()).saturating_sub(1);
    thread::scope(|scope| {
        for _ in 0..helpers {
            if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    faults.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn check(dir: &Path, file: &FileRecord, buffer: &mut [u8], meter: &Meter) -> Option<FaultKind> {
    let path = file.path.below(dir);
    let digest = match fs::symlink_metadata(&path) {
        Ok(found) if !found.is_file() || found.len() != file.size => return Some(FaultKind::Changed),
        Ok(_) => hash_by(&path, file, buffer, |length| meter.add_bytes(length)),
        Err(error) => Err(error),
    };
    match digest {
        Ok(digest) if digest == file.digest => {
            meter.verified(file.size);
            None
        }
        Ok(_) => Some(FaultKind::Changed),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Some(FaultKind::Missing)
        }
        Err(error) => {
            tracing::warn!(%error, "could not read {}", path.display());
            Some(FaultKind::Unreadable)
        }
    }
}

/// Computes the digest of a file, of the kind that its record has.
pub(crate) fn hash(path: &Path, file: &FileRecord) -> io::Result<Digest> {
    hash_by(path, file, &mut vec![0; BUFFER], |_| ())
}

fn hash_by(path: &Path, file: &FileRecord, buffer: &mut [u8], read: impl Fn(u64)) -> io::Result<Digest> {
    let mut hasher = Hasher::new(file.digest.algorithm(), file.size);
    let mut opened = File::open(path)?;
    loop {
        match opened.read(buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => {
                hasher.update(&buffer[..length]);
                read(length as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Finds what is below `dir` and not known. Links are not followed.
fn extras(root: &Path, dir: &Path, known: &BTreeSet<&str>, faults: &mut Vec<Fault>) -> Result<(), Error> {
    let failed = |error| Error::io("list", dir, error);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        if entry.file_type().map_err(failed)?.is_dir() {
            let ours = dir == root && (relative == HIDDEN_DIR || relative == "lost+found");
            if !ours {
                extras(root, &path, known, faults)?;
            }
        } else if !known.contains(relative.as_str()) {
            faults.push(Fault { path: relative, kind: FaultKind::Extra });
        }
    }
    Ok(())
}
