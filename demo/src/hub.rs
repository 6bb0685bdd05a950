//! The hub that the demo downloads from.

use std::path::PathBuf;

use anyhow::Context as _;
use e2e::{Cluster, Hub};
use test_hub::{Fault, Rule, fixtures};

/// Bytes a second and connection, so that a download on one machine is slow enough to be seen.
const SPEED: u64 = 12_000_000;

/// Lays out a small real model, once, and serves it from a pod.
pub async fn start(cluster: &Cluster, image: &str) -> anyhow::Result<Hub> {
    let root = root()?;
    fixtures::minilm(&root)?;
    let hub = Hub::new(&root);
    hub.deploy(cluster, image)?;
    hub.clear_faults(cluster).await?;
    hub.add_fault(cluster, &Rule::new(Fault::Rate { bytes_per_second: SPEED })).await?;
    Ok(hub)
}

fn root() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Ok(cache.or_else(home).context("HOME is not set")?.join("model-platform/demo-hub"))
}
