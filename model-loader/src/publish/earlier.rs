//! Files of earlier revisions, published beside this one: what is the same is linked instead of fetched.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use super::remove_file;
use crate::{
    Error,
    digest::Digest,
    manifest::{FileRecord, Manifest},
    plan::PlannedFile,
    verify::hash,
};

/// The verified files of all revisions beside a directory, by digest.
#[derive(Debug, Default)]
pub(crate) struct Earlier(HashMap<Digest, (PathBuf, FileRecord)>);

impl Earlier {
    /// Reads the manifests of the directories beside `dir`. What cannot be read is left out: it is only a saving.
    pub(crate) fn beside(dir: &Path) -> Self {
        let siblings = dir.parent().and_then(|parent| fs::read_dir(parent).ok()).into_iter().flatten().flatten();
        let mut found = HashMap::new();
        for sibling in siblings.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let root = sibling.path();
            let Ok(Some(manifest)) = Manifest::read(&root) else { continue };
            for file in manifest.files.into_iter().filter(|file| file.verified) {
                found.insert(file.digest.clone(), (file.path.below(&root), file));
            }
        }
        Self(found)
    }

    /// Links the file of the same digest to `to`, and gives its record. `None` where there is none, or the file system
    /// does not link it.
    pub(crate) fn link(&self, planned: &PlannedFile, to: &Path) -> Result<Option<FileRecord>, Error> {
        let Some((path, record)) = planned.digest.as_ref().and_then(|digest| self.0.get(digest)) else {
            return Ok(None);
        };
        let whole = fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == record.size);
        if !whole || planned.size.is_some_and(|size| size != record.size) {
            return Ok(None);
        }
        remove_file(to)?;
        // A pod may have written to it since, and disks forget.
        if !hash(path, record).is_ok_and(|digest| digest == record.digest) {
            tracing::warn!(file = %path.display(), "is damaged: not taken over");
            return Ok(None);
        }
        // Not every file system links, and not every file may be linked by this user.
        let linked = fs::hard_link(path, to).is_ok();
        let record = FileRecord { path: planned.path.clone(), etag: planned.etag.clone(), ..record.clone() };
        Ok(linked.then_some(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        digest::{Algorithm, Hasher},
        name::FileName,
    };

    fn digest(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256, 0);
        hasher.update(bytes);
        hasher.finish()
    }

    #[test]
    fn only_whole_files_of_the_same_digest_are_linked() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("old");
        fs::create_dir_all(old.join(".model-loader")).unwrap();
        let record = |name: &str, verified| FileRecord {
            path: FileName::parse(name).unwrap(),
            size: 4,
            digest: digest(name.as_bytes()),
            verified,
            etag: None,
        };
        let files =
            ["good", "torn", "gone", "flip"].map(|name| record(name, true)).into_iter().chain([record("weak", false)]);
        let files = files.collect();
        for (name, bytes) in [("good", "good"), ("torn", "to"), ("flip", "flap"), ("weak", "weak")] {
            fs::write(old.join(name), bytes).unwrap();
        }
        Manifest::new(String::new(), String::new(), (None, None), files, jiff::Timestamp::UNIX_EPOCH)
            .write_file(&Manifest::path(&old))
            .unwrap();
        fs::create_dir(dir.path().join("no-model")).unwrap();
        let earlier = Earlier::beside(&dir.path().join("new"));
        for (name, size, want) in [
            ("good", 4, true),
            ("good", 5, false),
            ("torn", 4, false),
            ("gone", 4, false),
            ("flip", 4, false),
            ("weak", 4, false),
            ("none", 4, false),
        ] {
            let (path, digest) = (FileName::parse("renamed").unwrap(), Some(digest(name.as_bytes())));
            let planned = PlannedFile { path, size: Some(size), digest, etag: None };
            let to = dir.path().join("incoming");
            let linked = earlier.link(&planned, &to).unwrap();
            assert_eq!(linked.is_some(), want, "{name} {size}");
            if let Some(record) = linked {
                assert_eq!((record.path.as_str(), fs::read_to_string(&to).unwrap().as_str()), ("renamed", "good"));
                fs::remove_file(&to).unwrap();
            }
        }
    }
}
