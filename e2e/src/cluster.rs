//! A cluster as its user sees it: `kubectl`, and a client for what is watched.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::Error;
use crate::command::{CommandError, run};

/// A cluster and how to reach it. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    client: Client,
}

/// What `kubectl` answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whether it ended well.
    pub ok: bool,
    /// What it wrote, errors last.
    pub text: String,
}

impl Cluster {
    /// Reads a kubeconfig. The client belongs to the current tokio runtime.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used. A cluster that does not answer shows at the first request.
    pub async fn connect(kubectl: &Path, kubeconfig: &Path) -> Result<Self, Error> {
        let unusable = |reason: String| Error::Kubeconfig { path: kubeconfig.to_owned(), reason };
        let parsed = Kubeconfig::read_from(kubeconfig).map_err(|error| unusable(error.to_string()))?;
        let config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
            .await
            .map_err(|error| unusable(error.to_string()))?;
        let client = Client::try_from(config).map_err(|error| unusable(error.to_string()))?;
        Ok(Self { kubectl: kubectl.to_owned(), kubeconfig: kubeconfig.to_owned(), client })
    }

    /// The same cluster with a client of its own, which belongs to the current tokio runtime.
    ///
    /// # Errors
    /// As [`Cluster::connect`].
    pub async fn again(&self) -> Result<Self, Error> {
        Self::connect(&self.kubectl, &self.kubeconfig).await
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// `kubectl` with this cluster's kubeconfig, for further arguments.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }

    /// Runs `kubectl` to its end and gives what it printed.
    ///
    /// # Errors
    /// When it fails, with its own words.
    pub fn run(&self, arguments: &[&str]) -> Result<String, Error> {
        Ok(run(&format!("run kubectl {}", arguments.join(" ")), self.kubectl().args(arguments))?)
    }

    /// Runs Helm to its end and gives what it printed. The first time on a machine it is compiled.
    ///
    /// # Errors
    /// When it fails, with its own words.
    pub fn helm(&self, arguments: &[&str]) -> Result<String, Error> {
        let mut command = Command::new(dev_cluster::helm()?);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        Ok(run(&format!("run helm {}", arguments.join(" ")), &mut command)?)
    }

    /// `kubectl apply --server-side=false` of YAML or JSON text in a namespace, as a user does it. A refusal is an
    /// answer, not an error.
    ///
    /// # Errors
    /// When `kubectl` cannot be run.
    pub fn apply(&self, namespace: &str, manifest: &str) -> Result<Answer, Error> {
        self.feed(&["--namespace", namespace, "apply", "-f", "-"], manifest)
    }

    /// Runs `kubectl` with text on its standard input. A refusal is an answer, not an error.
    ///
    /// # Errors
    /// When `kubectl` cannot be run.
    pub fn feed(&self, arguments: &[&str], input: &str) -> Result<Answer, Error> {
        let doing = || format!("run kubectl {}", arguments.join(" "));
        let started =
            |source| CommandError::Start { doing: doing(), program: self.kubectl.display().to_string(), source };
        let mut child = self
            .kubectl()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(started)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ended early says why on its standard error.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(started)?;
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Ok(Answer { ok: output.status.success(), text })
    }
}
