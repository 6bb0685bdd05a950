//! The clients and their command lines. Each gets the flags that make it fast at what is measured.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use clap::ValueEnum;

use crate::model::Model;
use crate::server::{BUCKET, FILES, Manners, ORGANISATION};

/// A program that downloads models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// Ours. Hub protocol, every digest verified.
    ModelLoader,
    /// S3.
    S5cmd,
    /// S3.
    Rclone,
    /// Plain files.
    Curl,
    /// Plain files.
    Aria2c,
    /// `hf download` of Python's `huggingface_hub`, without Xet. Hub protocol.
    Hf,
    /// The Rust crate hf-hub. Hub protocol.
    HfHub,
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The binary of model-loader.
    pub model_loader: PathBuf,
    /// Where `peers/install` has put the others that do not come with the system.
    pub peers: PathBuf,
}

/// One download to be done.
pub struct Download<'a> {
    pub model: &'a Model,
    /// `http://ADDRESS:PORT` of the server.
    pub url: &'a str,
    /// How the server behaves. Latency and slow connections want more requests in flight; else few cost less.
    pub manners: Manners,
    /// Where the files must lie afterwards, under their own names. An empty folder.
    pub target: &'a Path,
    /// An empty folder for lists, caches and settings.
    pub scratch: &'a Path,
}

impl Client {
    /// What it is called in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ModelLoader => "model-loader",
            Self::S5cmd => "s5cmd",
            Self::Rclone => "rclone",
            Self::Curl => "curl",
            Self::Aria2c => "aria2c",
            Self::Hf => "hf",
            Self::HfHub => "hf-hub",
        }
    }

    /// Whether it compares what it downloads with the digests that the source tells.
    pub fn verifies(self) -> bool {
        self == Self::ModelLoader
    }

    /// The program to run: a path, or a name to be looked up.
    pub fn program(self, programs: &Programs) -> OsString {
        match self {
            Self::ModelLoader => programs.model_loader.clone().into_os_string(),
            Self::Curl | Self::Aria2c => self.name().into(),
            Self::S5cmd | Self::Rclone | Self::Hf | Self::HfHub => programs.peers.join("bin").join(self.name()).into(),
        }
    }

    /// What the program says of its version, without the build's details.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn version(self, programs: &Programs) -> io::Result<String> {
        let argument = if matches!(self, Self::S5cmd | Self::Rclone) { "version" } else { "--version" };
        let output = Command::new(self.program(programs)).arg(argument).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.split(['\n', '(']).next().unwrap_or_default().trim().to_owned())
    }

    /// The command line, its environment included, that downloads the model. Writes the list of files for clients that
    /// read one.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn command(self, programs: &Programs, download: &Download) -> io::Result<Invocation> {
        let Download { model, url, manners, target, scratch } = *download;
        let mut run = Invocation::new(self.program(programs));
        run.variable("PATH", std::env::var_os("PATH").unwrap_or_default());
        run.variable("HOME", scratch);
        let many = model.files.len() > 100;
        match self {
            Self::ModelLoader => {
                run.arguments(["pull", "--source", &repository("hf://", model), "--to"]).argument(target);
                run.variable("HF_ENDPOINT", url);
            }
            Self::S5cmd => {
                // By default 256 requests in flight, 5 of them, of 50 MiB, for one file.
                run.arguments(["--no-sign-request", "--endpoint-url", url, "cp"]);
                if manners.rate.is_some() {
                    run.arguments(["--concurrency", "16", "--part-size", "16"]);
                }
                run.argument(format!("s3://{BUCKET}/{}/*", model.name)).argument(slash(target));
            }
            Self::Rclone => {
                run.arguments(["copy", "--config", "/dev/null", "--s3-provider", "Other", "--s3-endpoint", url]);
                // No look at the target, no time of change from the object. It asks for each object's head all the same.
                run.arguments(["--s3-list-version", "2", "--s3-no-head-object"]);
                run.arguments(["--use-server-modtime", "--no-check-dest"]);
                run.arguments(["--transfers", if many { "64" } else { "16" }]);
                if manners.rate.is_some() {
                    run.arguments(["--multi-thread-streams", "16"]);
                }
                run.argument(format!(":s3:{BUCKET}/{}", model.name)).argument(target);
            }
            Self::Curl => {
                let list = list(model, scratch, |path| {
                    format!("url = \"{url}/{FILES}/{path}\"\noutput = \"{}/{path}\"\n", target.display())
                })?;
                run.arguments(["--disable", "--no-progress-meter", "--fail", "--fail-early", "--parallel"]);
                run.arguments(["--parallel-max", "64", "--config"]).argument(list);
            }
            Self::Aria2c => {
                let list = list(model, scratch, |path| format!("{url}/{FILES}/{path}\n"))?;
                run.arguments(["--no-conf", "--quiet", "--file-allocation=none"]);
                // Up to 16 connections for one file where each is slow; where not, 4 are faster.
                let (connections, splits) = if manners.rate.is_some() { ("-x16", "-s16") } else { ("-x4", "-s4") };
                run.arguments([connections, splits, "-k1M", if many { "-j64" } else { "-j16" }, "-d"]);
                run.argument(target).argument("-i").argument(list);
            }
            Self::Hf => {
                // 8 is its default. More threads only wait for each other, unless they wait for the network.
                let workers = if many && !manners.latency.is_zero() { "32" } else { "8" };
                run.arguments(["download", &repository("", model), "--max-workers", workers]);
                run.argument("--local-dir").argument(target);
                run.variable("HF_ENDPOINT", url).variable("HF_HOME", scratch.join("hf"));
                run.variable("HF_HUB_DISABLE_XET", "1").variable("HF_HUB_DISABLE_TELEMETRY", "1");
                run.variable("HF_HUB_DISABLE_PROGRESS_BARS", "1").variable("HF_HUB_DISABLE_UPDATE_CHECK", "1");
            }
            Self::HfHub => {
                run.argument(repository("", model)).argument(target).argument(if many { "64" } else { "16" });
                run.variable("HF_ENDPOINT", url).variable("HF_HOME", scratch.join("hf"));
            }
        }
        Ok(run)
    }
}

/// A program with its arguments and its whole environment.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub program: OsString,
    pub arguments: Vec<OsString>,
    pub environment: Vec<(&'static str, OsString)>,
}

impl Invocation {
    fn new(program: OsString) -> Self {
        Self { program, arguments: Vec::new(), environment: Vec::new() }
    }

    fn argument(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    fn arguments<const N: usize>(&mut self, arguments: [&str; N]) -> &mut Self {
        self.arguments.extend(arguments.map(OsString::from));
        self
    }

    fn variable(&mut self, name: &'static str, value: impl AsRef<OsStr>) -> &mut Self {
        self.environment.push((name, value.as_ref().to_owned()));
        self
    }
}

fn repository(scheme: &str, model: &Model) -> String {
    format!("{scheme}{ORGANISATION}/{}", model.name)
}

/// The folder with a slash at its end, which says that it is one.
fn slash(folder: &Path) -> OsString {
    folder.join("").into_os_string()
}

fn list(model: &Model, scratch: &Path, entry: impl Fn(&str) -> String) -> io::Result<PathBuf> {
    let list = scratch.join("list");
    fs::write(&list, model.files.iter().map(|file| entry(&file.path)).collect::<String>())?;
    Ok(list)
}
