//! Writes container images from plain files, without Docker.
//!
//! The result is an OCI image layout in a tar archive with one layer: what `ctr images import`, `skopeo` and
//! `podman load` read. Equal input gives equal bytes: every time stamp is 0.

use std::{
    collections::BTreeMap,
    fs,
    fs::File,
    io,
    io::Write,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::{Error, directories::hex};

/// What an image holds and how it starts.
#[derive(Debug, Clone, Default)]
pub struct ImageSpec {
    /// The full name, tag included: `example.com/model-loader:dev`. A tag other than `latest` is not pulled by default.
    pub name: String,
    /// A directory whose whole content becomes the image's root, with its modes and owners. `None` starts empty.
    pub root: Option<PathBuf>,
    /// Single files by their absolute path in the image; they replace those of `root`. Missing parent directories are
    /// made, mode 0755, owner root.
    pub files: Vec<(String, Content)>,
    /// The program and its first arguments; a pod's `command` replaces it.
    pub entrypoint: Vec<String>,
    /// Environment variables, `NAME=value`.
    pub env: Vec<String>,
    /// `UID`, `UID:GID` or a name from the image's `/etc/passwd`. Empty means root; `runAsNonRoot` wants a number.
    pub user: String,
    /// The directory the program starts in. Empty means `/`.
    pub working_dir: String,
}

/// One entry of an image.
#[derive(Debug, Clone)]
pub enum Content {
    /// A copy of a file on this machine, with this mode.
    Copy(PathBuf, u32),
    /// A text, mode 0644.
    Text(String),
    /// A symbolic link to this target.
    Link(String),
    /// An empty directory, with this mode.
    Directory(u32),
}

/// Writes the image as a tar archive to `out`, which appears only when it is complete.
///
/// # Errors
/// When a source cannot be read, `out` cannot be written, or a path in the image is not absolute.
pub fn write(image: &ImageSpec, out: &Path) -> Result<(), Error> {
    let invalid = |reason: String| Error::Image { image: out.to_owned(), reason };
    if let Some((path, _)) = image.files.iter().find(|(path, _)| !is_plain(path)) {
        return Err(invalid(format!("{path} is not an absolute path without `..`")));
    }
    let beside = |extension: &str| {
        let mut name = out.as_os_str().to_owned();
        name.push(format!(".{}.{extension}", std::process::id()));
        PathBuf::from(name)
    };
    let (layer, unfinished) = (beside("layer"), beside("unfinished"));
    let written = write_layer(image, &layer)
        .and_then(|digest| write_layout(image, &layer, &digest, &unfinished))
        .and_then(|()| fs::rename(&unfinished, out));
    for temporary in [layer, unfinished] {
        let _already_gone = fs::remove_file(temporary);
    }
    written.map_err(Error::io(format!("write the image {}", out.display())))
}

fn is_plain(path: &str) -> bool {
    path.starts_with('/') && path.len() > 1 && !path.split('/').any(|part| part == "..")
}

/// Writes the layer and returns its digest in hexadecimal.
fn write_layer(image: &ImageSpec, path: &Path) -> io::Result<String> {
    // By path, so that directories come before what they hold and the order is always the same.
    let mut entries: BTreeMap<PathBuf, Source> = BTreeMap::new();
    if let Some(root) = &image.root {
        collect(root, Path::new(""), &mut entries)?;
    }
    for (path, content) in &image.files {
        let path = PathBuf::from(path.trim_matches('/'));
        for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            entries.entry(parent.to_owned()).or_insert(Source::Spec(&Content::Directory(0o755)));
        }
        entries.insert(path, Source::Spec(content));
    }
    let mut layer = Builder::new(Hashing { inner: io::BufWriter::new(File::create(path)?), hash: Sha256::new() });
    for (path, source) in &entries {
        match source {
            Source::Spec(content) => append(&mut layer, path, content)?,
            Source::Disk(from) => append_from_disk(&mut layer, path, from)?,
        }
    }
    let mut written = layer.into_inner()?;
    written.inner.flush()?;
    Ok(hex(&written.hash.finalize()))
}

enum Source<'a> {
    Spec(&'a Content),
    Disk(PathBuf),
}

fn collect(root: &Path, below: &Path, entries: &mut BTreeMap<PathBuf, Source>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(root, &path, entries)?;
        }
        // Sockets and pipes mean nothing in an image; the runtime makes devices.
        if kind.is_dir() || kind.is_file() || kind.is_symlink() {
            entries.insert(path, Source::Disk(entry.path()));
        } else {
            debug_assert!(kind.is_socket() || kind.is_fifo() || kind.is_char_device() || kind.is_block_device());
        }
    }
    Ok(())
}

