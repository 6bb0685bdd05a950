//! What can go wrong, said so that the reader knows what to do.

use std::{error::Error as _, fmt, io, path::PathBuf};

/// Why a cluster could not be built, started or reached.
#[derive(thiserror::Error)]
pub enum Error {
    /// The operating system refused a file, directory or process.
    #[error("could not {doing}")]
    Io {
        /// What was being done, with its path.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A program that the cluster needs on this machine ran and failed.
    #[error("could not {doing}:\n{output}")]
    Command {
        /// What was being done.
        doing: String,
        /// What the program said, standard error first.
        output: String,
    },
    /// Programs from the distribution are missing.
    #[error("{} not installed: run `apt-get install --no-install-recommends {}`", list(.programs), .packages.join(" "))]
    MissingPackages {
        /// The programs that were looked for and not found.
        programs: Vec<&'static str>,
        /// The Debian packages that hold them.
        packages: Vec<&'static str>,
    },
    /// There is no Go toolchain to build the cluster's programs with.
    #[error("could not run `go`: install Go 1.26 or newer from https://go.dev/dl, then try again")]
    NoGo(#[source] io::Error),
    /// A full node needs network and mount namespaces of its own.
    #[error("a full node needs root: run as root, or start the control plane alone")]
    NotRoot,
    /// One of the cluster's programs did not compile.
    #[error("could not build {binary}:\n{output}")]
    Build {
        /// The program.
        binary: &'static str,
        /// The last lines the compiler wrote.
        output: String,
    },
    /// A component ended while the cluster was starting or running.
    #[error("{component} ended with exit status {status}; the end of its log:\n{log}")]
    ComponentEnded {
        /// The component, named like its program.
        component: String,
        /// Its exit status; above 128 a signal ended it.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// A component runs but did not become ready in time.
    #[error("{component} was not ready after {seconds} s ({waiting_for}); the end of its log:\n{log}")]
    NotReady {
        /// The component that is waited for.
        component: String,
        /// What was waited for.
        waiting_for: String,
        /// How long, in seconds.
        seconds: u64,
        /// The last lines of its log.
        log: String,
    },
    /// The supervisor ended although no component did.
    #[error("the cluster's supervisor was killed")]
    SupervisorKilled,
    /// A cluster of that name runs already.
    #[error("cluster {0} runs already: end it with `dev-cluster down {0}` or choose another name")]
    NameTaken(String),
    /// The name cannot be a node's name.
    #[error("{0:?} is not a cluster name: use up to 32 lower-case letters, digits and hyphens")]
    InvalidName(String),
    /// No cluster of that name runs.
    #[error("no cluster named {0} runs: `dev-cluster status` lists those that do")]
    NotRunning(String),
    /// The cluster is a control plane alone and has no container runtime.
    #[error("cluster {0} is a control plane alone and runs no containers: start a full node")]
    NoContainers(String),
    /// Neither `HOME` nor the XDG variable that would replace it is set.
    #[error("HOME is not set: set it, or {0}, to a directory for the cluster's files")]
    NoHome(&'static str),
    /// A certificate could not be made.
    #[error("could not make the cluster's certificates")]
    Certificate(#[from] rcgen::Error),
    /// An image's content cannot be written as asked.
    #[error("cannot write the image {}: {reason}", .image.display())]
    Image {
        /// The file being written.
        image: PathBuf,
        /// What is wrong with the request.
        reason: String,
    },
}

impl Error {
    /// Wraps an I/O error with what was being done.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

/// As [`fmt::Display`], with the causes: what a test's `expect` prints stays readable, logs included.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

fn list(programs: &[&str]) -> String {
    let verb = if programs.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", programs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_is_told_what_to_do_and_why() {
        let missing = Error::MissingPackages { programs: vec!["runc", "nft"], packages: vec!["runc", "nftables"] };
        let want = "runc, nft are not installed: run `apt-get install --no-install-recommends runc nftables`";
        assert_eq!(missing.to_string(), want);
        let refused = Error::io("create /sys/x")(io::ErrorKind::PermissionDenied.into());
        assert_eq!(format!("{refused:?}"), "could not create /sys/x: permission denied");
    }
}
