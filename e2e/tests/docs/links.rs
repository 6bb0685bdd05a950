//! Every link leads somewhere.

use crate::pages::{Page, pages, root};

/// The targets of the links of a line: `[text](target)`, outside of `code`.
fn targets(line: &str) -> Vec<&str> {
    let text = line.split('`').step_by(2);
    let after = text.flat_map(|part| part.split("](").skip(1));
    after.filter_map(|rest| rest.split_once(')').map(|(target, _)| target)).collect()
}

/// What is wrong with a link of this page. Other sites are not asked: CI has no way there, and they would fail for reasons of
/// their own.
fn problem(page: &Page, target: &str, all: &[Page]) -> Option<String> {
    if target.starts_with("https://") {
        return None;
    }
    if target.contains("://") {
        return Some("is neither https nor a path".to_owned());
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let file = if path.is_empty() { page.path.clone() } else { page.path.parent().unwrap().join(path) };
    let Ok(found) = root().join(&file).canonicalize() else {
        return Some("leads to nothing".to_owned());
    };
    let anchor = anchor?;
    let other = all.iter().find(|other| root().join(&other.path) == found);
    let has = other.is_some_and(|other| other.anchors().iter().any(|known| known == anchor));
    (!has).then(|| format!("has no heading #{anchor}"))
}

#[test]
fn every_link_leads_somewhere() {
    let all = pages();
    let mut wrong = Vec::new();
    for page in &all {
        // A link whose text holds code is split by it, so the whole line is looked at, too.
        for (number, line) in page.prose() {
            let whole = line.replace('`', "");
            for target in targets(line).into_iter().chain(targets(&whole)) {
                if let Some(problem) = problem(page, target, &all) {
                    wrong.push(format!("{}:{number}: {target} {problem}", page.path.display()));
                }
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn links_are_found_and_judged() {
    assert_eq!(targets("see [a](b.md), [`c`](d.md#e) and `[no](link)`"), ["b.md", "d.md#e"]);
    let text = "# Here\n[x](#here)".to_owned();
    let all = [Page { path: "README.md".into(), text }];
    for (target, wanted) in [
        ("#here", None),
        ("#there", Some("has no heading #there")),
        ("docs/none.md", Some("leads to nothing")),
        ("http://example.com", Some("is neither https nor a path")),
    ] {
        assert_eq!(problem(&all[0], target, &all).as_deref(), wanted, "{target}");
    }
}
