//! The pages that say what is shown name the tests that show it, and those tests exist.

use std::collections::BTreeSet;
use std::path::Path;

use crate::pages::root;

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// What a page can name: files with their path, and test functions and scenarios.
#[derive(Default)]
struct Sources {
    files: Vec<String>,
    tests: BTreeSet<String>,
}

impl Sources {
    fn read() -> Self {
        let mut sources = Self::default();
        for member in std::fs::read_dir(root()).unwrap() {
            let member = member.unwrap();
            if member.path().join("Cargo.toml").is_file() {
                for folder in ["src", "tests"] {
                    sources.add(&member.path().join(folder), &format!("{}/{folder}", member.file_name().display()));
                }
            }
        }
        sources
    }

    fn add(&mut self, directory: &Path, name: &str) {
        let Ok(entries) = std::fs::read_dir(directory) else { return };
        for entry in entries {
            let entry = entry.unwrap();
            let name = format!("{name}/{}", entry.file_name().display());
            if entry.path().is_dir() {
                self.add(&entry.path(), &name);
            } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
                self.tests(&std::fs::read_to_string(entry.path()).unwrap());
                self.files.push(name);
            }
        }
    }

    /// Functions under `#[test]`, `#[tokio::test]` or within `proptest!`, and scenarios of the node.
    fn tests(&mut self, code: &str) {
        let mut is_test = false;
        for line in code.lines().map(str::trim_start) {
            let declared = line.trim_start_matches("async ").strip_prefix("fn ");
            if let (true, Some(declared)) = (is_test, declared) {
                self.tests.insert(declared.split('(').next().unwrap().to_owned());
            }
            // Attributes may stand between.
            is_test = line.starts_with("#[test]")
                || line.starts_with("#[tokio::test")
                || is_test && (line.starts_with('#') || line.starts_with("//"));
            if let Some(scenario) = line.strip_prefix("scenario(\"") {
                self.tests.insert(scenario.split('"').next().unwrap().to_owned());
            }
        }
    }

    /// Whether there is such a file, of which a page may leave the first folders out.
    fn has_file(&self, named: &str) -> bool {
        self.files.iter().any(|file| file == named || file.ends_with(&format!("/{named}")))
    }

    /// Whether there is such a test, of which a page may leave one end out: `…_rest_of_it`.
    fn has_test(&self, named: &str) -> bool {
        self.tests.iter().any(|test| match (named.strip_prefix('…'), named.strip_suffix('…')) {
            (Some(end), _) => test.ends_with(end),
            (_, Some(start)) => test.starts_with(start),
            _ => test == named,
        })
    }
}

/// What stands between backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_file(code: &str) -> bool {
    Path::new(code).extension().is_some_and(|extension| extension == "rs")
}

/// Words of lower case with underscores: nothing else in these pages looks like that.
fn is_test(code: &str) -> bool {
    let letters = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_…".contains(letter);
    code.contains('_') && code.chars().all(letters)
}

#[test]
fn each_test_that_a_page_names_is_there() {
    let sources = Sources::read();
    for name in ["security.md", "reliability.md"] {
        let page = page(name);
        let named: Vec<_> = code(&page).filter(|code| is_file(code) || is_test(code)).collect();
        assert!(named.len() >= 3, "{name} names {named:?}");
        let is_there = |code: &str| if is_file(code) { sources.has_file(code) } else { sources.has_test(code) };
        let missing: Vec<_> = named.into_iter().filter(|code| !is_there(code)).collect();
        assert_eq!(missing, Vec::<&str>::new(), "of {name}");
    }
}

/// Who is trusted with what is told first; all that comes after it is claimed.
#[test]
fn each_claim_about_security_names_a_test() {
    let page = page("security.md");
    let names = |text: &str| code(text).any(|code| is_test(code) || is_file(code));
    let sections: Vec<_> = page.split("\n## ").skip(2).collect();
    assert!(sections.len() > 5);
    for section in sections {
        let title = section.lines().next().unwrap();
        assert!(code(section).any(is_test), "{title}");
        let mut shown_by = false;
        for line in section.lines() {
            // The last cell of each row, where the table's head says so.
            let Some(cell) = line.strip_suffix(" |").and_then(|line| line.rsplit_once("| ")) else {
                shown_by &= line.starts_with('|');
                continue;
            };
            assert!(!shown_by || names(cell.1), "{title}: {line}");
            shown_by |= cell.1 == "shown by";
        }
        // Of a list of claims each one; that of the first section is about one policy.
        if title == "Pods" {
            for claim in section.split("\n- ").skip(1) {
                assert!(names(claim), "{title}: {claim}");
            }
        }
    }
}

#[test]
fn what_is_missing_is_found() {
    let mut sources = Sources::default();
    sources.tests("#[test]\n// Reason.\n#[cfg(unix)]\nfn one_of_us() {}\nfn no_test() {}\n#[tokio::test]\nasync fn two_of_us() {}");
    assert_eq!(sources.tests.iter().map(String::as_str).collect::<Vec<_>>(), ["one_of_us", "two_of_us"]);
    assert!(sources.has_test("one_…") && sources.has_test("…_of_us") && !sources.has_test("no_test"));
    assert_eq!(code("a `b` c `d_e`").collect::<Vec<_>>(), ["b", "d_e"]);
    assert!(is_test("…_e") && !is_test("Ready_x") && !is_test("word") && is_file("a/b.rs"));
}
