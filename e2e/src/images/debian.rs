//! Root trees from Debian packages: what a container of `python:3.11-slim` and its like needs, without a registry.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::Error;
use crate::command::run;
use crate::hub::hex;

/// Changes when trees are made in another way, so that cached ones are made anew.
const RECIPE: &str = "1";

/// What no container reads, and most of the files of a tree.
const UNREAD: [&str; 8] = [
    "usr/share/bash-completion",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl5",
    "usr/lib/python3/dist-packages/awscli/examples",
];

/// Packages with everything that they depend on, in the versions that apt would install now.
#[derive(Debug)]
pub(super) struct Closure {
    packages: Vec<String>,
    /// Names, versions and digests of all packages, hashed: equal keys give equal trees.
    pub key: String,
}

impl Closure {
    /// Asks apt, as if nothing were installed yet. Reads apt's lists and downloads nothing.
    pub(super) fn resolve(packages: &[&str]) -> Result<Self, Error> {
        let packages: Vec<_> = packages.iter().map(|&name| name.to_owned()).collect();
        let scratch = Scratch::new()?;
        let doing = "list Debian packages (`apt-get update` may help)";
        let listed = run(doing, scratch.apt(&packages).arg("--print-uris"))?;
        let digest = Sha256::digest(format!("{RECIPE}\n{listed}"));
        let key = hex(&digest[..8]);
        Ok(Self { packages, key })
    }

    /// Downloads the packages and unpacks them below `root`. No maintainer script runs.
    pub(super) fn unpack(&self, root: &Path) -> Result<(), Error> {
        let scratch = Scratch::new()?;
        run(
            "download Debian packages (`apt-get update` may help)",
            scratch.apt(&self.packages).arg("--download-only"),
        )?;
        // Packages differ in whether they know that /bin is /usr/bin; with these links both land in one place.
        for name in ["bin", "lib", "lib64", "sbin"] {
            let path = root.join("usr").join(name);
            std::fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
            let link = root.join(name);
            std::os::unix::fs::symlink(format!("usr/{name}"), &link).map_err(Error::file("create", &link))?;
        }
        for package in scratch.packages()? {
            let script =
                r#"dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink --no-same-owner -C "$2" -f -"#;
            let mut shell = Command::new("bash");
            shell.args(["-o", "pipefail", "-c", script, "unpack"]).arg(&package).arg(root);
            run("unpack a Debian package", &mut shell)?;
        }
        for name in UNREAD {
            let path = root.join(name);
            if path.exists() {
                std::fs::remove_dir_all(&path).map_err(Error::file("remove", &path))?;
            }
        }
        Ok(())
    }
}

/// A directory in which apt believes that nothing is installed.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Result<Self, Error> {
        let folder = tempfile::tempdir().map_err(Error::file("create", &std::env::temp_dir()))?;
        let partial = folder.path().join("archives/partial");
        std::fs::create_dir_all(&partial).map_err(Error::file("create", &partial))?;
        let status = folder.path().join("status");
        std::fs::write(&status, "").map_err(Error::file("write", &status))?;
        Ok(Self(folder))
    }

    fn apt(&self, packages: &[String]) -> Command {
        let mut apt = Command::new("apt-get");
        apt.arg("-o").arg(format!("Dir::State::status={}", self.0.path().join("status").display()));
        apt.arg("-o").arg(format!("Dir::Cache::archives={}/", self.archives().display()));
        apt.args(["-o", "Debug::NoLocking=true", "-o", "APT::Sandbox::User=root"]);
        apt.args(["-qq", "-y", "--no-install-recommends", "install"]).args(packages);
        apt
    }

    fn archives(&self) -> PathBuf {
        self.0.path().join("archives")
    }

    fn packages(&self) -> Result<Vec<PathBuf>, Error> {
        let folder = self.archives();
        let entries = std::fs::read_dir(&folder).map_err(Error::file("read", &folder))?;
        let mut packages: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        packages.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
        packages.sort();
        Ok(packages)
    }
}
