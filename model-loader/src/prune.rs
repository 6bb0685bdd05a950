//! Takes earlier content off a volume, in steps that can each be repeated.
//!
//! Content is [set aside](Pruning::set_aside) by one rename, from when on nobody can mount it. Whoever asked for that
//! looks again whether it is in use, and then has it [put back](Pruning::put_back) or [deleted](Pruning::delete). A run
//! that is killed anywhere is finished by the next one.

use std::{fs, io, path::Path};

use model_core::reason::Reason;

use crate::{
    Error,
    publish::{hidden_name, open_lock, remove_tree, sync},
};

/// Longest name of a directory that is pruned, in bytes.
const MAX_NAME: usize = 64;

/// What to do with which directories, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruning {
    /// Directories that give up their names and keep their files. One that is absent is no fault.
    pub set_aside: Vec<String>,
    /// Directories that were set aside and get their names back, unless something else was published under them.
    pub put_back: Vec<String>,
    /// Names of which everything goes but a published directory: what was set aside, and what a download that was given
    /// up left.
    pub delete: Vec<String>,
}

/// Prunes the directories in `dir`.
///
/// # Errors
/// [`Reason::WrongUse`] for a name that is none; others where the volume does not let us. What was done before stays
/// done.
pub fn prune(dir: &Path, pruning: &Pruning) -> Result<(), Error> {
    let Pruning { set_aside, put_back, delete } = pruning;
    [set_aside, put_back, delete].into_iter().flatten().try_for_each(|name| check(name))?;
    set_aside.iter().try_for_each(|name| set_one_aside(dir, name))?;
    put_back.iter().try_for_each(|name| put_one_back(dir, name))?;
    delete.iter().try_for_each(|name| delete_one(dir, name))
}

/// Names are joined to a path, so they must not lead anywhere else.
fn check(name: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(allowed) {
        return Ok(());
    }
    let shown: String = name.chars().take(MAX_NAME).collect();
    let message = format!("{shown:?} is no name of a directory: letters, digits, - and _ are allowed");
    Err(Error::new(Reason::WrongUse, message))
}

