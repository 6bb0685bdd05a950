//! What the images for tests are made of.

use std::path::Path;

use dev_cluster::image::{self, ImageSpec};

use super::{Image, debian, python};
use crate::Error;
use crate::command::run;

/// The programs of a root tree, in the order that every distribution has.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image made from Debian packages.
#[derive(Debug)]
pub(super) struct Recipe {
    /// Full name, as containerd keeps it.
    name: &'static str,
    packages: &'static [&'static str],
    /// User and group that containers run as when the pod does not say.
    user: &'static str,
    /// What the packages alone do not give.
    finish: fn(&Path) -> Result<(), Error>,
}

/// The images that the specification names, each with the shell and the tools that its namesake has too.
pub(super) const STOCK: [Recipe; 3] = [
    Recipe {
        name: "docker.io/library/python:3.11-slim",
        packages: &["python3", "python3-pip", "dash", "coreutils"],
        user: "0:0",
        finish: python::finish,
    },
    Recipe {
        name: "docker.io/amazon/aws-cli:latest",
        packages: &["awscli", "bash", "coreutils"],
        user: "0:0",
        finish: |root| link(root, "bash", "sh"),
    },
    Recipe {
        name: "docker.io/curlimages/curl:latest",
        packages: &["curl", "ca-certificates", "busybox-static"],
        user: "100:101",
        finish: busybox,
    },
];

impl Recipe {
    /// The image, from the cache when apt would still install the same packages.
    pub(super) fn image(&self, cache: &Path) -> Result<Image, Error> {
        let closure = debian::Closure::resolve(self.packages)?;
        let short = self.name.rsplit('/').next().unwrap_or(self.name).replace(':', "-");
        let archive = cache.join(format!("{short}-{}.tar", closure.key));
        if !archive.exists() {
            let root = tempfile::tempdir_in(cache).map_err(Error::file("create a directory in", cache))?;
            closure.unpack(root.path())?;
            (self.finish)(root.path())?;
            let spec = ImageSpec {
                name: self.name.to_owned(),
                root: Some(root.path().to_owned()),
                env: vec![PATH.to_owned()],
                user: self.user.to_owned(),
                ..ImageSpec::default()
            };
            image::write(&spec, &archive)?;
        }
        Ok(Image { name: self.name.to_owned(), archive })
    }
}

/// Every applet of busybox under its own name.
fn busybox(root: &Path) -> Result<(), Error> {
    let program = root.join("usr/bin/busybox");
    let applets = run("list the applets of busybox", std::process::Command::new(&program).arg("--list"))?;
    applets.lines().try_for_each(|applet| link(root, "busybox", applet))
}

/// `/usr/bin/NAME` as a link to its neighbour `target`, unless there is a program of that name.
fn link(root: &Path, target: &str, name: &str) -> Result<(), Error> {
    let path = root.join("usr/bin").join(name);
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    std::os::unix::fs::symlink(target, &path).map_err(Error::file("create", &path))
}
