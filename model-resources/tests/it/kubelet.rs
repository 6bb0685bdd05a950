//! Runs a built container as a kubelet would: its environment, its expansion of `$(NAME)`, its command.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Container;

/// The container of a Job.
pub fn container(job: Job) -> Container {
    job.spec.unwrap().template.spec.unwrap().containers.remove(0)
}

/// Replaces `$(NAME)` and `$$` as `third_party/forked/golang/expansion` of Kubernetes does.
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            let unknown = || format!("$({name})");
            expanded += &variables.get(name).cloned().unwrap_or_else(unknown);
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded + rest
}

/// The container's variables, with the keys of `secret` where it asks for them.
///
/// # Errors
/// The key that a container needs and the secret lacks: it would not be started.
pub fn environment(container: &Container, secret: &BTreeMap<&str, String>) -> Result<BTreeMap<String, String>, String> {
    let mut variables = BTreeMap::new();
    for variable in container.env.iter().flatten() {
        let Some(selector) = variable.value_from.as_ref().and_then(|from| from.secret_key_ref.as_ref()) else {
            let value = expand(variable.value.as_deref().unwrap_or_default(), &variables);
            variables.insert(variable.name.clone(), value);
            continue;
        };
        match secret.get(selector.key.as_str()) {
            Some(value) => drop(variables.insert(variable.name.clone(), value.clone())),
            None if selector.optional == Some(true) => {}
            None => return Err(selector.key.clone()),
        }
    }
    Ok(variables)
}

/// The arguments as the container's process sees them.
pub fn arguments(container: &Container, variables: &BTreeMap<String, String>) -> Vec<String> {
    let all = container.command.iter().chain(&container.args).flatten();
    all.map(|argument| expand(argument, variables)).collect()
}

/// A place to run a container: a claim, a home, a directory of commands, and an empty working directory.
pub struct Sandbox {
    root: tempfile::TempDir,
}

impl Sandbox {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["models", "home", "bin", "work", "calls"] {
            fs::create_dir(root.path().join(directory)).unwrap();
        }
        Self { root }
    }

    /// The claim.
    pub fn models(&self) -> PathBuf {
        self.root.path().join("models")
    }

    /// A directory for what commands recorded.
    pub fn calls(&self) -> PathBuf {
        self.root.path().join("calls")
    }

    /// Puts a command in front of those of this machine.
    ///
    /// By another process: a file that this one writes stays open for writing in every child that another test starts at
    /// the same moment, and cannot be run until that child runs its own program.
    pub fn command(&self, name: &str, script: &str) {
        let path = self.root.path().join("bin").join(name);
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"cat >"$1" && chmod 755 "$1""#, "sh"]).arg(&path).stdin(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success(), "{}", path.display());
    }

    /// Runs the container. Nothing of this machine's environment reaches it but its commands.
    pub fn run(&self, container: &Container, secret: &BTreeMap<&str, String>) -> Output {
        let variables = environment(container, secret).unwrap();
        let arguments = arguments(container, &variables);
        let path = format!("{}:{}", self.root.path().join("bin").display(), std::env::var("PATH").unwrap());
        Command::new(&arguments[0])
            .args(&arguments[1..])
            .env_clear()
            .envs(variables)
            .env("PATH", path)
            .env("HOME", self.root.path().join("home"))
            .env("MODEL_DIR", self.models())
            .env("CALLS", self.calls())
            .current_dir(self.root.path().join("work"))
            .output()
            .unwrap()
    }

    /// The names of the files on the claim.
    pub fn files(&self) -> Vec<String> {
        names(&self.models())
    }

    /// Whether the working directory is as empty as before: what a smuggled command leaves, it leaves there.
    pub fn is_untouched(&self) -> bool {
        names(&self.root.path().join("work")).is_empty()
    }

    /// The arguments of each call that the command `name` recorded, in order.
    pub fn recorded(&self, name: &str) -> Vec<Vec<String>> {
        let read = |number: usize| fs::read(self.calls().join(format!("{name}.{number}"))).ok();
        let split = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            text.split_terminator('\0').map(str::to_owned).collect()
        };
        (0..).map_while(read).map(split).collect()
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The start of a command that records its arguments, for [`Sandbox::recorded`].
pub fn recorder(name: &str) -> String {
    format!(
        r#"#!/bin/sh
number=0
while [ -e "$CALLS/{name}.$number" ]; do number=$((number + 1)); done
for argument; do printf '%s\0' "$argument"; done >"$CALLS/{name}.$number"
"#
    )
}

#[test]
fn expansion_is_that_of_kubernetes() {
    let variables = BTreeMap::from([("A".to_owned(), "x".to_owned())]);
    for (text, want) in [
        ("$(A)", "x"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$x"),
        ("$$$$(A)", "$$(A)"),
        ("$(B)", "$(B)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
        ("$$", "$"),
    ] {
        assert_eq!(expand(text, &variables), want, "{text}");
    }
}
