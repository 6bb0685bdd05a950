//! Repositories as folders: what a revision holds and how the hub describes it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use walkdir::WalkDir;

use crate::Error;
use crate::digest::{git_blob_of, git_blob_of_file, lfs_pointer, sha1, sha256_of_file};

/// Folder in a repository that holds what is not its content.
const META: &str = ".hub";

/// `.hub/repo.json` of a repository. A repository without it is public.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Description {
    /// Hidden from all but [`crate::HubConfig::token`].
    pub private: bool,
    /// Visible to all, its files readable with [`crate::HubConfig::token`] only.
    pub gated: bool,
    /// Where the large files lie in Xet storage. A repository without it has none there.
    pub xet: Option<Xet>,
    /// Paths that the listing names although no such file exists, for hostile names.
    pub listed: Vec<String>,
}

/// The `xet` of `.hub/repo.json`: a storage that is not part of the hub, and what has been uploaded to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Xet {
    /// Base URL of the storage.
    pub cas_url: String,
    /// What the storage calls each file, by SHA-256.
    pub hashes: BTreeMap<String, String>,
}

/// One file of a revision.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Where its bytes are. `None` for a path that is only listed.
    pub file: Option<PathBuf>,
    pub size: u64,
    /// Git's digest of the file, or of the pointer that stands for a large one.
    pub oid: String,
    /// SHA-256, if the file is large and so kept outside git.
    pub lfs: Option<String>,
}

/// All files of one revision.
#[derive(Debug)]
pub(crate) struct Revision {
    /// Made from the content as git would make it from a commit: 40 hex digits, changes with the content.
    pub commit: String,
    pub entries: BTreeMap<String, Entry>,
}

/// A repository with its revisions by name (`main`, …).
#[derive(Debug)]
pub(crate) struct Repository {
    pub id: String,
    pub description: Description,
    pub revisions: BTreeMap<String, Arc<Revision>>,
}

impl Repository {
    /// Finds a revision by branch, tag or commit.
    pub(crate) fn revision(&self, name: &str) -> Option<&Arc<Revision>> {
        self.revisions.get(name).or_else(|| self.revisions.values().find(|revision| revision.commit == name))
    }

    fn read(folder: &Path, id: &str, rules: LargeFiles) -> Result<Self, Error> {
        let meta = folder.join(META);
        let description = match std::fs::read(meta.join("repo.json")) {
            Ok(json) => serde_json::from_slice(&json)
                .map_err(|error| Error::Content { path: meta.join("repo.json"), reason: error.to_string() })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Description::default(),
            Err(error) => return Err(Error::file("read", meta.join("repo.json"))(error)),
        };
        let mut main = entries(folder, rules)?;
        for path in &description.listed {
            let entry = Entry { file: None, size: path.len() as u64, oid: git_blob_of(path.as_bytes()), lfs: None };
            main.insert(path.clone(), entry);
        }
        let mut revisions = BTreeMap::from([("main".to_owned(), Arc::new(Revision::new(id, main)))]);
        if let Ok(folders) = std::fs::read_dir(meta.join("revisions")) {
            for folder in folders.flatten() {
                // A branch name may have slashes, a folder name may not.
                let name = folder.file_name().to_string_lossy().replace("%2F", "/");
                let revision = Revision::new(id, entries(&folder.path(), rules)?);
                revisions.insert(name, Arc::new(revision));
            }
        }
        Ok(Self { id: id.to_owned(), description, revisions })
    }
}

impl Revision {
    fn new(id: &str, entries: BTreeMap<String, Entry>) -> Self {
        let tree: Vec<String> = entries.iter().map(|(path, entry)| format!("{} {path}", entry.oid)).collect();
        Self { commit: sha1(format!("{id}\n{}", tree.join("\n")).as_bytes()), entries }
    }
}

/// Which files are large, that is kept outside git and served by the CDN.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LargeFiles {
    /// Files of at least so many bytes are, whatever their name.
    pub threshold: u64,
}

impl LargeFiles {
    // The extensions that a new repository's `.gitattributes` sends to LFS, as far as models use them.
    const EXTENSIONS: [&str; 9] = ["safetensors", "bin", "onnx", "gguf", "pt", "pth", "h5", "msgpack", "zip"];

    fn includes(self, path: &str, size: u64) -> bool {
        let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
        size >= self.threshold || extension.is_some_and(|extension| Self::EXTENSIONS.contains(&extension))
    }
}

