//! Images of one static binary each, as the Dockerfiles make them.

use std::path::{Path, PathBuf};
use std::process::Command;

use dev_cluster::image::{self, Content, ImageSpec};

use super::Image;
use crate::Error;
use crate::command::run;

/// `nonroot` of the distroless images, as in the Dockerfiles.
const NON_ROOT: &str = "65532:65532";

/// What the names of such variables start with.
const ABOUT_A_PACKAGE: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_NAME", "CARGO_BIN_", "CARGO_PRIMARY_PACKAGE"];

/// Packages whose binary has the same name.
const PACKAGES: [&str; 4] = ["model-controller", "model-webhook", "model-loader", "test-hub"];

/// What people have on their own machines.
const PLUGIN: &str = "kubectl-model";

pub(super) fn plugin(workspace: &Path) -> Result<PathBuf, Error> {
    Ok(compile(workspace)?.join(PLUGIN))
}

pub(super) fn images(workspace: &Path, cache: &Path) -> Result<Vec<Image>, Error> {
    let folder = compile(workspace)?;
    let spec_of = |package: &&str| spec(&folder, package, &format!("{package}:dev"));
    PACKAGES.iter().map(spec_of).map(|spec| pack(&spec, cache)).collect()
}

pub(super) fn hub_with_content(workspace: &Path, cache: &Path, root: &Path, env: &[String]) -> Result<Image, Error> {
    let hub = spec(&compile(workspace)?, "test-hub", "model-hub:demo");
    pack(&ImageSpec { root: Some(root.to_owned()), env: env.to_vec(), ..hub }, cache)
}

fn spec(folder: &Path, package: &str, image: &str) -> ImageSpec {
    let program = format!("/{package}");
    ImageSpec {
        name: format!("docker.io/library/{image}"),
        files: vec![(program.clone(), Content::Copy(folder.join(package), 0o755))],
        entrypoint: vec![program],
        user: NON_ROOT.to_owned(),
        ..ImageSpec::default()
    }
}

fn pack(spec: &ImageSpec, cache: &Path) -> Result<Image, Error> {
    let (_, file) = spec.name.rsplit_once('/').unwrap_or(("", &spec.name));
    let archive = cache.join(format!("{}.tar", file.replace(':', "-")));
    image::write(spec, &archive)?;
    Ok(Image { name: spec.name.clone(), archive })
}

/// The server of `examples/embedding-server`, a workspace of its own.
pub(super) fn embedding_server(workspace: &Path, cache: &Path) -> Result<Image, Error> {
    let package = "embedding-server";
    let mut cargo = build(&workspace.join("examples").join(package));
    cargo.arg("--locked");
    let folder = folder_of("compile the embedding server", &mut cargo)?;
    pack(&spec(&folder, package, &format!("{package}:dev")), cache)
}

/// Compiles the binaries and gives the directory that they are in. Does next to nothing when they are up to date.
fn compile(workspace: &Path) -> Result<PathBuf, Error> {
    let mut cargo = build(workspace);
    for package in PACKAGES.into_iter().chain([PLUGIN]) {
        cargo.args(["--package", package, "--bin", package]);
    }
    folder_of("compile the operator's binaries", &mut cargo)
}

/// `cargo build` in a workspace, in release mode, for further arguments.
fn build(workspace: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Cargo tells a program that it runs about that program's package. Build scripts would take it for theirs, and
    // everything would be compiled again whenever another program asks.
    for (name, _) in std::env::vars_os() {
        if ABOUT_A_PACKAGE.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    cargo.current_dir(workspace).args(["build", "--release", "--message-format=json-render-diagnostics"]);
    cargo
}

/// Runs `cargo build` and gives the directory of what it built.
fn folder_of(doing: &str, cargo: &mut Command) -> Result<PathBuf, Error> {
    let messages = run(doing, cargo)?;
    // One JSON object a line; that of a binary names the file.
    let executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    let folder = executables.collect::<Vec<_>>().pop().and_then(|path| path.parent().map(Path::to_owned));
    folder.ok_or_else(|| Error::Unexpected {
        what: "cargo named no binary".to_owned(),
        report: messages.lines().last().unwrap_or_default().to_owned(),
    })
}
