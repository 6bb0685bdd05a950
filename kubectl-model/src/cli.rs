//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::wish::Pull;

/// Models of this cluster: what they are, how far they are, and what holds them up.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-model",
    bin_name = "kubectl model",
    version,
    after_help = "Exit codes: 0 done or ready, 1 failed, damaged or not ready, 2 wrong use."
)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which cluster and namespace, as for kubectl.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// Kubeconfig file. Absent: those of KUBECONFIG, else ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig. Absent: the current one.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace. Absent: that of the context.
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the Models of a namespace
    List {
        /// Those of all namespaces.
        #[arg(short = 'A', long)]
        all_namespaces: bool,
    },
    /// Show how far a Model is: bytes, speed, time left
    Status {
        /// Name of the Model.
        name: String,
        /// Go on until it is ready or has failed: a bar on a terminal, else a line for each change.
        #[arg(short, long)]
        watch: bool,
    },
    /// Say what blocks a Model or a pod, and what to do about it
    Why {
        /// NAME of a Model or else of a pod; model/NAME or pod/NAME to say which.
        name: String,
        /// Form of the answer. JSON is for support tickets and holds no secrets.
        #[arg(short, long, value_enum)]
        output: Option<Output>,
    },
    /// Wait until a Model is ready
    Wait {
        /// Name of the Model.
        name: String,
        /// Give up after this time, such as 90s, 30m or 2h. Absent: never.
        #[arg(long, value_parser = span)]
        timeout: Option<Duration>,
    },
    /// Create a Model from the address of its files, and wait until it is ready
    Pull(Box<Pull>),
    /// Start a failed download again
    Retry {
        /// Name of the Model.
        name: String,
    },
    /// Download a Model anew, beside what pods mount now
    Refresh {
        /// Name of the Model.
        name: String,
    },
    /// Read the files of a Model again, on its volume, and say which are not as they were published
    Verify {
        /// Name of the Model.
        name: String,
        /// Follow it no longer than this, such as 90s, 30m or 2h. The check itself goes on.
        #[arg(long, value_parser = span)]
        timeout: Option<Duration>,
        /// Form of the answer.
        #[arg(short, long, value_enum)]
        output: Option<Output>,
    },
    /// Print the log of a Model's newest download
    Logs {
        /// Name of the Model.
        name: String,
        /// Go on until the download ends.
        #[arg(short, long)]
        follow: bool,
    },
    /// Show the claims of the Models of a namespace, and which pods mount them
    Usage {
        /// Those of all namespaces.
        #[arg(short = 'A', long)]
        all_namespaces: bool,
    },
    /// Print a completion script
    Completion {
        /// The shell.
        #[arg(value_enum)]
        shell: CompletionShell,
    },
}

/// Form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// JSON.
    Json,
}

/// Shells that a completion script can be printed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompletionShell {
    /// Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
}

impl From<CompletionShell> for Shell {
    fn from(shell: CompletionShell) -> Self {
        match shell {
            CompletionShell::Bash => Self::Bash,
            CompletionShell::Zsh => Self::Zsh,
            CompletionShell::Fish => Self::Fish,
        }
    }
}

/// Reads a time span: a number and `s`, `m` or `h`, `s` where there is no unit.
fn span(text: &str) -> Result<Duration, String> {
    let (number, seconds) = match text.char_indices().last() {
        Some((end, 's')) => (&text[..end], 1),
        Some((end, 'm')) => (&text[..end], 60),
        Some((end, 'h')) => (&text[..end], 3600),
        _ => (text, 1),
    };
    let number: u64 = number.parse().map_err(|_| "write a number and s, m or h, such as 90s, 30m or 2h".to_owned())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "that is longer than time is counted".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_time_span_has_a_number_and_a_unit() {
        for (text, want) in [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("0s", 0)] {
            assert_eq!(span(text), Ok(Duration::from_secs(want)), "{text}");
        }
        for text in ["", "s", "1d", "-1s", "1.5h", "99999999999999999999s", "18446744073709551615h", "1é"] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
