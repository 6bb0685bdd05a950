//! What a kill in the middle of publishing leaves, and what the next run makes of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use proptest::prelude::*;

use super::{Place, Staging, lock::open_lock, published, seal, tidy};
use crate::{
    digest::{Algorithm, Hasher},
    manifest::{FileRecord, Manifest},
    name::FileName,
    plan::PlannedFile,
};

const FILES: [&str; 4] = ["a", "b", "d/inner/x", "d/y"];

fn place(root: &Path, mounted: bool) -> Place {
    let dir = root.join("models/m");
    let staging = if mounted { dir.join(".model-loader") } else { root.join("models/.m.partial") };
    Place { dir, staging, mounted }
}

fn record(name: &str) -> FileRecord {
    let mut hasher = Hasher::new(Algorithm::Sha256, 0);
    hasher.update(name.as_bytes());
    let (path, digest) = (FileName::parse(name).unwrap(), hasher.finish());
    FileRecord { path, size: name.len() as u64, digest, verified: true, etag: None }
}

fn planned(name: &str) -> PlannedFile {
    let record = record(name);
    PlannedFile { path: record.path, size: Some(record.size), digest: Some(record.digest), etag: None }
}

/// Puts files that hold their own names into the tree.
fn fill(staging: &Staging) {
    for (index, name) in FILES.iter().enumerate() {
        let incoming = staging.incoming(&index.to_string());
        fs::write(&incoming, name).unwrap();
        staging.accept(&incoming, &record(name)).unwrap();
    }
}

fn manifest() -> Manifest {
    Manifest::new("s".to_owned(), "r".to_owned(), (None, None), FILES.map(record).to_vec(), Timestamp::UNIX_EPOCH)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn open(place: &Place) -> Staging {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Staging::open(place.clone())).unwrap().unwrap()
}

fn assert_all_published(place: &Place) {
    assert_eq!(published(&place.dir, "r").unwrap().unwrap().files, manifest().files);
    assert_eq!(names(&place.dir), [".model-loader", "a", "b", "d"]);
    assert_eq!(names(&place.dir.join(".model-loader")), ["manifest.json"]);
    for name in FILES {
        assert_eq!(fs::read_to_string(place.dir.join(name)).unwrap(), name);
    }
    assert_eq!(names(place.dir.parent().unwrap()), ["m"]);
}

#[test]
fn an_interrupted_move_is_taken_back_and_done_again() {
    let moves: [&[&str]; 5] = [&[], &["a"], &["a", "b"], &["d"], &["a", "b", "d"]];
    for moved in moves {
        let root = tempfile::tempdir().unwrap();
        let place = place(root.path(), true);
        fs::create_dir_all(place.dir.join("lost+found")).unwrap();
        let staging = open(&place);
        fill(&staging);
        let tree = place.staging.join("tree");
        manifest().write_file(&place.staging.join("publishing")).unwrap();
        for name in moved {
            fs::rename(tree.join(name), place.dir.join(name)).unwrap();
            if *name == "d" {
                seal::seal_below(&place.dir.join("d")).unwrap();
                seal::seal(&place.dir.join("d")).unwrap();
            }
        }
        drop(staging);
        assert!(published(&place.dir, "r").unwrap().is_none(), "without the manifest nothing counts");
        place.check_empty().expect("the moved files are known to be ours");

        let staging = open(&place);
        assert_eq!(names(&place.dir), [".model-loader", "lost+found"], "{moved:?}");
        for name in FILES {
            assert_eq!(staging.complete(&planned(name)), Some(&record(name)), "{name} need not be fetched again");
        }
        staging.publish(&manifest()).unwrap();
        fs::remove_dir(place.dir.join("lost+found")).unwrap();
        assert_all_published(&place);
    }
}

#[test]
fn what_a_kill_after_publishing_leaves_is_removed() {
    for mounted in [false, true] {
        for leftover in ["tree/old", "journal", "lock", "incoming/7"] {
            let root = tempfile::tempdir().unwrap();
            let place = place(root.path(), mounted);
            fs::create_dir_all(&place.dir).unwrap();
            let staging = open(&place);
            fill(&staging);
            staging.publish(&manifest()).unwrap();
            assert_all_published(&place);
            tidy(&place);
            assert_all_published(&place);

            let left = place.staging.join(leftover);
            if mounted {
                seal::unseal(&place.staging).unwrap();
            }
            fs::create_dir_all(left.parent().unwrap()).unwrap();
            fs::write(left, "").unwrap();
            let other = open_lock(&place.staging.join("lock")).unwrap();
            other.lock().unwrap();
            tidy(&place);
            assert!(place.staging.join(leftover).exists(), "another loader has it");
            drop(other);
            tidy(&place);
            assert_all_published(&place);
        }
    }
}

#[test]
fn complete_means_same_content_and_still_there() {
    let root = tempfile::tempdir().unwrap();
    let place = place(root.path(), false);
    fill(&open(&place));
    let staging = open(&place);
    let tree: PathBuf = place.staging.join("tree");
    assert!(staging.complete(&planned("a")).is_some());
    let other_digest = PlannedFile { digest: planned("b").digest, ..planned("a") };
    assert_eq!(staging.complete(&other_digest), None);
    assert_eq!(
        staging.complete(&PlannedFile { digest: None, ..planned("a") }),
        None,
        "nothing shows that it is the same"
    );
    assert_eq!(staging.complete(&PlannedFile { size: Some(9), ..planned("a") }), None);
    fs::write(tree.join("a"), "aa").unwrap();
    assert_eq!(staging.complete(&planned("a")), None, "another length");
    fs::remove_file(tree.join("b")).unwrap();
    assert_eq!(staging.complete(&planned("b")), None, "gone");
    drop(staging);
    // A line of the journal that was cut off is no record, and the next one is not glued to it.
    let journal = place.staging.join("journal");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, &text[..text.len() - 20]).unwrap();
    let staging = open(&place);
    assert_eq!(staging.complete(&planned("d/y")), None);
    fill(&staging);
    drop(staging);
    assert!(open(&place).complete(&planned("d/y")).is_some());
    assert!(open(&place).complete(&planned("a")).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]
    #[test]
    fn any_journal_is_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..400) {
        let root = tempfile::tempdir().unwrap();
        let place = place(root.path(), false);
        fill(&open(&place));
        let journal = place.staging.join("journal");
        let mut damaged = fs::read(&journal).unwrap();
        let at = at.min(damaged.len());
        damaged.splice(at..(at + bytes.len()).min(damaged.len()), bytes);
        fs::write(&journal, damaged).unwrap();
        let staging = open(&place);
        // What still counts as complete is what was written.
        for record in FILES.iter().filter_map(|name| staging.complete(&planned(name)).cloned()) {
            let name = record.path.as_str().to_owned();
            prop_assert_eq!(record, self::record(&name));
        }
        fill(&staging);
        staging.publish(&manifest()).unwrap();
        assert_all_published(&place);
    }
}

#[test]
fn a_link_in_the_tree_leads_nowhere() {
    let root = tempfile::tempdir().unwrap();
    let place = place(root.path(), false);
    let elsewhere = root.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let staging = open(&place);
    std::os::unix::fs::symlink(&elsewhere, place.staging.join("tree/d")).unwrap();
    std::os::unix::fs::symlink(elsewhere.join("a"), place.staging.join("tree/a")).unwrap();
    fill(&staging);
    staging.publish(&manifest()).unwrap();
    assert_all_published(&place);
    assert_eq!(names(&elsewhere), Vec::<String>::new());
}
