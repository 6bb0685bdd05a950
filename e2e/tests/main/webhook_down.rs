//! Row 3 of the specification's table: the API server gets no answer from the webhook. Pods that ask for a model are
//! refused, because they would start without it; all others start. Nothing else may run beside these scenarios.

use std::time::{Duration, Instant};

use e2e::deploy::{self, NAMESPACE};
use e2e::{Cluster, Error};
use serde_json::json;

use crate::processes;
use crate::scene::{PATIENCE, Scene, digests, files, hugging_face, pod};

/// A Ready Model, so that the webhook is all that is missing.
async fn prepared(scene: &Scene) -> Result<(), Error> {
    let repository = scene.repository("tiny");
    scene.hub.repository(&repository, &files("webhook down"))?;
    scene.model("tiny", &hugging_face(&repository))?;
    scene.ready("tiny").await.map(drop)
}

/// The pod with an annotation is refused with one of these `words`; the one without runs.
async fn refused(scene: &Scene, words: &[&str]) -> Result<(), Error> {
    let answer = scene.try_apply(&pod("asks", &json!({ "inject": "tiny" }), "true"))?;
    assert!(!answer.ok, "a pod was admitted without its model");
    for part in ["failed calling webhook", "inject.models.main-currents.news"] {
        assert!(answer.text.contains(part), "{part:?} is not in\n{}", answer.text);
    }
    assert!(words.iter().any(|word| answer.text.contains(word)), "none of {words:?} is in\n{}", answer.text);
    scene.apply(&pod("plain", &json!({}), "echo started"))?;
    assert_eq!(scene.log("plain").await?, "started\n");
    Ok(())
}

pub async fn without_the_webhook_only_pods_with_models_are_refused(scene: Scene) -> Result<(), Error> {
    prepared(&scene).await?;
    let webhook = ["-n", NAMESPACE, "scale", "deployment/model-webhook"];
    scene.cluster.run(&[&webhook[..], &["--replicas=0"]].concat())?;
    let back = Undo::new(&scene.cluster, &[&webhook[..], &["--replicas=2"]].concat());
    let pods = ["-n", NAMESPACE, "wait", "pod", "-l", "app.kubernetes.io/name=model-webhook", "--for=delete"];
    scene.cluster.run(&pods)?;
    // A connection that the API server still had to a pod that is gone ends by the deadline, a new one is refused.
    refused(&scene, &["context deadline exceeded", "connect"]).await?;
    drop(back);
    works_again(&scene).await
}

pub async fn a_webhook_that_hangs_is_a_timeout(scene: Scene) -> Result<(), Error> {
    prepared(&scene).await?;
    let stopped = Stopped::all(&scene)?;
    refused(&scene, &["context deadline exceeded"]).await?;
    drop(stopped);
    works_again(&scene).await
}

/// Row 3's cause: the webhook may not read Models. It does not become ready, and its log says what is forbidden.
pub async fn a_webhook_without_rights_does_not_become_ready(scene: Scene) -> Result<(), Error> {
    prepared(&scene).await?;
    let role = "--clusterrole=model-webhook";
    let account = format!("--serviceaccount={NAMESPACE}:model-webhook");
    let binding = ["clusterrolebinding", "model-webhook"];
    scene.cluster.run(&[&["delete"][..], &binding].concat())?;
    let back = Undo::new(&scene.cluster, &[&["create"][..], &binding, &[role, &account]].concat());
    scene.cluster.run(&["-n", NAMESPACE, "delete", "pod", "-l", "app.kubernetes.io/name=model-webhook"])?;
    refused(&scene, &["context deadline exceeded", "connect"]).await?;
    let said = |log: &str| log.contains("could not watch Models") && log.contains("forbidden");
    let deadline = Instant::now() + Duration::from_secs(PATIENCE);
    loop {
        let log = scene.cluster.run(&["-n", NAMESPACE, "logs", "deployment/model-webhook"]).unwrap_or_default();
        if said(&log) {
            break;
        }
        assert!(Instant::now() < deadline, "the log does not say what is forbidden:\n{log}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(back);
    works_again(&scene).await
}

/// With the webhook back, a pod gets its model and nobody had to do anything else.
async fn works_again(scene: &Scene) -> Result<(), Error> {
    deploy::rolled_out(&scene.cluster, "model-webhook")?;
    // Pods are ready a moment before every route to them is.
    let deadline = Instant::now() + Duration::from_secs(PATIENCE);
    let probe = pod("probe", &json!({ "inject": "tiny" }), "true");
    loop {
        let answer = scene.try_apply(&probe)?;
        if answer.ok {
            break;
        }
        assert!(Instant::now() < deadline, "{}", answer.text);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(scene.digests("tiny").await?, digests(&files("webhook down")));
    Ok(())
}

/// A `kubectl` command that is run when this is dropped, also by a failed assertion: later scenarios need it.
struct Undo {
    cluster: Cluster,
    arguments: Vec<String>,
}

impl Undo {
    fn new(cluster: &Cluster, arguments: &[&str]) -> Self {
        Self { cluster: cluster.clone(), arguments: arguments.iter().map(|&word| word.to_owned()).collect() }
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        if let Err(error) = self.cluster.run(&arguments) {
            eprintln!("{error}");
        }
    }
}

/// The webhook's processes, stopped until this is dropped.
struct Stopped(Vec<String>);

impl Stopped {
    fn all(scene: &Scene) -> Result<Self, Error> {
        let pods = ["-n", NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/name=model-webhook", "-o=name"];
        let pods = scene.cluster.run(&pods)?;
        let processes = processes::of_program(&scene.node, "/model-webhook");
        assert_eq!(processes.len(), pods.lines().count(), "one process in each of the webhook's pods");
        let processes = processes.into_iter().map(|process| process.id).collect::<Vec<_>>();
        assert!(processes::signal("-STOP", &processes), "{processes:?} could not be stopped");
        Ok(Self(processes))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if !processes::signal("-CONT", &self.0) {
            eprintln!("{:?} could not be let go on", self.0);
        }
    }
}
