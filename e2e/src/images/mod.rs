//! Every image that runs on a node, as archives, built without a registry and without a container engine.
//!
//! The operator's own images are one static binary each. The others are made from Debian packages under the names that
//! people know, so that manifests read as they do anywhere else.

mod binaries;
mod debian;
mod python;
mod recipe;

use std::path::{Path, PathBuf};
use std::thread;

use crate::Error;

/// An image in an archive, ready to be loaded into a node.
#[derive(Clone, Debug)]
pub struct Image {
    /// Full name, as the node keeps it: `docker.io/library/busybox:latest`.
    pub name: String,
    /// The archive, an OCI layout.
    pub archive: PathBuf,
}

/// Controller, webhook, loader and hub as `NAME:dev`. Compiles them first, in release mode; `workspace` is the
/// directory of the root `Cargo.toml`.
///
/// # Errors
/// When something does not compile, or an archive cannot be written.
pub fn operator(workspace: &Path) -> Result<Vec<Image>, Error> {
    binaries::images(workspace, &cache()?)
}

/// The server of `examples/embedding-server` as `embedding-server:dev`. Compiles it first, which takes minutes the first
/// time.
///
/// # Errors
/// When it does not compile, or the archive cannot be written.
pub fn embedding_server(workspace: &Path) -> Result<Image, Error> {
    binaries::embedding_server(workspace, &cache()?)
}

/// The hub together with what it serves, as `model-hub:demo`: the directory `root` becomes the image's root, so content
/// lies in `root/srv/hub`. `env` is its environment, `NAME=VALUE`.
///
/// # Errors
/// When the hub does not compile, or the archive cannot be written.
pub fn hub_with_content(workspace: &Path, root: &Path, env: &[String]) -> Result<Image, Error> {
    binaries::hub_with_content(workspace, &cache()?, root, env)
}

/// The plugin `kubectl-model`, compiled as it is released.
///
/// # Errors
/// When it does not compile.
pub fn plugin(workspace: &Path) -> Result<PathBuf, Error> {
    binaries::plugin(workspace)
}

/// The images of the specification's Jobs, made from Debian's python, awscli and curl.
///
/// # Errors
/// When Debian's packages, or Python's wheels, cannot be had, or an archive cannot be written.
pub fn stock() -> Result<Vec<Image>, Error> {
    let cache = cache()?;
    // Half of the time is spent waiting for downloads.
    thread::scope(|scope| {
        let running: Vec<_> = recipe::STOCK.iter().map(|recipe| scope.spawn(|| recipe.image(&cache))).collect();
        running.into_iter().map(|image| image.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// Where archives are kept: `$XDG_CACHE_HOME` or `~/.cache`, then `model-platform/images`.
fn cache() -> Result<PathBuf, Error> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let folder = base.unwrap_or_else(std::env::temp_dir).join("model-platform/images");
    std::fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
    Ok(folder)
}
