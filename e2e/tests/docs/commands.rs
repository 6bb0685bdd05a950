//! Each command on a page is run by a test, or the page says why not: in a comment before the block,
//! `<!-- run by PATH: NAME -->` or `<!-- not run: REASON -->`.

use crate::pages::{Page, pages, root};

/// The line of a shell block, with the nearest line before it that is not empty.
fn shell_blocks(page: &Page) -> impl Iterator<Item = (usize, &str)> {
    let lines: Vec<&str> = page.text.lines().collect();
    let starts = (0..lines.len()).filter({
        let lines = lines.clone();
        move |index| lines[*index].trim() == "```sh"
    });
    starts.map(move |start| {
        (start + 1, lines[..start].iter().rev().find(|line| !line.is_empty()).map_or("", |line| line.trim()))
    })
}

/// What is wrong with what stands before a block.
fn problem(before: &str) -> Option<String> {
    let comment = before.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
    let Some(comment) = comment else { return Some("is neither run by a test nor says why not".to_owned()) };
    if let Some(reason) = comment.strip_prefix("not run: ") {
        return (reason.len() < 10).then(|| "says nothing about why it is not run".to_owned());
    }
    let Some((path, name)) = comment.strip_prefix("run by ").and_then(|test| test.split_once(": ")) else {
        return Some(format!("has a comment that says nothing about tests: {comment}"));
    };
    let Ok(text) = std::fs::read_to_string(root().join(path)) else {
        return Some(format!("names {path}, which is not there"));
    };
    (!text.contains(name)).then(|| format!("names {name}, which is not in {path}"))
}

#[test]
fn each_command_is_run_or_says_why_not() {
    let pages = pages();
    let blocks = pages.iter().flat_map(|page| shell_blocks(page).map(move |block| (page, block)));
    let wrong = blocks.filter_map(|(page, (line, before))| {
        problem(before).map(|problem| format!("{}:{line}: the block {problem}", page.path.display()))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_stands_before_a_block_is_judged() {
    let ok = "<!-- run by e2e/tests/docs/commands.rs: what_stands_before_a_block_is_judged -->";
    for (before, wrong) in [
        (ok, false),
        ("<!-- not run: it needs a registry -->", false),
        ("<!-- not run: -->", true),
        ("text", true),
        ("<!-- run by e2e/tests/docs/none.rs: x -->", true),
        (&ok.replace("judged", "praised"), true),
    ] {
        assert_eq!(problem(before).is_some(), wrong, "{before}");
    }
    let page = Page { path: "a.md".into(), text: "text\n<!-- a -->\n```sh\nls\n```\n\n```yaml\n```\n".to_owned() };
    assert_eq!(shell_blocks(&page).collect::<Vec<_>>(), [(3, "<!-- a -->")]);
}
