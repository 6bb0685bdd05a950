//! The Python of a root tree, run on this machine: no other Python is needed here.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::command::run;

/// The client that the specification's Job for Hugging Face installs.
const HUGGINGFACE_HUB: &str = "huggingface_hub==2.4.0";

/// Where the image keeps the wheels.
const WHEELS: &str = "opt/wheels";

/// Makes of a root tree with Debian's Python what its Job finds in `python:3.11-slim`.
///
/// A node for tests has no way out, so `pip install huggingface_hub` is answered from wheels inside the image: that is
/// the one difference to the real image that the Job can notice.
pub(super) fn finish(root: &Path) -> Result<(), Error> {
    let local = root.join("usr/local/bin");
    std::fs::create_dir_all(&local).map_err(Error::file("create", &local))?;
    let link = local.join("python");
    std::os::unix::fs::symlink("/usr/bin/python3", &link).map_err(Error::file("create", &link))?;
    // Debian asks pip to keep off its own packages; the real image does not.
    for marker in find(&root.join("usr/lib"), "EXTERNALLY-MANAGED")? {
        std::fs::remove_file(&marker).map_err(Error::file("remove", &marker))?;
    }
    let wheels = root.join(WHEELS);
    download(root, HUGGINGFACE_HUB, &wheels)?;
    let settings = root.join("etc/pip.conf");
    std::fs::write(&settings, format!("[global]\nno-index = true\nfind-links = /{WHEELS}\n"))
        .map_err(Error::file("write", &settings))
}

/// Downloads wheels with the pip of a root tree. A `requirement` names its version.
fn download(root: &Path, requirement: &str, to: &Path) -> Result<(), Error> {
    let loader = find(&root.join("usr/lib64"), "ld-linux")?.into_iter().next();
    let loader = loader.unwrap_or_else(|| root.join("usr/lib64/ld-linux"));
    let libraries = find(&root.join("usr/lib"), "libc.so.6")?;
    let libraries = libraries.iter().find_map(|path| path.parent()).unwrap_or(root);
    let mut pip = Command::new(loader);
    pip.arg("--library-path").arg(libraries).arg(root.join("usr/bin/python3"));
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]);
    pip.arg("--dest").arg(to).arg(requirement);
    pip.env("PYTHONHOME", root.join("usr")).env("PYTHONDONTWRITEBYTECODE", "1").env_remove("PYTHONPATH");
    run(&format!("download {requirement} from PyPI"), &mut pip)?;
    Ok(())
}

/// Files whose name starts with `name`, at most two levels below `folder`.
fn find(folder: &Path, name: &str) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::file("read", folder))?.flatten() {
        let path = entry.path();
        let deeper = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            std::fs::read_dir(&path).map_err(Error::file("read", &path))?.flatten().map(|entry| entry.path()).collect()
        } else {
            vec![path]
        };
        let named =
            |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|n| n.starts_with(name));
        found.extend(deeper.into_iter().filter(named));
    }
    Ok(found)
}
