//! From a shell: as kubectl finds it, and its completions.

use std::path::Path;
use std::process::Command;

use crate::plane::{PLANE, Run, Scene, plugin};

fn bin_dir() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_kubectl-model")).parent().expect("a directory")
}

#[tokio::test]
async fn kubectl_finds_the_plugin() {
    let scene = Scene::new("kubectl").await;
    scene.model("tiny").await;
    let mut kubectl = PLANE.control.kubectl();
    kubectl.env("PATH", bin_dir()).args(["model", "status", "tiny", "-n", "kubectl"]);
    let run = Run::from(kubectl.output().unwrap());
    assert_eq!(run.ends(1), "tiny: Pending, the operator has not looked at it yet\n");
}

#[test]
fn help_speaks_of_kubectl_model_and_of_exit_codes() {
    let run = Run::from(plugin(Path::new("/nonexistent"), &["--help"]).output().unwrap());
    let help = run.ends(0);
    for part in ["Usage: kubectl model [OPTIONS] <COMMAND>", "Exit codes: 0 done or ready", "  why ", "  usage "] {
        assert!(help.contains(part), "{part:?} in\n{help}");
    }
}

#[test]
fn bash_completes_commands() {
    let script = Run::from(plugin(Path::new("/nonexistent"), &["completion", "bash"]).output().unwrap());
    let try_it = r#"
        COMP_WORDS=(kubectl-model st) COMP_CWORD=1
        handler=$(complete -p kubectl-model | sed 's/.*-F \([^ ]*\).*/\1/')
        "$handler" kubectl-model st kubectl-model
        printf '%s\n' "${COMPREPLY[@]}""#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", &format!("{}\n{try_it}", script.ends(0))]);
    assert_eq!(Run::from(bash.output().unwrap()).ends(0), "status\n");
}

#[test]
fn each_shell_gets_its_script() {
    for (shell, part) in [("zsh", "#compdef kubectl-model"), ("fish", "complete -c kubectl-model")] {
        let run = Run::from(plugin(Path::new("/nonexistent"), &["completion", shell]).output().unwrap());
        assert!(run.ends(0).contains(part), "{shell}");
    }
}
