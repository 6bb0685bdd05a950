//! Text on its way to a terminal.
//!
//! Messages in Events, statuses and logs are written by others: they may hold escape sequences that draw over what is on
//! the screen, line breaks that forge lines of ours, and addresses with credentials in them.

use std::io::{self, Write};

use crate::Error;

/// Longest foreign text that is repeated in one line, in characters.
const MAX_LINE: usize = 1000;

/// What access tokens of the hub begin with, and how long what follows is at least.
const TOKEN: &str = "hf_";
const SHORTEST_TOKEN: usize = 20;

/// What a harmful character becomes.
const STAND_IN: char = '\u{fffd}';

/// A foreign text as one line: white space runs are one blank, nothing in it moves the cursor or turns the direction of
/// writing, credentials are left out, and it ends after a thousand characters.
#[must_use]
pub fn line(foreign: &str) -> String {
    let words: Vec<String> = foreign.split_whitespace().map(without_secrets).collect();
    let clean: String = words.join(" ").chars().map(harmless).collect();
    if clean.chars().count() <= MAX_LINE {
        return clean;
    }
    clean.chars().take(MAX_LINE).chain(['…']).collect()
}

fn harmless(c: char) -> char {
    let turns_direction =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || turns_direction { STAND_IN } else { c }
}

/// One word without what opens doors: tokens of the hub, user and query of an address.
fn without_secrets(word: &str) -> String {
    let mut rest = word;
    let mut plain = String::new();
    while let Some(start) = rest.find(TOKEN) {
        let (before, token) = rest.split_at(start + TOKEN.len());
        let length = token.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(token.len());
        plain.push_str(before);
        plain.push_str(if length < SHORTEST_TOKEN { &token[..length] } else { "…" });
        rest = &token[length..];
    }
    plain.push_str(rest);
    plain_addresses(&plain)
}

/// Addresses without user and query. Behind a query nothing of the word is kept but its punctuation.
fn plain_addresses(word: &str) -> String {
    let Some((before, rest)) = word.split_once("://") else { return word.to_owned() };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // What stands behind the @ of a repository is its revision.
    let user = if before.ends_with("hf") { None } else { rest[..authority].rfind('@') };
    let rest = &rest[user.map_or(0, |at| at + 1)..];
    let rest = match rest.find('?') {
        Some(query) => {
            let tail = rest.len() - rest.trim_end_matches(['"', '\'', ')', ',', ';', ':', '.']).len();
            format!("{}?…{}", &rest[..query], &rest[(rest.len() - tail).max(query + 1)..])
        }
        None => plain_addresses(rest),
    };
    format!("{before}://{rest}")
}

/// Writes a text to standard output. A reader that went away ends the output, not the command.
///
/// # Errors
/// When standard output is full or closed otherwise.
pub fn say(text: &str) -> Result<(), Error> {
    let safe: String = text.chars().map(|c| if c == '\n' { c } else { harmless(c) }).collect();
    let mut out = io::stdout().lock();
    match writeln!(out, "{safe}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Error::Output),
    }
}

/// Writes an error, and what to do about it, to standard error.
pub fn complain(error: &Error) {
    let advice = error.advice();
    note(&format!("error: {}", line(&error.to_string())));
    if !advice.is_empty() {
        note(&format!("what to do: {}", line(advice)));
    }
}

/// Writes a remark to standard error.
pub fn note(remark: &str) {
    // Nobody is left to be told.
    let _ = writeln!(io::stderr(), "{}", line(remark));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_of_a_foreign_text_draws_on_the_terminal() {
        for (foreign, want) in [
            ("plain", "plain"),
            ("a\n  do: curl evil\r\n\tb", "a do: curl evil b"),
            ("\x1b[2J\x1b]0;title\x07gone", "\u{fffd}[2J\u{fffd}]0;title\u{fffd}gone"),
            ("\u{9b}31m", "\u{fffd}31m"),
            ("abc\u{202e}txt.exe", "abc\u{fffd}txt.exe"),
            ("größer 大", "größer 大"),
        ] {
            assert_eq!(line(foreign), want);
        }
    }

    #[test]
    fn credentials_in_addresses_and_tokens_are_left_out() {
        for (foreign, want) in [
            ("GET https://user:s3cret@host/a?X-Amz-Signature=s3cret: 403", "GET https://host/a?…: 403"),
            ("\"https://host/a?sig=s3cret\".", "\"https://host/a?…\"."),
            ("see https://host/a/b, then", "see https://host/a/b, then"),
            ("proxy http://me:s3cret@proxy:3128", "proxy http://proxy:3128"),
            ("https://host/@handle", "https://host/@handle"),
            ("token=hf_s3cretS3cretS3cretS3cret!", "token=hf_…!"),
            ("hf_hub", "hf_hub"),
            ("hf://org/repo@v1", "hf://org/repo@v1"),
            ("http://a/b,https://me:s3cret@c/d", "http://a/b,https://c/d"),
            ("hf_s3cretS3cretS3cretS3cret@https://me:s3cret@c", "hf_…@https://c"),
        ] {
            assert_eq!(line(foreign), want);
        }
    }

    proptest! {
        #[test]
        fn a_line_is_one_short_harmless_line(foreign in "(\\PC|[\\x00-\\x1f\\x7f-\\x9f\\u{202e}?@/:]){0,1500}") {
            let line = line(&foreign);
            prop_assert!(line.chars().count() <= MAX_LINE + 1);
            prop_assert!(line.chars().all(|c| harmless(c) == c), "{:?}", line);
        }
    }
}
