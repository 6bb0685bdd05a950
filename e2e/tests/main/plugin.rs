//! `kubectl model` as people use it: the built binary, found by kubectl on the path, in a terminal, with the rights of the
//! cluster's roles `edit` and `view` and no others.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::hub::Files;
use e2e::{Error, images};
use model_core::api::Model;
use serde_json::{Value, json};

use crate::scene::{Scene, digests, noise, pod, pod_spec};
use crate::terminal::Terminal;

/// Where in the file a byte is flipped.
const DAMAGE_AT: usize = 100_000;

/// One person: a kubeconfig of their own.
struct Person<'a> {
    scene: &'a Scene,
    folder: &'a Path,
    kubeconfig: PathBuf,
}

impl<'a> Person<'a> {
    /// A service account that is bound to a role of the cluster, in the scenario's namespace only.
    fn new(scene: &'a Scene, folder: &'a Path, role: &str) -> Result<Self, Error> {
        scene.kubectl(&["create", "serviceaccount", role])?;
        let account = format!("--serviceaccount={}:{role}", scene.namespace);
        scene.kubectl(&["create", "rolebinding", role, &format!("--clusterrole={role}"), &account])?;
        let token = scene.kubectl(&["create", "token", role])?;
        let config = scene.kubectl(&["config", "view", "--raw", "--flatten", "-o", "json"])?;
        let mut config: Value = serde_json::from_str(&config).expect("kubectl prints JSON");
        config["users"] = json!([{ "name": role, "user": { "token": token.trim() } }]);
        for context in config["contexts"].as_array_mut().into_iter().flatten() {
            context["context"]["user"] = json!(role);
            context["context"]["namespace"] = json!(scene.namespace);
        }
        let kubeconfig = folder.join(format!("{role}.json"));
        std::fs::write(&kubeconfig, config.to_string()).expect("the kubeconfig is written");
        Ok(Self { scene, folder, kubeconfig })
    }

    /// A program with this person's environment: kubectl and the plugin are on its path.
    fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let kubectl = self.scene.cluster.kubectl();
        let kubectl = Path::new(kubectl.get_program()).parent().expect("kubectl lies in a directory");
        let path = format!("{}:{}:/usr/bin:/bin", self.folder.display(), kubectl.display());
        let mut command = Command::new(program);
        command.env_clear().env("PATH", path).env("HOME", self.folder).env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// `kubectl model …` in a terminal.
    fn in_terminal(&self, arguments: &str) -> Terminal {
        Terminal::start(self.program("/usr/bin/script"), &format!("kubectl model {arguments}"))
    }

    /// `kubectl model …` in a script: what it prints, errors last. It ends with this code.
    #[track_caller]
    fn says(&self, code: i32, arguments: &str) -> String {
        let output = self.program("/usr/bin/env").args(["kubectl", "model"]).args(arguments.split(' ')).output();
        let output = output.expect("kubectl starts");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "kubectl model {arguments}\n{text}");
        text
    }

    /// As [`Self::says`]; each of these is in it.
    #[track_caller]
    fn hears(&self, code: i32, arguments: &str, parts: &[&str]) {
        let text = self.says(code, arguments);
        for part in parts {
            assert!(text.contains(part), "kubectl model {arguments}: {part:?} in\n{text}");
        }
    }
}

pub async fn a_person_works_with_the_plugin_in_a_terminal(scene: Scene) -> Result<(), Error> {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let plugin = images::plugin(Path::new(crate::WORKSPACE))?;
    std::os::unix::fs::symlink(&plugin, folder.path().join("kubectl-model")).expect("a link can be made");
    let ed = Person::new(&scene, folder.path(), "edit")?;
    let vera = Person::new(&scene, folder.path(), "view")?;
    let (repository, files) = slow_repository(&scene).await?;

    let mut pull = ed.in_terminal(&format!("pull hf://{repository} --name tiny --size 64Mi"));
    let bar = pull.line("a bar", |line| line.starts_with("tiny [") && line.contains("/6.0 MiB"));
    assert!(bar.contains("% "), "{bar}");
    vera.hears(0, "list", &["NAME", "tiny", "Downloading"]);
    vera.hears(1, "status tiny", &["tiny: Downloading"]);
    let (last, code) = pull.end();
    assert!(last.contains("created Model tiny from hf://") && last.contains("tiny: Ready"), "{last}");
    assert_eq!(code, Some(0));
    let (last, code) = vera.in_terminal("wait tiny --timeout 1m").end();
    assert!(last.contains("tiny: Ready") && code == Some(0), "{code:?}: {last}");
    vera.hears(0, "usage", &["model-tiny", "(download)"]);
    vera.hears(0, "logs tiny", &["downloadedBytes"]);
    vera.hears(0, "why tiny", &["Ready"]);
    for command in ["refresh tiny", "verify tiny", "pull hf://a/b --size 1Gi"] {
        vera.hears(1, command, &["cannot", "models"]);
    }

    broken_and_repaired(&scene, &ed).await?;
    checked(&scene, &ed, &files).await
}

