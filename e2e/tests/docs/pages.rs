//! The pages, and what of them is text.

use std::path::{Path, PathBuf};

/// One page.
pub struct Page {
    /// Relative to the root of the repository.
    pub path: PathBuf,
    pub text: String,
}

impl Page {
    /// The lines with their numbers, from 1, without those of code blocks.
    pub fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut in_code = false;
        self.text.lines().enumerate().filter_map(move |(index, line)| {
            let fence = line.trim_start().starts_with("```");
            in_code ^= fence;
            (!fence && !in_code).then_some((index + 1, line))
        })
    }

    /// The anchors of the headings, as forges and mdBook make them.
    pub fn anchors(&self) -> Vec<String> {
        let headings = self.prose().filter_map(|(_, line)| line.strip_prefix('#'));
        headings.map(|heading| anchor(heading.trim_start_matches('#').trim())).collect()
    }
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// `docs/`, and the pages at the root and beside code.
pub fn pages() -> Vec<Page> {
    let root = root();
    let docs = std::fs::read_dir(root.join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path().strip_prefix(&root).unwrap().to_owned());
    let others = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md"].map(PathBuf::from);
    let mut paths: Vec<_> =
        docs.filter(|path| path.extension().is_some_and(|kind| kind == "md")).chain(others).collect();
    paths.sort();
    let page = |path: PathBuf| Page { text: std::fs::read_to_string(root.join(&path)).unwrap(), path };
    paths.into_iter().map(page).collect()
}

#[test]
fn headings_become_anchors() {
    for (heading, wanted) in [
        ("Upgrade and roll back", "upgrade-and-roll-back"),
        ("Downloads: model-loader beside others", "downloads-model-loader-beside-others"),
        ("`kubectl model`", "kubectl-model"),
    ] {
        assert_eq!(anchor(heading), wanted);
    }
}
