//! The command line.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use model_core::reason::Reason;
use model_loader::{
    Access, Error, Network, Source, Wanted,
    digest::{Algorithm, Digest},
};

/// Downloads a model into a directory: every byte once, verified, visible only when complete.
///
/// Progress is a bar where standard error is a terminal; otherwise a line of JSON every 2 seconds on standard output, the
/// last one with totals.
///
/// Exit codes: 0 done, 1 failed and worth a retry, 2 failed for good, 64 wrong use.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Download into a directory.
    Pull(Pull),
    /// Print as JSON what would be downloaded.
    Plan(Plan),
    /// Take earlier content off a volume: set aside what nobody uses, then put it back or delete it.
    Prune(Prune),
    /// Read a published directory again and name each file that is changed, missing or extra. Exits with 2 if there is any.
    Verify(Verify),
}

impl Command {
    /// File to write the result to, where the command has one.
    pub fn termination_log(&self) -> Option<&Path> {
        match self {
            Self::Pull(args) => args.termination_log.as_deref(),
            Self::Plan(args) => args.termination_log.as_deref(),
            Self::Prune(args) => args.termination_log.as_deref(),
            Self::Verify(args) => args.termination_log.as_deref(),
        }
    }
}

/// Download into a directory.
#[derive(Debug, Args)]
pub struct Pull {
    /// Where from.
    #[command(flatten)]
    pub from: SourceArgs,
    /// Directory for the files: absent, empty, or published by the same command before.
    #[arg(long, value_name = "DIR", env = "MODEL_LOADER_TO")]
    pub to: PathBuf,
    /// Where the directory was published before, read all of its files again and compare them with what was verified then.
    /// Without it their sizes are compared. Either way nothing is downloaded again.
    #[arg(long, env = "MODEL_LOADER_RECHECK")]
    pub recheck: bool,
    /// Bytes that may be held in memory for all connections together, in MiB. Bounds their number: 32 are 32 connections
    /// for large files and 192 for small ones.
    #[arg(long, value_name = "MIB", env = "MODEL_LOADER_BUFFERS", default_value_t = 32)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub buffers: u64,
    /// File to write the result to, as JSON of less than 4 kB: the termination message of a container.
    #[arg(long, value_name = "FILE", env = "MODEL_LOADER_TERMINATION_LOG")]
    pub termination_log: Option<PathBuf>,
}

/// Print as JSON what would be downloaded.
#[derive(Debug, Args)]
pub struct Plan {
    /// Where from.
    #[command(flatten)]
    pub from: SourceArgs,
    /// File to write the sums to, as JSON of less than 4 kB: the termination message of a container.
    #[arg(long, value_name = "FILE", env = "MODEL_LOADER_TERMINATION_LOG")]
    pub termination_log: Option<PathBuf>,
}

/// Take earlier content off a volume.
#[derive(Debug, Args)]
pub struct Prune {
    /// Directory that holds the published directories.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Rename this directory, so that it cannot be mounted any more. May be repeated, as the following.
    #[arg(long, value_name = "NAME")]
    pub set_aside: Vec<String>,
    /// Give a directory that was set aside its name back.
    #[arg(long, value_name = "NAME")]
    pub put_back: Vec<String>,
    /// Delete what was set aside of this name, and what a download that was given up left. Not what is published under it.
    #[arg(long, value_name = "NAME")]
    pub delete: Vec<String>,
    /// File to write the cause of a failure to, as JSON of less than 4 kB: the termination message of a container.
    #[arg(long, value_name = "FILE", env = "MODEL_LOADER_TERMINATION_LOG")]
    pub termination_log: Option<PathBuf>,
}

/// Read a published directory again.
#[derive(Debug, Args)]
pub struct Verify {
    /// The directory.
    pub dir: PathBuf,
    /// Print progress, and then every file, as lines of JSON. Without it only files that are not as they were published are
    /// printed.
    #[arg(long)]
    pub json: bool,
    /// File to write the result to, as JSON of less than 4 kB: the termination message of a container.
    #[arg(long, value_name = "FILE", env = "MODEL_LOADER_TERMINATION_LOG")]
    pub termination_log: Option<PathBuf>,
}

/// Where from.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// `hf://ORG/REPO[@REV]`, `s3://BUCKET/KEY` (an object, or all below), `ollama://NAME[:TAG]`,
    /// `oci://HOST/REPOSITORY[:TAG|@sha256:…]`, or an http:// or https:// URL.
    ///
    /// Registries on this machine, and those written `oci+http://`, are spoken to without TLS.
    ///
    /// Credentials and endpoints come from the environment: `HF_TOKEN`, `HF_ENDPOINT`; `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_VIRTUAL_HOSTED_STYLE_REQUEST`,
    /// `AWS_WEB_IDENTITY_TOKEN_FILE` with `AWS_ROLE_ARN` and `AWS_ENDPOINT_URL_STS`; for registries `OCI_USERNAME` with
    /// `OCI_PASSWORD`, else `REGISTRY_AUTH_FILE` or `DOCKER_CONFIG`, and `OLLAMA_REGISTRY`; for URLs `TOKEN`, or `USERNAME` with
    /// `PASSWORD`; proxies from the usual variables, further certificate authorities from the file `SSL_CERT_FILE`.
    #[arg(long, env = "MODEL_LOADER_SOURCE", hide_env_values = true)]
    source: String,
    /// Take only files that match this pattern. May be repeated; in the environment one pattern a line.
    #[arg(long, value_name = "GLOB", env = "MODEL_LOADER_INCLUDE", value_delimiter = '\n')]
    include: Vec<String>,
    /// Leave out files that match this pattern. May be repeated; in the environment one pattern a line.
    #[arg(long, value_name = "GLOB", env = "MODEL_LOADER_EXCLUDE", value_delimiter = '\n')]
    exclude: Vec<String>,
    /// SHA-256 that the file must have, for a source of one file.
    #[arg(long, value_name = "HEX", env = "MODEL_LOADER_SHA256")]
    sha256: Option<String>,
    /// Seconds without a byte after which a connection is given up.
    #[arg(long, value_name = "SECONDS", env = "MODEL_LOADER_STALL_TIMEOUT", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    stall_timeout: u64,
}

impl SourceArgs {
    /// What the arguments ask for, checked.
    pub fn wanted(&self) -> Result<Wanted, Error> {
        let sha256 = |hex: &String| {
            Digest::from_hex(Algorithm::Sha256, hex)
                .map_err(|error| Error::new(Reason::WrongUse, "--sha256 takes 64 hexadecimal digits").caused_by(error))
        };
        let some = |patterns: &[String]| patterns.iter().filter(|pattern| !pattern.is_empty()).cloned().collect();
        Ok(Wanted {
            source: self.source.parse::<Source>()?,
            include: some(&self.include),
            exclude: some(&self.exclude),
            sha256: self.sha256.as_ref().filter(|hex| !hex.is_empty()).map(sha256).transpose()?,
        })
    }

    /// How the source is talked to, with credentials from the environment.
    pub fn network(&self) -> Result<Network, Error> {
        let stall_timeout = Duration::from_secs(self.stall_timeout);
        Ok(Network { access: Access::from_env()?, stall_timeout, ..Network::default() })
    }
}
