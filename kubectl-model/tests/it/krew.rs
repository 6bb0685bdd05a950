//! `make krew`: the archive, and the manifest by the rules of krew.sigs.k8s.io/docs/developer-guide.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::plane::Run;

fn pack(out: &Path, base: &str) -> Run {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/krew");
    let mut command = Command::new(script);
    command.env("BINARY", env!("CARGO_BIN_EXE_kubectl-model")).env("OUT", out).env("BASE_URL", base);
    Run::from(command.output().expect("it runs"))
}

fn printed(command: &mut Command) -> String {
    Run::from(command.output().expect("it runs")).ends(0).to_owned()
}

#[test]
fn krew_gets_an_archive_with_the_licence_and_a_manifest_that_fits() {
    let out = tempfile::tempdir().expect("a directory");
    let run = pack(out.path(), "https://example.com/releases");
    let files: Vec<PathBuf> = run.ends(0).lines().map(PathBuf::from).collect();
    let [archive, manifest] = &files[..] else { panic!("{run:#?}") };
    assert_eq!(manifest.file_name().unwrap(), "model.yaml", "it is called as the plugin");
    let text = fs::read_to_string(manifest).expect("the manifest");
    assert!(!text.lines().any(|line| line.contains('@') && !line.starts_with('#')), "nothing is left open:\n{text}");
    let manifest: Value = serde_saphyr::from_str(&text).expect("YAML");

    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!((&manifest["kind"], &manifest["metadata"]["name"]), (&"Plugin".into(), &"model".into()));
    let spec = &manifest["spec"];
    assert_eq!(spec["version"], format!("v{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(spec["homepage"], env!("CARGO_PKG_REPOSITORY"));
    let short = spec["shortDescription"].as_str().expect("a short description");
    assert!(short.len() <= 50 && !short.ends_with('.') && !short.contains("kubectl"), "{short}");
    assert!(spec["description"].as_str().is_some_and(|text| text.lines().count() > 1));

    let [platform] = &spec["platforms"].as_array().expect("platforms")[..] else { panic!("{spec}") };
    let selector = &platform["selector"]["matchLabels"];
    assert_eq!(selector["os"], "linux");
    assert!(["amd64", "arm64"].contains(&selector["arch"].as_str().expect("an architecture")));
    let name = archive.file_name().unwrap().to_str().unwrap();
    assert!(name.ends_with(".tar.gz"), "{name}");
    assert_eq!(platform["uri"], format!("https://example.com/releases/{name}"));
    let digest = printed(Command::new("sha256sum").arg(archive));
    assert_eq!(platform["sha256"], digest.split(' ').next().unwrap());

    // Every file that is installed is in the archive, the program among them, and nothing else is there.
    let listed: BTreeSet<String> =
        printed(Command::new("tar").arg("tzf").arg(archive)).lines().map(Into::into).collect();
    let from = |file: &Value| file["from"].as_str().map(str::to_owned);
    let installed: BTreeSet<String> = platform["files"].as_array().expect("files").iter().filter_map(from).collect();
    assert_eq!(listed, installed);
    assert!(installed.contains("LICENSE") && installed.contains(platform["bin"].as_str().expect("a program")));
    printed(Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(out.path()));
    let version = printed(Command::new(out.path().join("kubectl-model")).arg("--version"));
    assert_eq!(version.trim_end(), format!("kubectl-model {}", env!("CARGO_PKG_VERSION")));

    // Packed again it is the same, byte for byte.
    let again = tempfile::tempdir().expect("a directory");
    pack(again.path(), "https://example.com/releases").ends(0);
    assert_eq!(fs::read(again.path().join(name)).unwrap(), fs::read(archive).unwrap());
}

#[test]
fn an_address_that_krew_would_not_take_is_refused() {
    let out = tempfile::tempdir().expect("a directory");
    for base in ["http://example.com", "https://example.com/a|b", "https://example.com/?a"] {
        pack(out.path(), base).complains(64, &["BASE_URL must be an https:// address"]);
    }
}
