//! The book has every page, once.

use std::collections::BTreeSet;

use crate::pages::{pages, root};

#[test]
fn the_book_has_every_page() {
    let summary = std::fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let listed = summary.lines().filter_map(|line| Some(line.split_once("](")?.1.strip_suffix(')')?.to_owned()));
    let listed: Vec<String> = listed.collect();
    let unique: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(listed.len(), unique.len(), "a page is listed twice: {listed:?}");
    let pages = pages().into_iter().map(|page| page.path);
    let docs = pages.filter_map(|path| Some(path.strip_prefix("docs").ok()?.to_str()?.to_owned()));
    assert_eq!(unique, docs.filter(|name| name != "SUMMARY.md").collect());
}