/// A download that fails says why, of the Model and of the pod that waits for it, and is done again.
async fn broken_and_repaired(scene: &Scene, ed: &Person<'_>) -> Result<(), Error> {
    let repository = scene.repository("later");
    ed.hears(0, &format!("pull hf://{repository} --name broken --size 64Mi --no-wait"), &["created Model broken"]);
    scene.failed("broken").await?;
    ed.hears(1, "wait broken", &["kubectl model why broken"]);
    ed.hears(1, "why broken", &["SourceNotFound", "kubectl model retry broken"]);
    scene.admit_waiting(&pod("waits", &json!({ "inject": "broken", "when-not-ready": "wait" }), "true")).await?;
    ed.hears(1, "why pod/waits", &["broken", "SourceNotFound"]);
    scene.hub.repository(&repository, &Files::from([("config.json".to_owned(), b"{}".to_vec())]))?;
    scene.hub.refresh(&scene.cluster).await?;
    ed.hears(0, "retry broken", &["the operator starts the download again"]);
    let (last, code) = ed.in_terminal("wait broken --timeout 2m").end();
    assert!(last.contains("broken: Ready") && code == Some(0), "{code:?}: {last}");
    scene.log("waits").await.map(drop)
}

/// The files are read again, before and after a byte is flipped, and after a refresh.
async fn checked(scene: &Scene, ed: &Person<'_>, files: &Files) -> Result<(), Error> {
    let (last, code) = ed.in_terminal("verify tiny").end();
    assert!(last.contains("tiny: all 2 files are as they were published"), "{last}");
    assert!(last.lines().any(|line| line.starts_with("ok ") && line.ends_with("model.safetensors")), "{last}");
    assert_eq!(code, Some(0));

    let old = scene.find("tiny", "have content", |model: &Model| model.status.as_ref()?.content.clone()).await?;
    flip_a_byte(scene, &old.path, files["model.safetensors"][DAMAGE_AT]).await?;
    let (last, code) = ed.in_terminal("verify tiny").end();
    assert!(last.lines().any(|line| line.starts_with("changed ") && line.ends_with("model.safetensors")), "{last}");
    assert!(last.lines().any(|line| line.starts_with("ok ") && line.ends_with("config.json")), "{last}");
    assert!(last.contains("kubectl model refresh tiny"), "{last}");
    assert_eq!(code, Some(1));
    ed.hears(1, "verify tiny -o json", &["\"result\": \"Damaged\"", "\"state\": \"changed\""]);
    let why = ed.says(1, "why tiny");
    assert!(why.contains("ContentDamaged") && why.contains("changed model.safetensors"), "{why}");
    assert!(scene.events("tiny")?.contains("ContentDamaged changed model.safetensors"), "{}", scene.events("tiny")?);

    ed.hears(0, "refresh tiny", &["asked for a new download of tiny"]);
    let renewed = |model: &Model| {
        let content = model.status.as_ref()?.content.as_ref()?;
        (content.id != old.id).then_some(())
    };
    scene.find("tiny", "offer new content", renewed).await?;
    ed.hears(0, "verify tiny", &["tiny: all 2 files are as they were published"]);
    assert_eq!(scene.digests("tiny").await?, digests(files));
    Ok(())
}

/// Two files, of which one takes about 6 s to fetch.
async fn slow_repository(scene: &Scene) -> Result<(String, Files), Error> {
    let repository = scene.repository("tiny");
    let files = Files::from([
        ("config.json".to_owned(), b"{}\n".to_vec()),
        ("model.safetensors".to_owned(), noise(&repository, 6 << 20)),
    ]);
    scene.slow_repository(&repository, &files, 1 << 20).await?;
    Ok((repository, files))
}

/// As a bad disk would, behind everybody's back.
async fn flip_a_byte(scene: &Scene, content: &str, byte: u8) -> Result<(), Error> {
    let file = format!("/claim/{content}/model.safetensors");
    let script =
        format!("chmod u+w {file}; printf '\\{:03o}' | dd of={file} bs=1 seek={DAMAGE_AT} conv=notrunc", byte ^ 1);
    let mut spec = pod_spec(&script);
    // The owner of the files.
    spec["securityContext"] = json!({ "runAsUser": 65532, "runAsGroup": 65532, "runAsNonRoot": true });
    spec["containers"][0]["volumeMounts"] = json!([{ "name": "claim", "mountPath": "/claim" }]);
    spec["volumes"] = json!([{ "name": "claim", "persistentVolumeClaim": { "claimName": "model-tiny" } }]);
    scene.apply(&json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "damages" }, "spec": spec }))?;
    scene.log("damages").await?;
    scene.kubectl(&["delete", "pod", "damages"]).map(drop)
}
