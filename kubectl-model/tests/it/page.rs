//! `docs/kubectl-model.md` has every command with every flag of it and no other, and shows what the program prints.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use kubectl_model::Cli;

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn page() -> String {
    fs::read_to_string(file("../docs/kubectl-model.md")).expect("the page is there")
}

/// The long flags in a text: what stands behind `--` where a word begins.
fn flags(text: &str) -> BTreeSet<String> {
    let word =
        |part: &str| part.chars().take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-').collect();
    text.split("--")
        .skip(1)
        .map(word)
        .filter(|flag: &String| flag.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect()
}

#[test]
fn every_command_has_a_section_with_its_flags() {
    let page = page();
    let mut sections = page.split("\n## ");
    let head = sections.next().expect("a head");
    let program = Cli::command();
    let global: BTreeSet<_> = program.get_arguments().filter_map(|flag| flag.get_long().map(str::to_owned)).collect();
    assert_eq!(flags(head), global);
    let mut commands: BTreeSet<_> = program.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for section in sections {
        let (name, text) = section.split_once('\n').expect("a section has text");
        assert!(commands.remove(name), "there is no command {name}");
        let command = program.find_subcommand(name).expect("it is there");
        let its: BTreeSet<_> = command.get_arguments().filter_map(|flag| flag.get_long().map(str::to_owned)).collect();
        // Those of another command stand there with its name.
        let text = text.replace("`status --watch`", "");
        assert_eq!(flags(&text), its, "{name}");
    }
    assert!(commands.is_empty(), "{commands:?} have no section");
}

#[test]
fn what_is_shown_is_what_is_printed() {
    let mut printed = BTreeSet::new();
    for folder in ["src/snapshots", "src/why/tests/snapshots"] {
        for entry in fs::read_dir(file(folder)).expect("snapshots are there") {
            let snapshot = fs::read_to_string(entry.expect("an entry").path()).expect("a snapshot");
            printed.extend(snapshot.lines().map(str::to_owned));
        }
    }
    let (mut block, mut shown) = (None, 0);
    for line in page().lines() {
        match (block, line.strip_prefix("```")) {
            (None, language) => block = language.map(str::to_owned),
            (Some(_), Some(_)) => block = None,
            (Some(language), None) => {
                if language.is_empty() {
                    assert!(printed.contains(line), "the program does not print:\n{line}");
                    shown += 1;
                }
                block = Some(language);
            }
        }
    }
    assert!(shown > 20, "{shown} lines are compared");
}
