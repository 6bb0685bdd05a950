//! What is wrong with the command line, the way to the cluster, or the rights in it.

use std::path::PathBuf;
use std::process::Command;

use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use model_core::api::Model;
use serde_json::{Value, json};

use crate::plane::{PLANE, Run, Scene, downloading, plugin};

/// Kubeconfigs that are not as they should be.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.path().join(name);
        std::fs::write(&file, text).expect("a file");
        file
    }

    /// The administrator's kubeconfig, changed.
    fn kubeconfig(&self, name: &str, change: impl Fn(&mut Value)) -> PathBuf {
        let mut kubectl = PLANE.control.kubectl();
        let text = kubectl.args(["config", "view", "-o", "json", "--raw"]).output().expect("kubectl runs").stdout;
        let mut config: Value = serde_json::from_slice(&text).expect("JSON");
        change(&mut config);
        self.write(name, &config.to_string())
    }

    /// One that speaks as this user.
    fn user(&self, name: &str) -> PathBuf {
        self.kubeconfig(name, |config| config["users"][0]["user"]["as"] = json!(name))
    }
}

fn run(command: &mut Command) -> Run {
    command.output().expect("it runs").into()
}

#[tokio::test]
async fn a_cluster_without_the_operator_is_told_apart_from_one_without_models() {
    Scene::new("no-operator").await;
    PLANE.before.complains(1, &["could not list Models", "the operator is not installed there", "what to do: install"]);
}

#[tokio::test]
async fn a_name_with_a_typing_error_is_recognised() {
    let scene = Scene::new("typing").await;
    scene.model("llama-3-8b").await;
    for command in ["status", "why", "wait", "retry", "refresh", "logs"] {
        let run = scene.run(&[command, "lama-3-8b"]).await;
        run.complains(
            1,
            &["there is no Model of this name in namespace typing", "what to do: did you mean llama-3-8b?"],
        );
    }
    let run = scene.run(&["status", "whisper"]).await;
    run.complains(1, &["kubectl model list -A"]);
}

#[tokio::test]
async fn wrong_use_ends_with_two_and_asks_nothing_of_the_cluster() {
    let absent = PathBuf::from("/nonexistent/kubeconfig");
    for (args, part) in [
        (&["status", "../secrets/x"][..], "no Model can be called \"../secrets/x\""),
        (&["status", "x?watch=1"], "no Model can be called"),
        (&["status", "$(reboot)"], "no Model can be called"),
        (&["retry", "A"], "a name is of a-z, 0-9 and -"),
        (&["why", "node/x"], "\"node\" is neither a Model nor a pod"),
        (&["why", "pod/../x"], "no pod can be called"),
        (&["pull", "ftp://me:s3cret@host/a", "--size", "1Gi"], "the source is of no known form"),
        (&["pull", "hf://a/b", "--size", "1Gi", "--name", "a.b"], "no Model can be called \"a.b\""),
        (&["wait", "tiny", "--timeout", "soon"], "write a number and s, m or h"),
        (&["start", "tiny"], "unrecognized subcommand 'start'"),
    ] {
        let run = run(&mut plugin(&absent, args));
        run.complains(2, &[part]);
        assert!(!run.err.contains("s3cret"), "{run:#?}");
    }
    let scene = Scene::new("wrong-use").await;
    run(&mut plugin(PLANE.control.kubeconfig(), &["list", "-n", "A/B"]))
        .complains(2, &["\"A/B\" is no name of a namespace"]);
    drop(scene);
}

#[tokio::test]
async fn the_way_to_the_cluster_is_explained() {
    Scene::new("ways").await;
    let files = Files::new();
    let absent = files.0.path().join("absent");
    run(&mut plugin(&absent, &["list"])).complains(1, &["could not read the kubeconfig", "--kubeconfig or KUBECONFIG"]);
    let run_here = |args: &[&str]| run(&mut plugin(PLANE.control.kubeconfig(), args));
    run_here(&["list", "--context", "admim"]).complains(1, &["it has no context \"admim\""]);
    let closed =
        files.kubeconfig("closed", |config| config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1"));
    run(&mut plugin(&closed, &["list"])).complains(1, &["https://127.0.0.1:1/ does not answer", "Connection refused"]);
    let broken = files.write("broken", "{ no: [yaml");
    run(&mut plugin(&broken, &["list"])).complains(1, &["could not read the kubeconfig"]);
    // The flag wins over the variable.
    let mut command = plugin(&absent, &["list", "--kubeconfig"]);
    run(command.arg(PLANE.control.kubeconfig())).ends(0);
}

#[tokio::test]
async fn missing_rights_are_named_and_what_can_be_seen_is_shown() {
    let scene = Scene::new("rights").await;
    scene.model("tiny").await;
    scene.status::<Model>("tiny", &downloading(1 << 20, 4 << 20, 1 << 20)).await;
    let files = Files::new();
    let nobody = scene.run_with(files.user("nobody"), &["list"]).await;
    nobody.complains(
        1,
        &["could not list Models", "\"nobody\" cannot list resource \"models\"", "kubectl auth can-i --list"],
    );

    let rules = json!([{ "apiGroups": ["models.main-currents.news"], "resources": ["models"], "verbs": ["get", "list", "watch"] }]);
    scene.create::<Role>(&json!({ "metadata": { "name": "reader" }, "rules": rules })).await;
    let subjects = json!([{ "kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io" }]);
    let role = json!({ "kind": "Role", "name": "reader", "apiGroup": "rbac.authorization.k8s.io" });
    scene
        .create::<RoleBinding>(&json!({ "metadata": { "name": "reader" }, "subjects": subjects, "roleRef": role }))
        .await;
    let reader = files.user("reader");
    let run = scene.run_with(reader.clone(), &["why", "tiny"]).await;
    let screen = run.ends(0);
    assert!(screen.contains("Downloading, 25 %") && screen.contains("not seen: Job: "), "{screen}");
    assert!(screen.contains("not seen: Events: "), "{screen}");
    let run = scene.run_with(reader, &["refresh", "tiny"]).await;
    run.complains(1, &["could not annotate Model tiny", "cannot patch resource \"models\""]);
}
