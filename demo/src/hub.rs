//! The hub that the demo downloads from: one image with a small real model in it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use e2e::images::{self, Image};
use test_hub::{Fault, Rule, fixtures};

/// Bytes a second and connection, so that a download on one machine is slow enough to be seen.
const SPEED: u64 = 12_000_000;

/// Lays the model out, once, and packs it together with the hub.
pub fn image(workspace: &Path) -> anyhow::Result<Image> {
    let root = root()?;
    fixtures::minilm(&root.join("srv/hub"))?;
    let slow = serde_json::to_string(&[Rule::new(Fault::Rate { bytes_per_second: SPEED })])?;
    Ok(images::hub_with_content(workspace, &root, &[format!("TEST_HUB_FAULTS={slow}")])?)
}

fn root() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Ok(cache.or_else(home).context("HOME is not set")?.join("model-platform/demo-hub"))
}