fn entries(folder: &Path, rules: LargeFiles) -> Result<BTreeMap<String, Entry>, Error> {
    let mut entries = BTreeMap::new();
    let walk = WalkDir::new(folder).min_depth(1).follow_links(true).into_iter();
    for found in walk.filter_entry(|entry| entry.file_name() != META) {
        let found = found.map_err(|error| Error::file("read", folder)(error.into()))?;
        if found.file_type().is_dir() {
            continue;
        }
        let Some(path) = found.path().strip_prefix(folder).ok().and_then(Path::to_str) else { continue };
        let size = found.metadata().map_err(|error| Error::file("read", found.path())(error.into()))?.len();
        let lfs = rules.includes(path, size).then(|| sha256_of_file(found.path())).transpose();
        let lfs = lfs.map_err(Error::file("read", found.path()))?;
        let oid = match &lfs {
            Some(sha256) => git_blob_of(lfs_pointer(sha256, size).as_bytes()),
            None => git_blob_of_file(found.path(), size).map_err(Error::file("read", found.path()))?,
        };
        entries.insert(path.to_owned(), Entry { file: Some(found.path().to_owned()), size, oid, lfs });
    }
    Ok(entries)
}

/// The repositories below one folder, `ORG/NAME`. Each is read at its first request.
pub(crate) struct Repositories {
    root: PathBuf,
    rules: LargeFiles,
    known: Mutex<HashMap<String, Arc<Repository>>>,
}

impl Repositories {
    pub(crate) fn new(root: PathBuf, rules: LargeFiles) -> Self {
        Self { root, rules, known: Mutex::default() }
    }

    /// Reads every repository anew at its next request.
    pub(crate) fn refresh(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Finds `org/name`. `None` if there is no such folder. Reads the disk, so it may block.
    pub(crate) fn find(&self, org: &str, name: &str) -> Result<Option<Arc<Repository>>, Error> {
        let id = format!("{org}/{name}");
        let Some(folder) = inside(&self.root, &id) else { return Ok(None) };
        // Held while reading, so that many first requests compute the digests once.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repository) = known.get(&id) {
            return Ok(Some(repository.clone()));
        }
        if !folder.is_dir() {
            return Ok(None);
        }
        let repository = Arc::new(Repository::read(&folder, &id, self.rules)?);
        known.insert(id, repository.clone());
        Ok(Some(repository))
    }
}

/// `root/path`, unless that would leave `root` or name something hidden by the hub.
pub(crate) fn inside(root: &Path, path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let plain = path.components().all(|part| matches!(part, Component::Normal(name) if name != META));
    (plain && path.components().next().is_some()).then(|| root.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_cannot_leave_the_root() {
        for (path, allowed) in [
            ("acme/tiny", true),
            ("acme/.gitattributes", true),
            ("../secret", false),
            ("acme/../../secret", false),
            ("/etc/passwd", false),
            ("acme/.hub/repo.json", false),
            ("", false),
        ] {
            assert_eq!(inside(Path::new("/srv"), path).is_some(), allowed, "{path:?}");
        }
    }

    #[test]
    fn the_commit_follows_the_content_and_branches_are_found_by_name_and_commit() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("acme/tiny");
        std::fs::create_dir_all(folder.join(".hub/revisions/refs%2Fpr%2F1")).unwrap();
        std::fs::write(folder.join("config.json"), "{}").unwrap();
        std::fs::write(folder.join("model.safetensors"), "weights").unwrap();
        std::fs::write(folder.join(".hub/revisions/refs%2Fpr%2F1/config.json"), "{ }").unwrap();
        let repositories = Repositories::new(root.path().to_owned(), LargeFiles { threshold: 1 << 20 });

        let first = repositories.find("acme", "tiny").unwrap().unwrap();
        let main = first.revision("main").unwrap();
        assert_eq!(main.entries.keys().collect::<Vec<_>>(), ["config.json", "model.safetensors"]);
        assert!(main.entries["model.safetensors"].lfs.is_some() && main.entries["config.json"].lfs.is_none());
        let branch = first.revision("refs/pr/1").unwrap();
        assert_eq!(first.revision(&branch.commit).unwrap().commit, branch.commit);
        assert_ne!(branch.commit, main.commit);
        assert!(first.revision("v9").is_none());

        std::fs::write(folder.join("config.json"), "{\"changed\": true}").unwrap();
        repositories.refresh();
        let second = repositories.find("acme", "tiny").unwrap().unwrap();
        assert_ne!(second.revision("main").unwrap().commit, main.commit);
        assert!(second.revision(&main.commit).is_none());
    }
}
