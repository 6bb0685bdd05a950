//! What everything stands on goes away in the middle of a download, for which gated pods wait: API server, etcd, the way to
//! the hub. Each container says what it finds when it starts: nothing but the whole. Nothing else may run beside these.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::hub::{self, Files};
use e2e::{Cluster, Error};
use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use model_core::api::{Model, Phase};
use serde_json::json;

use crate::gates::{deployment, read};
use crate::rbac;
use crate::scene::{PATIENCE, Scene, digest_script, digests, hugging_face, noise, parse_digests, pod};

/// Of the way to the hub, in the node's network.
const TABLE: &str = "model_faults";

/// How long something stays away or goes wrong: `MODEL_E2E_AWAY_SECONDS`, else 15.
pub fn away() -> Duration {
    let given = std::env::var("MODEL_E2E_AWAY_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(15))
}

pub async fn the_api_server_is_away(scene: Scene) -> Result<(), Error> {
    loses(&scene, "kube-apiserver").await
}

pub async fn etcd_is_away(scene: Scene) -> Result<(), Error> {
    loses(&scene, "etcd").await
}

/// One download ends while nobody can be told, another one after that.
async fn loses(scene: &Scene, component: &str) -> Result<(), Error> {
    let seconds = away().as_secs().max(2);
    let short = slow(scene, "short", seconds * 2 / 3).await?;
    let long = slow(scene, "long", seconds * 3 / 2).await?;
    scene.model("tiny", &hugging_face(&scene.repository("long")))?;
    scene.model("short", &hugging_face(&scene.repository("short")))?;
    scene.apply(&deployment())?;
    for name in ["tiny", "short"] {
        scene.find(name, "show progress", underway).await?;
    }
    restarted(scene, component, away()).await?;

    scene.ready("short").await?;
    scene.ready("tiny").await?;
    read(scene, &long).await?;
    // Pods that come now are injected, too. After a minute of silence Kubernetes takes the webhook's pods out of its Service
    // for a while, and refuses all who ask.
    let comes = pod("comes", &json!({ "inject": "short" }), &digest_script("/models/short"));
    scene.admit(&comes).await?;
    assert_eq!(parse_digests(&scene.log("comes").await?), digests(&short));
    once(scene, &["tiny", "short"], [("long", &long), ("short", &short)].as_slice()).await
}

/// What the hub sends no longer arrives, and no connection is told.
pub async fn the_hub_is_cut_off(scene: Scene) -> Result<(), Error> {
    let files = slow(&scene, "tiny", away().as_secs()).await?;
    scene.model("tiny", &hugging_face(&scene.repository("tiny")))?;
    scene.apply(&deployment())?;
    scene.find("tiny", "show progress", underway).await?;
    let cut = Cut::make(&scene)?;
    let until = Instant::now() + away();
    while Instant::now() < until {
        let phase = scene.api::<Model>().get("tiny").await.ok().and_then(|model| model.status?.phase);
        assert_ne!(phase, Some(Phase::Ready), "not everything had arrived");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    drop(cut);
    scene.ready("tiny").await?;
    read(&scene, &files).await?;
    once(&scene, &["tiny"], &[("tiny", &files)]).await
}

/// A repository of one file that takes so many seconds to fetch.
pub async fn slow(scene: &Scene, name: &str, seconds: u64) -> Result<Files, Error> {
    const SIZE: usize = 6 << 20;
    let repository = scene.repository(name);
    let files = Files::from([("model.safetensors".to_owned(), noise(&repository, SIZE))]);
    scene.slow_repository(&repository, &files, SIZE as u64 / seconds.max(1)).await?;
    Ok(files)
}

pub fn underway(model: &Model) -> Option<()> {
    model.status.as_ref()?.progress.filter(|percent| *percent > 0).map(drop)
}

/// Takes a component away for so long, and waits until the API server is ready again.
pub async fn restarted(scene: &Scene, component: &str, away: Duration) -> Result<(), Error> {
    scene.node.take_away(component, away)?;
    back(&scene.cluster, &scene.node, component, away).await;
    // A new API server logs as it was started to.
    rbac::listen(scene.cluster.kubectl())
}

/// Waits until a component was started again and the API server is ready.
async fn back(cluster: &Cluster, node: &dev_cluster::Cluster, component: &str, away: Duration) {
    let deadline = Instant::now() + away + Duration::from_secs(PATIENCE);
    let mut missed = 0;
    while node.is_away(component) || cluster.run(&["get", "--raw", "/readyz"]).is_err() {
        missed += 1;
        assert!(Instant::now() < deadline, "{component} did not come back");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(missed > 0, "{component} was never away");
}

/// Each content was downloaded by one Job in one attempt, and hardly a byte twice.
pub async fn once(scene: &Scene, models: &[&str], contents: &[(&str, &Files)]) -> Result<(), Error> {
    for name in models {
        let status = scene.api::<Model>().get(name).await.expect("the Model is there").status.unwrap_or_default();
        assert_eq!(status.download.map(|download| download.attempt), Some(1), "{name} was downloaded anew");
    }
    let jobs = scene.api::<Job>().list(&ListParams::default()).await.expect("Jobs can be listed").items;
    assert_eq!(jobs.len(), models.len(), "one Job a Model");
    let stats = scene.hub.stats(&scene.cluster).await?;
    for (name, files) in contents {
        let sent = stats.containing(&scene.repository(name)).bytes;
        let size: usize = files.values().map(Vec::len).sum();
        assert!(sent < size as u64 * 3 / 2, "{name}: {sent} bytes were sent for {size}");
    }
    Ok(())
}

/// The way between pods and hub, cut until this is dropped.
struct Cut {
    node: u32,
}

impl Cut {
    fn make(scene: &Scene) -> Result<Self, Error> {
        let address = ["-n", hub::NAMESPACE, "get", "pods", "-o=jsonpath={.items[0].status.podIP}"];
        let address = scene.cluster.run(&address)?;
        let cut = Self { node: scene.node.supervisor_pid()? };
        let rules = format!(
            "add table inet {TABLE}
             add chain inet {TABLE} cut {{ type filter hook forward priority -10; }}
             add rule inet {TABLE} cut ip daddr {address} drop
             add rule inet {TABLE} cut ip saddr {address} drop"
        );
        assert!(cut.nft(&rules), "nft refused {rules}");
        Ok(cut)
    }

    fn nft(&self, rules: &str) -> bool {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.node.to_string(), "nft", rules]);
        command.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.nft(&format!("delete table inet {TABLE}"));
    }
}
