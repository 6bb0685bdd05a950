//! Checks a published directory against its manifest.

use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use model_core::reason::Reason;

use crate::{
    Error,
    digest::{Digest, Hasher},
    manifest::{FileRecord, Manifest},
    name::HIDDEN_DIR,
};

/// What a check of a published directory found.
#[derive(Debug)]
pub struct Verification {
    /// What the directory should hold.
    pub manifest: Manifest,
    /// Everything that is not as it should be, sorted by path. Empty: all is well.
    pub faults: Vec<Fault>,
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
pub enum FaultKind {
    /// Its bytes or its length are others, or it is no ordinary file.
    Changed,
    /// It is not there.
    Missing,
    /// It is there and should not be.
    Extra,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            FaultKind::Changed => "changed",
            FaultKind::Missing => "missing",
            FaultKind::Extra => "extra",
        };
        // The name of an extra file is anybody's.
        write!(f, "{kind} {}", self.path.escape_debug())
    }
}

/// Reads every file of a published directory again and compares it with the manifest.
///
/// # Errors
/// [`Reason::WrongUse`] where nothing is published at `dir`; others where it cannot be read.
pub fn verify(dir: &Path) -> Result<Verification, Error> {
    let nothing =
        || Error::new(Reason::WrongUse, format!("{} has no manifest: nothing was published there", dir.display()));
    let manifest = Manifest::read(dir)?.ok_or_else(nothing)?;
    let mut faults = Vec::new();
    for file in &manifest.files {
        if let Some(kind) = check(dir, file)? {
            faults.push(Fault { path: file.path.to_string(), kind });
        }
    }
    let known: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    extras(dir, dir, &known, &mut faults)?;
    faults.sort();
    Ok(Verification { manifest, faults })
}

fn check(dir: &Path, file: &FileRecord) -> Result<Option<FaultKind>, Error> {
    let path = file.path.below(dir);
    match fs::symlink_metadata(&path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Some(FaultKind::Missing))
        }
        Err(error) => Err(Error::io("look at", &path, error)),
        Ok(found) if !found.is_file() || found.len() != file.size => Ok(Some(FaultKind::Changed)),
        Ok(_) => {
            let digest = hash(&path, file).map_err(|error| Error::io("read", &path, error))?;
            Ok((digest != file.digest).then_some(FaultKind::Changed))
        }
    }
}

/// Computes the digest of a file, of the kind that its record has.
pub(crate) fn hash(path: &Path, file: &FileRecord) -> io::Result<Digest> {
    let mut hasher = Hasher::new(file.digest.algorithm(), file.size);
    let mut opened = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match opened.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&buffer[..length]),
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