fn append<W: Write>(layer: &mut Builder<W>, path: &Path, content: &Content) -> io::Result<()> {
    match content {
        Content::Copy(from, mode) => {
            let file = File::open(from).map_err(|error| named(from, &error))?;
            let mut header = header(EntryType::Regular, *mode, file.metadata()?.len());
            layer.append_data(&mut header, path, file)
        }
        Content::Text(text) => {
            layer.append_data(&mut header(EntryType::Regular, 0o644, text.len() as u64), path, text.as_bytes())
        }
        Content::Link(target) => layer.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, target),
        Content::Directory(mode) => layer.append_data(&mut header(EntryType::Directory, *mode, 0), path, io::empty()),
    }
}

fn append_from_disk<W: Write>(layer: &mut Builder<W>, path: &Path, from: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(from)?;
    let (kind, size) = match found.file_type() {
        kind if kind.is_dir() => (EntryType::Directory, 0),
        kind if kind.is_symlink() => (EntryType::Symlink, 0),
        _ => (EntryType::Regular, found.len()),
    };
    let mut header = header(kind, found.mode() & 0o7777, size);
    header.set_uid(found.uid().into());
    header.set_gid(found.gid().into());
    match kind {
        EntryType::Directory => layer.append_data(&mut header, path, io::empty()),
        EntryType::Symlink => layer.append_link(&mut header, path, fs::read_link(from)?),
        _ => layer.append_data(&mut header, path, File::open(from).map_err(|error| named(from, &error))?),
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// Writes the archive around a finished layer.
fn write_layout(image: &ImageSpec, layer: &Path, layer_digest: &str, out: &Path) -> io::Result<()> {
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": image.entrypoint,
            "Env": image.env,
            "User": image.user,
            "WorkingDir": image.working_dir,
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
    });
    let (config_blob, config) = blob("application/vnd.oci.image.config.v1+json", &config);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": format!("sha256:{layer_digest}"),
            "size": fs::metadata(layer)?.len(),
        }],
    });
    let (manifest_blob, mut manifest) = blob("application/vnd.oci.image.manifest.v1+json", &manifest);
    // The first is containerd's, the second what other tools read.
    manifest["annotations"] =
        json!({"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name});
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });

    let mut archive = Builder::new(io::BufWriter::new(File::create(out)?));
    let layer_name = format!("blobs/sha256/{layer_digest}");
    append(&mut archive, Path::new(&layer_name), &Content::Copy(layer.to_owned(), 0o644))?;
    for (name, text) in [
        config_blob,
        manifest_blob,
        ("oci-layout".to_owned(), json!({"imageLayoutVersion": "1.0.0"}).to_string()),
        ("index.json".to_owned(), index.to_string()),
    ] {
        append(&mut archive, Path::new(&name), &Content::Text(text))?;
    }
    archive.into_inner()?.flush()
}

/// A JSON blob as (path in the layout, text), and its descriptor.
fn blob(media_type: &str, content: &Value) -> ((String, String), Value) {
    let text = content.to_string();
    let digest = hex(&Sha256::digest(&text));
    let descriptor = json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": text.len()});
    ((format!("blobs/sha256/{digest}"), text), descriptor)
}

/// This machine's architecture as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(archive: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(archive);
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
    }

    #[test]
    fn equal_input_gives_equal_bytes_and_parents_come_first() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/etc")).unwrap();
        fs::write(dir.path().join("root/etc/motd"), "from the tree").unwrap();
        let spec = ImageSpec {
            name: "example.com/a:1".into(),
            root: Some(dir.path().join("root")),
            files: vec![
                ("/usr/bin/sh".into(), Content::Link("busybox".into())),
                ("/usr/bin/busybox".into(), Content::Text("#!".into())),
            ],
            ..ImageSpec::default()
        };
        let (a, b) = (dir.path().join("a.tar"), dir.path().join("b.tar"));
        write(&spec, &a).unwrap();
        write(&spec, &b).unwrap();
        assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
        let mut archive = tar::Archive::new(File::open(&a).unwrap());
        let mut layer = Vec::new();
        io::copy(&mut archive.entries().unwrap().next().unwrap().unwrap(), &mut layer).unwrap();
        assert_eq!(paths(&layer), ["etc", "etc/motd", "usr", "usr/bin", "usr/bin/busybox", "usr/bin/sh"]);
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3, "only the tree and two archives: {left:?}");
    }

    #[test]
    fn a_path_out_of_the_image_is_refused() {
        let spec =
            ImageSpec { files: vec![("/../etc/passwd".into(), Content::Text(String::new()))], ..ImageSpec::default() };
        let out = tempfile::tempdir().unwrap();
        assert!(matches!(write(&spec, &out.path().join("a.tar")), Err(Error::Image { .. })));
    }
}
