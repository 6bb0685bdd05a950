//! The demo from its first step to its last word.

use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use e2e::wait::{Seen, until};
use e2e::{Cluster, deploy, embedding};
use k8s_openapi::api::apps::v1::Deployment;
use model_core::api::{Model, Phase};

use crate::bar::Bar;
use crate::phases::Phases;
use crate::{Where, cluster, similar};

const NAMESPACE: &str = "demo";
const MODEL: &str = include_str!("../model.yaml");

/// Runs the demo in a cluster of its own, or in the current one.
pub async fn tell(workspace: &Path, place: Where) -> anyhow::Result<()> {
    let mut phases = Phases::new(if place == Where::Node { 9 } else { 7 });
    phases.start("pack the images of the operator, of the hub, and of a server that uses the model");
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

    phases.start("apply a server that asks for the model by annotation");
    show(embedding::MANIFEST);
    apply(&cluster, embedding::MANIFEST)?;
    answers(&cluster).await?;
    phases.end();

    phases.start("ask it for the embeddings of three sentences");
    ask(&cluster).await?;
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
    for line in answer.text.lines() {
        println!("      {line}");
    }
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

async fn answers(cluster: &Cluster) -> anyhow::Result<()> {
    let judge = |server: Option<&Deployment>| {
        let available = server.and_then(|server| server.status.as_ref()?.available_replicas);
        if available.is_some_and(|pods| pods > 0) { Seen::Done(()) } else { Seen::NotYet }
    };
    Ok(until(cluster, NAMESPACE, embedding::NAME, "answer", 120, judge).await?)
}

async fn ask(cluster: &Cluster) -> anyhow::Result<()> {
    let sentences = embedding::reference()?;
    let sentences = &sentences[..sentences.len().min(3)];
    let texts: Vec<_> = sentences.iter().map(|sentence| sentence.text.as_str()).collect();
    let start = Instant::now();
    let embeddings = embedding::embed(cluster, NAMESPACE, &texts).await?;
    let milliseconds = start.elapsed().as_millis();
    show(&similar::table(&texts, &embeddings));
    let pairs = sentences.iter().zip(&embeddings);
    let differences = pairs.map(|(sentence, got)| embedding::largest_difference(got, &sentence.embedding));
    let difference = differences.fold(0.0, f32::max);
    let numbers = embeddings.first().map_or(0, Vec::len);
    println!("      {} times {numbers} numbers in {milliseconds} ms;", embeddings.len());
    println!("      none is further than {difference:.7} from what PyTorch computes of the same model elsewhere");
    if difference > 1e-3 {
        bail!("that is too far: the server does not compute what the model says");
    }
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
    println!("  {kubectl} -n {NAMESPACE} port-forward service/{} 8080:80", embedding::NAME);
    println!("  {kubectl} -n model-system logs deployment/model-controller");
    println!("\nand take it down with:\n\n  {}", target.take_down());
}
