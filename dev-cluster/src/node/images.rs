//! The images a node starts with, written once from programs on this machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{config::PAUSE_IMAGE, packages};
use crate::{
    Binaries, Error, command,
    directories::hex,
    image::{self, Content, ImageSpec},
};

/// Shell and small tools for tests and helper pods: Debian's static busybox.
pub const BUSYBOX_IMAGE: &str = "docker.io/library/busybox:stable";

/// Any change of how images are made gives them another directory.
const SOURCES: [&str; 2] = [include_str!("images.rs"), include_str!("../image.rs")];

/// Writes those that are not there yet beside the programs, and returns their archives.
pub(crate) fn ensure(binaries: &Binaries) -> Result<Vec<PathBuf>, Error> {
    let key = hex(&Sha256::digest(SOURCES.concat())[..8]);
    let dir = binaries.path(&format!("../images-{key}"));
    fs::create_dir_all(&dir).map_err(Error::io(format!("create {}", dir.display())))?;
    let mut archives = Vec::new();
    for spec in [pause(), one_program("coredns", binaries), one_program("local-path-provisioner", binaries), busybox()?]
    {
        let archive = dir.join(format!("{}.tar", spec.name.replace(['/', ':'], "_")));
        if !archive.exists() {
            image::write(&spec, &archive)?;
        }
        archives.push(archive);
    }
    Ok(archives)
}

fn busybox_path() -> PathBuf {
    packages::find("busybox").unwrap_or_else(|| "/bin/busybox".into())
}

/// Holds a pod's namespaces and does nothing.
fn pause() -> ImageSpec {
    ImageSpec {
        name: PAUSE_IMAGE.to_owned(),
        files: vec![("/busybox".to_owned(), Content::Copy(busybox_path(), 0o755))],
        entrypoint: ["/busybox", "sleep", "infinity"].map(str::to_owned).to_vec(),
        user: "65535:65535".to_owned(),
        ..ImageSpec::default()
    }
}

fn one_program(program: &str, binaries: &Binaries) -> ImageSpec {
    ImageSpec {
        name: format!("dev-cluster.local/{program}:1"),
        files: vec![(format!("/{program}"), Content::Copy(binaries.path(program), 0o755))],
        entrypoint: vec![format!("/{program}")],
        ..ImageSpec::default()
    }
}

fn busybox() -> Result<ImageSpec, Error> {
    let path = busybox_path();
    let applets = applets(&path)?;
    let links = applets.lines().filter(|applet| *applet != "busybox");
    let mut files: Vec<_> =
        links.map(|applet| (format!("/bin/{applet}"), Content::Link("busybox".to_owned()))).collect();
    files.push(("/bin/busybox".to_owned(), Content::Copy(path, 0o755)));
    files.push(("/etc/passwd".to_owned(), Content::Text("root:x:0:0:root:/:/bin/sh\n".to_owned())));
    files.push(("/tmp".to_owned(), Content::Directory(0o1777)));
    Ok(ImageSpec {
        name: BUSYBOX_IMAGE.to_owned(),
        files,
        entrypoint: vec!["/bin/sh".to_owned()],
        env: vec!["PATH=/bin".to_owned()],
        ..ImageSpec::default()
    })
}

fn applets(busybox: &Path) -> Result<String, Error> {
    command::run("list busybox's tools", &busybox.to_string_lossy(), &["--list"])
}
