//! Two replicas of the controller: one leads, and another goes on when the first is gone.

use std::time::{Duration, Instant};

use e2e::deploy::{self, NAMESPACE};
use e2e::{Cluster, Error};
use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use model_core::api::Model;

use crate::progress::held_repository;
use crate::scene::{PATIENCE, Scene, digests, hugging_face};

/// The pod that leads. Its identity is its name with a random ending.
fn leader(cluster: &Cluster) -> Result<String, Error> {
    let holder = "jsonpath={.spec.holderIdentity}";
    let identity = cluster.run(&["-n", NAMESPACE, "get", "lease", "model-controller", "-o", holder])?;
    Ok(identity.rsplit_once('_').map_or(String::new(), |(pod, _)| pod.to_owned()))
}

/// The pod that leads, once it is one of these. A lease outlives a leader that was killed by some seconds.
async fn leader_among(cluster: &Cluster, what: &str, is_wanted: impl Fn(&str) -> bool) -> Result<String, Error> {
    let deadline = Instant::now() + Duration::from_secs(PATIENCE);
    loop {
        let pod = leader(cluster)?;
        if !pod.is_empty() && is_wanted(&pod) {
            return Ok(pod);
        }
        assert!(Instant::now() < deadline, "{pod:?} leads, and not {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

pub async fn the_other_replica_goes_on_when_the_leader_is_gone(scene: Scene) -> Result<(), Error> {
    let (repository, files) = held_repository(&scene).await?;
    deploy::rolled_out(&scene.cluster, "model-controller")?;
    let pods =
        ["get", "pods", "-l", "app.kubernetes.io/name=model-controller", "-o=jsonpath={.items[*].metadata.name}"];
    let pods = scene.cluster.run(&[&["-n", NAMESPACE][..], &pods].concat())?;
    let first = leader_among(&scene.cluster, &pods, |leader| pods.split_whitespace().any(|pod| pod == leader)).await?;

    scene.model("slow", &hugging_face(&repository))?;
    let underway = |model: &Model| model.status.as_ref()?.progress.filter(|percent| *percent > 0);
    scene.find("slow", "show progress", underway).await?;
    let job = scene.find("model-download-slow", "exist", |job: &Job| job.metadata.uid.clone()).await?;
    scene.cluster.run(&["-n", NAMESPACE, "delete", "pod", &first, "--grace-period=0", "--force"])?;

    leader_among(&scene.cluster, "another one", |leader| leader != first).await?;
    scene.let_go(&repository).await?;
    let status = scene.ready("slow").await?;
    assert_eq!(status.download.map(|download| download.attempt), Some(1));
    assert_eq!(scene.digests("slow").await?, digests(&files));
    let jobs = scene.api::<Job>().list(&ListParams::default()).await.expect("Jobs can be listed").items;
    let uids: Vec<_> = jobs.iter().filter_map(|job| job.metadata.uid.clone()).collect();
    assert_eq!(uids, [job], "one Job did all of it");
    deploy::rolled_out(&scene.cluster, "model-controller")
}
