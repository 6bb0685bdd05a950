//! The manifest: what a published directory holds and how it was checked.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use model_core::report::Published;
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    digest::Digest,
    name::{FileName, HIDDEN_DIR},
};

/// Version of the form that this crate writes.
const FORMAT_VERSION: u32 = 1;

/// What a published directory holds, written to `.model-loader/manifest.json` in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Manifest {
    /// Version of this form.
    pub format_version: u32,
    /// The source, without secrets.
    pub source: String,
    /// Fingerprint of all that was asked for: source with its query, patterns, digest. Equal requests have equal ones.
    pub request: String,
    /// Commit of the repository, or `ETag` of a single object or file. Absent where the source has no such thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_revision: Option<String>,
    /// Stands for the files as the source had them: [`crate::Plan::listing`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<String>,
    /// Bytes of all files.
    pub bytes: u64,
    /// The files, sorted by path.
    pub files: Vec<FileRecord>,
    /// When this attempt of the download began.
    pub started_at: Timestamp,
    /// When the last byte was checked.
    pub finished_at: Timestamp,
}

/// One complete file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct FileRecord {
    /// Path below the model's directory.
    pub path: FileName,
    /// Length in bytes.
    pub size: u64,
    /// Digest of the bytes, computed as they came.
    pub digest: Digest,
    /// Whether the source or the user had promised that digest. `false`: it was only computed.
    pub verified: bool,
    /// `ETag` that the source gave the file, where that is what tells one content from another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

impl Manifest {
    /// A manifest of these files.
    pub(crate) fn new(
        source: String,
        request: String,
        (resolved_revision, listing): (Option<String>, Option<String>),
        mut files: Vec<FileRecord>,
        started_at: Timestamp,
    ) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let bytes = files.iter().map(|file| file.size).sum();
        let finished_at = Timestamp::now();
        Self {
            format_version: FORMAT_VERSION,
            source,
            request,
            resolved_revision,
            listing,
            bytes,
            files,
            started_at,
            finished_at,
        }
    }

    /// Where the manifest of a directory lies.
    #[must_use]
    pub fn path(dir: &Path) -> PathBuf {
        dir.join(HIDDEN_DIR).join("manifest.json")
    }

    /// Reads the manifest of a published directory. `None` where there is none, or none that this version can read.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn read(dir: &Path) -> Result<Option<Self>, Error> {
        Self::read_file(&Self::path(dir))
    }

    pub(crate) fn read_file(path: &Path) -> Result<Option<Self>, Error> {
        match fs::read(path) {
            Ok(json) => {
                Ok(serde_json::from_slice(&json).ok().filter(|read: &Self| read.format_version == FORMAT_VERSION))
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(Error::io("read", path, error)),
        }
    }

    /// Writes the manifest, synced and read-only.
    pub(crate) fn write_file(&self, path: &Path) -> Result<(), Error> {
        let write = || {
            let json = serde_json::to_vec_pretty(self)?;
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
            file.write_all(&json)?;
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o444))?;
            file.sync_all()
        };
        write().map_err(|error| Error::io("write", path, error))
    }

    /// The summary for the controller.
    #[must_use]
    pub fn published(&self) -> Published {
        Published {
            resolved_revision: self.resolved_revision.clone(),
            listing: self.listing.clone(),
            asked_at: Some(self.started_at),
            bytes: self.bytes,
            files: self.files.len() as u64,
            unverified_files: self.files.iter().filter(|file| !file.verified).count() as u64,
            others: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest() -> Manifest {
        let path = FileName::parse("a/b").unwrap();
        let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let file = FileRecord { path, size: 7, digest, verified: true, etag: None };
        Manifest::new("hf://o/r@main".to_owned(), "r".to_owned(), (None, None), vec![file], Timestamp::UNIX_EPOCH)
    }

    fn read(bytes: &[u8]) -> Option<Manifest> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.json");
        fs::write(&path, bytes).unwrap();
        Manifest::read_file(&path).unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_another_form_is_not() {
        let manifest = manifest();
        let json = serde_json::to_string(&manifest).unwrap();
        assert_eq!(read(json.as_bytes()), Some(manifest));
        assert_eq!(read(json.replace("\"formatVersion\":1", "\"formatVersion\":2").as_bytes()), None);
        assert_eq!(read(json.replace("a/b", "../b").as_bytes()), None, "a name that leads out of the directory");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_manifest_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            read(&bytes);
        }

        /// One that was damaged is none, or one whose names stay in the directory.
        #[test]
        fn a_damaged_manifest_names_nothing_outside(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut json = serde_json::to_vec(&manifest()).unwrap();
            let at = at.index(json.len());
            json[at] = byte;
            for file in read(&json).into_iter().flat_map(|manifest| manifest.files) {
                prop_assert!(FileName::parse(file.path.as_str()).is_ok());
            }
        }
    }
}
