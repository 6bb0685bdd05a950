//! A command line that cannot be read: said to the person, and to the controller in the termination message.

use std::{env, ffi::OsString, path::PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use model_core::{
    reason::Reason,
    report::{Failure, Outcome},
};

use crate::outcome;

/// Exit code of a command line that is wrong.
const WRONG_USE: i32 = 64;

/// Prints what is wrong and gives the exit code. Help and version come this way too, and are no mistake.
pub fn report(mut error: clap::Error) -> i32 {
    if !error.use_stderr() {
        let _ = error.print();
        return 0;
    }
    hide_urls(&mut error);
    let _ = error.print();
    let file =
        termination_log(env::args_os()).or_else(|| env::var_os("MODEL_LOADER_TERMINATION_LOG").map(PathBuf::from));
    let failure = Failure { reason: Reason::WrongUse, message: message(&error) };
    outcome::leave(file.as_deref(), &Outcome::Failed(failure));
    WRONG_USE
}

/// The part that says what is wrong, in one line.
fn message(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing".to_owned();
    }
    let text = error.render().to_string();
    let wrong = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = wrong.trim_start_matches("error:").split_whitespace().collect();
    words.join(" ")
}

/// A URL in the wrong place is quoted in the error, and may hold a password or a signature.
fn hide_urls(error: &mut clap::Error) {
    let mut hidden = false;
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue, ContextKind::InvalidSubcommand] {
        if let Some(ContextValue::String(text)) = error.get(kind)
            && let Some((scheme, _)) = text.split_once("://")
        {
            let shown = ContextValue::String(format!("{scheme}://…"));
            error.insert(kind, shown);
            hidden = true;
        }
    }
    if hidden {
        // It repeats the text.
        error.remove(ContextKind::Suggested);
    }
}

/// The file for the result, read as far as that is possible.
fn termination_log(args: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    let mut args = args.skip_while(|arg| !arg.to_str().is_some_and(|arg| arg.starts_with("--termination-log")));
    let found = args.next()?.into_string().ok()?;
    match found.strip_prefix("--termination-log")? {
        "" => args.next().map(PathBuf::from),
        rest => rest.strip_prefix('=').map(PathBuf::from),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn wrong(args: &[&str]) -> clap::Error {
        let mut error = Cli::try_parse_from(["model-loader"].iter().chain(args)).unwrap_err();
        hide_urls(&mut error);
        error
    }

    #[test]
    fn the_message_names_the_mistake_in_one_line() {
        for (args, part) in [
            (&[][..], "a command is missing"),
            (&["push"], "unrecognized subcommand 'push'"),
            (&["pull", "--to", "/x"], "required arguments were not provided: --source <SOURCE>"),
            (&["pull", "--sorce", "hf://o/r"], "unexpected argument '--sorce'"),
            (&["pull", "--stall-timeout", "x"], "invalid value 'x' for '--stall-timeout <SECONDS>'"),
        ] {
            let message = message(&wrong(args));
            assert!(message.contains(part), "{args:?}: {message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn a_url_in_the_wrong_place_is_not_printed() {
        let url = "https://user:s3cret@host/x?sig=s3cret";
        for args in [
            &["pull", "--to", "/x", url][..],
            &[url],
            &["pull", "--stall-timeout", url],
            &["pull", "--sorce", url],
            &["pull", "--sorce=https://user:s3cret@host"],
        ] {
            let error = wrong(args);
            assert!(!error.render().to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn the_place_for_the_result_is_found_all_the_same() {
        let found = |args: &[&str]| termination_log(args.iter().map(OsString::from));
        assert_eq!(found(&["pull", "--bad", "--termination-log", "/a", "b"]), Some("/a".into()));
        assert_eq!(found(&["pull", "--termination-log=/a", "--bad"]), Some("/a".into()));
        for args in [&["pull"][..], &["pull", "--termination-log"], &["--termination-logs=/a"]] {
            assert_eq!(found(args), None, "{args:?}");
        }
    }
}
