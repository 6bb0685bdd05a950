//! The demo from its first step to its last word.

use std::path::Path;

use anyhow::{Context as _, bail};
use e2e::wait::{Seen, until};
use e2e::{Cluster, deploy};
use k8s_openapi::api::core::v1::Pod;
use model_core::api::{Model, Phase};

use crate::bar::Bar;
use crate::phases::Phases;
use crate::{Where, cluster};

const NAMESPACE: &str = "demo";
const MODEL: &str = include_str!("../model.yaml");
const POD: &str = include_str!("../pod.yaml");

/// Runs the demo in a cluster of its own, or in the current one.
pub async fn tell(workspace: &Path, place: Where) -> anyhow::Result<()> {
    let mut phases = Phases::new(if place == Where::Node { 8 } else { 6 });
    phases.start("pack the images of the operator and of the hub");
    let images = cluster::images(workspace)?;
    phases.end();
    let target = match place {
        Where::Node => cluster::node(&mut phases, &images)?,
        Where::Current => cluster::current(&mut phases, &images).await?,
    };
    let cluster = target.connect().await?;
    phases.start("install controller and webhook by Helm (the first time it is compiled: a minute)");
    // Pods of an earlier demo run older images of the same names. There may be none.
    let restart = ["--namespace", deploy::NAMESPACE, "rollout", "restart", "deployment"];
    let _first_time = cluster.run(&restart);
    deploy::operator(&cluster, workspace, &deploy::values(e2e::hub::URL))?;
    phases.end();
    phases.start("serve a small real model from a hub in the cluster");
    e2e::hub::deploy_image(&cluster, "model-hub:demo")?;
    phases.end();

    phases.start("apply a Model and watch its files arrive");
    fresh_namespace(&cluster)?;
    show(MODEL);
    apply(&cluster, MODEL)?;
    download(&cluster).await?;
    phases.end();

    phases.start("apply a pod with the annotation and read what it reads");
    show(POD);
    apply(&cluster, POD)?;
    read(&cluster).await?;
    phases.end();
    last_words(&target, &phases);
    Ok(())
}

/// A namespace without anything of an earlier demo.
fn fresh_namespace(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.run(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait"])?;
    cluster.run(&["create", "namespace", NAMESPACE])?;
    Ok(())
}

fn apply(cluster: &Cluster, manifest: &str) -> anyhow::Result<()> {
    let answer = cluster.apply(NAMESPACE, manifest)?;
    if !answer.ok {
        bail!("the cluster refused it: {}", answer.text);
    }
    println!("      {}", answer.text.trim());
    Ok(())
}

async fn download(cluster: &Cluster) -> anyhow::Result<()> {
    let mut bar = Bar::default();
    let judge = |model: Option<&Model>| {
        let Some(status) = model.and_then(|model| model.status.as_ref()) else { return Seen::NotYet };
        bar.show(status);
        match status.phase {
            Some(Phase::Ready) => Seen::Done(()),
            Some(Phase::Failed) => Seen::Never(status.message.clone().unwrap_or_default()),
            Some(Phase::Pending | Phase::Downloading) | None => Seen::NotYet,
        }
    };
    let ready = until(cluster, NAMESPACE, "minilm", "become Ready", 300, judge).await;
    bar.end();
    Ok(ready?)
}

async fn read(cluster: &Cluster) -> anyhow::Result<()> {
    let judge = |pod: Option<&Pod>| match pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()) {
        Some("Succeeded") => Seen::Done(()),
        Some("Failed") => Seen::Never("it failed".to_owned()),
        _ => Seen::NotYet,
    };
    until(cluster, NAMESPACE, "reader", "end", 120, judge).await?;
    let log = cluster.run(&["--namespace", NAMESPACE, "logs", "reader"]).context("the pod's words")?;
    show(&log);
    Ok(())
}

fn show(text: &str) {
    for line in text.lines() {
        println!("      | {line}");
    }
}

fn last_words(target: &cluster::Target, phases: &Phases) {
    println!("\nAll of it took {:.0} s. The cluster stays up. Look around:\n", phases.seconds());
    let kubectl = target.command_line();
    println!("  {kubectl} -n {NAMESPACE} get models,pvc,jobs,pods");
    println!("  {kubectl} -n {NAMESPACE} describe model minilm");
    println!("  {kubectl} -n model-system logs deployment/model-controller");
    println!("\nand take it down with:\n\n  {}", target.take_down());
}
