//! The programs a node takes from the distribution.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::Error;

/// Where Debian puts CNI plugins.
pub(crate) const CNI_PLUGINS: &str = "/usr/lib/cni";

/// Searched after `PATH`, which does not always name them.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program and its Debian package. `unshare`, `nsenter`, `setsid`, `setpriv` and `mount` are on every Debian.
const NEEDED: [(&str, &str); 5] = [
    ("runc", "runc"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("busybox", "busybox-static"),
    ("ptp", "containernetworking-plugins"),
];

/// Checks that all are there.
///
/// # Errors
/// [`Error::MissingPackages`] with the line that installs them.
pub(crate) fn check() -> Result<(), Error> {
    let missing: Vec<_> = NEEDED.into_iter().filter(|(program, _)| find(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (programs, packages) = missing.into_iter().unzip();
    Err(Error::MissingPackages { programs, packages })
}

/// The path of one of them.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var("PATH").unwrap_or_default();
    let dirs = path.split(':').chain(SYSTEM_PATH.split(':')).chain([CNI_PLUGINS]);
    let mut found = dirs.map(|dir| Path::new(dir).join(program)).filter(|path| path.is_file());
    found.find(|path| program != "busybox" || is_static(path))
}

/// A dynamic busybox cannot run in an image of its own.
fn is_static(path: &Path) -> bool {
    let loader = b"/ld-linux";
    fs::read(path).is_ok_and(|bytes| !bytes.windows(loader.len()).any(|window| window == loader))
}