fn set_one_aside(dir: &Path, name: &str) -> Result<(), Error> {
    let (published, aside) = (dir.join(name), dir.join(hidden_name(name, "trash")));
    // An empty directory is one that a node made for a pod that came too late.
    match fs::remove_dir(&published) {
        Ok(()) => return sync(dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    let renamed = match fs::rename(&published, &aside) {
        Err(error) if is_full(&error) => {
            // An earlier copy of the same content, which nobody has put back.
            remove_tree(&aside)?;
            fs::rename(&published, &aside)
        }
        other => other,
    };
    renamed.map_err(|error| Error::io("set aside", &published, error))?;
    tracing::info!(dir = %published.display(), "set aside");
    sync(dir)
}

/// Whether something was not renamed because a directory with content has the new name. File systems differ in the word.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

fn put_one_back(dir: &Path, name: &str) -> Result<(), Error> {
    let (published, aside) = (dir.join(name), dir.join(hidden_name(name, "trash")));
    match fs::rename(&aside, &published) {
        Ok(()) => tracing::info!(dir = %published.display(), "put back"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if is_full(&error) => {
            tracing::info!(dir = %published.display(), "was published again, so it is not put back");
        }
        Err(error) => return Err(Error::io("put back", &published, error)),
    }
    sync(dir)
}

fn delete_one(dir: &Path, name: &str) -> Result<(), Error> {
    let [aside, going, partial] = ["trash", "going", "partial"].map(|kind| dir.join(hidden_name(name, kind)));
    // From here on nobody can put it back: half of a model is worse than none.
    remove_tree(&going)?;
    match fs::rename(&aside, &going) {
        Ok(()) => sync(dir)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("delete", &aside, error)),
    }
    remove_tree(&going)?;
    if partial.is_dir() {
        let lock = open_lock(&partial.join("lock"));
        // A loader at work keeps its files.
        if !lock.is_ok_and(|lock| lock.try_lock().is_ok() && remove_tree(&partial).is_ok()) {
            tracing::warn!(dir = %partial.display(), "is in use, so it is not deleted");
        }
    }
    tracing::info!(name, "deleted");
    sync(dir)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    /// A directory as the loader publishes it: read-only.
    fn published(dir: &Path, name: &str, text: &str) {
        let root = dir.join(name);
        fs::create_dir_all(root.join("inner")).unwrap();
        fs::write(root.join("inner/file"), text).unwrap();
        for path in [root.join("inner"), root] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
        }
    }

    fn names_of(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn set_aside(dir: &Path, names: &[&str]) {
        prune(dir, &Pruning { set_aside: names_of(names), ..Pruning::default() }).unwrap();
    }

    fn finish(dir: &Path, put_back: &[&str], delete: &[&str]) {
        let pruning = Pruning { put_back: names_of(put_back), delete: names_of(delete), ..Pruning::default() };
        prune(dir, &pruning).unwrap();
    }

    #[test]
    fn what_is_set_aside_comes_back_whole_or_goes() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for name in ["a", "b", "c"] {
            published(dir, name, name);
        }
        // Each step twice: a repeated one changes nothing.
        for _ in 0..2 {
            set_aside(dir, &["a", "b", "absent"]);
            assert_eq!(names(dir), [".a.trash", ".b.trash", "c"]);
        }
        for _ in 0..2 {
            finish(dir, &["a"], &["b"]);
            assert_eq!(names(dir), ["a", "c"]);
        }
        assert_eq!(fs::read_to_string(dir.join("a/inner/file")).unwrap(), "a");
        assert_eq!(fs::metadata(dir.join("a")).unwrap().permissions().mode() & 0o777, 0o555);
    }

    #[test]
    fn what_was_deleted_in_part_is_not_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        published(dir, "a", "a");
        set_aside(dir, &["a"]);
        // As a run leaves it that is killed while it deletes.
        fs::rename(dir.join(".a.trash"), dir.join(".a.going")).unwrap();
        finish(dir, &["a"], &[]);
        assert_eq!(names(dir), [".a.going"]);
        // The same content was downloaded and set aside again meanwhile.
        published(dir, "a", "again");
        set_aside(dir, &["a"]);
        finish(dir, &[], &["a"]);
        assert_eq!(names(dir), Vec::<String>::new());
    }

    #[test]
    fn a_published_directory_is_never_deleted() {
        let dir = tempfile::tempdir().unwrap();
        published(dir.path(), "a", "old");
        set_aside(dir.path(), &["a"]);
        published(dir.path(), "a", "new");
        finish(dir.path(), &["a"], &[]);
        assert_eq!(names(dir.path()), [".a.trash", "a"]);
        finish(dir.path(), &[], &["a"]);
        assert_eq!(names(dir.path()), ["a"]);
        assert_eq!(fs::read_to_string(dir.path().join("a/inner/file")).unwrap(), "new");
        // Set aside twice: only the newer copy is of any use.
        set_aside(dir.path(), &["a"]);
        published(dir.path(), "a", "newest");
        set_aside(dir.path(), &["a"]);
        finish(dir.path(), &["a"], &[]);
        assert_eq!(fs::read_to_string(dir.path().join("a/inner/file")).unwrap(), "newest");
    }

    /// The kubelet makes a directory for a pod whose content is not there.
    #[test]
    fn an_empty_directory_in_its_place_costs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        published(dir.path(), "a", "a");
        for _ in 0..2 {
            set_aside(dir.path(), &["a"]);
            fs::create_dir(dir.path().join("a")).unwrap();
        }
        finish(dir.path(), &["a"], &[]);
        assert_eq!(names(dir.path()), ["a"]);
        assert_eq!(fs::read_to_string(dir.path().join("a/inner/file")).unwrap(), "a");
    }

    #[test]
    fn what_a_download_left_goes_unless_it_still_runs() {
        let dir = tempfile::tempdir().unwrap();
        let partial = dir.path().join(".a.partial");
        fs::create_dir(&partial).unwrap();
        let lock = open_lock(&partial.join("lock")).unwrap();
        lock.lock().unwrap();
        finish(dir.path(), &[], &["a"]);
        assert_eq!(names(dir.path()), [".a.partial"]);
        drop(lock);
        finish(dir.path(), &[], &["a"]);
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused_before_anything_is_done() {
        let dir = tempfile::tempdir().unwrap();
        published(dir.path(), "a", "a");
        for name in ["", ".", "..", "../a", "a/b", ".a", "a\0", &"x".repeat(65), "ä"] {
            let pruning = Pruning { set_aside: vec!["a".to_owned(), name.to_owned()], ..Pruning::default() };
            assert_eq!(prune(dir.path(), &pruning).unwrap_err().reason(), Reason::WrongUse, "{name:?}");
        }
        assert_eq!(names(dir.path()), ["a"]);
    }
}
