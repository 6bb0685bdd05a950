//! The real clients, from `PyPI`. The first run installs them into the cache.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use test_hub::{HubConfig, Origin, fixtures};

use crate::support::{Served, serve};

fn program(name: &str) -> Command {
    let mut command = Command::new(fixtures::python_clients().unwrap().join(name));
    // Nothing of the user's own may matter: no token, no keys, no proxy.
    let home = std::env::temp_dir().join("test-hub-no-home");
    command.env_clear().env("HOME", &home).env("PATH", "/usr/bin:/bin").env("NO_PROXY", "*");
    command
}

fn hf_command(served: &Served, arguments: &[&str], token: Option<&str>) -> (TempDir, Command) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program("hf");
    command.args(["download"]).args(arguments).arg("--local-dir").arg(folder.path().join("files"));
    command.env("HF_ENDPOINT", served.hub.url()).env("HF_HUB_DISABLE_PROGRESS_BARS", "1");
    command.env("HF_HUB_DISABLE_XET", "1").env("HF_HOME", folder.path().join("home"));
    if let Some(token) = token {
        command.env("HF_TOKEN", token);
    }
    (folder, command)
}

/// Runs `hf download`. The files are in `files` below the folder.
fn hf(served: &Served, arguments: &[&str], token: Option<&str>) -> (TempDir, Output) {
    let (folder, mut command) = hf_command(served, arguments, token);
    let output = command.output().unwrap();
    (folder, output)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn aws(served: &Served, arguments: &[&str], key: &str) -> Output {
    let mut command = program("aws");
    command.args(["--endpoint-url", &served.hub.s3_url(), "--region", "us-east-1", "s3"]).args(arguments);
    command.env("AWS_ACCESS_KEY_ID", key).env("AWS_SECRET_ACCESS_KEY", "test-secret-key");
    command.env("AWS_EC2_METADATA_DISABLED", "true").output().unwrap()
}

/// Files below `folder`, without the clients' and the hub's own. None if there is no such folder.
fn files(folder: &Path) -> Vec<String> {
    if !folder.exists() {
        return Vec::new();
    }
    let visible = |name: &std::ffi::OsStr| !matches!(name.to_str(), Some(".cache" | ".hub"));
    let walk = walkdir::WalkDir::new(folder).min_depth(1).into_iter().filter_entry(|entry| visible(entry.file_name()));
    let mut names: Vec<String> = walk
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn assert_same(from: &Path, to: &Path) {
    assert_eq!(files(from), files(to));
    for name in files(from) {
        assert!(std::fs::read(from.join(&name)).unwrap() == std::fs::read(to.join(&name)).unwrap(), "{name} differs");
    }
}

#[test]
fn hf_downloads_a_repository_a_revision_and_a_selection() {
    let served = serve(|config| config);
    let hf_root = served.root.path().join("hf/acme");

    let (target, output) = hf(&served, &["acme/tiny"], None);
    assert!(output.status.success(), "{}", said(&output));
    assert_same(&hf_root.join("tiny"), &target.path().join("files"));

    let (target, output) = hf(&served, &["acme/tiny", "--revision", "v1"], None);
    assert!(output.status.success(), "{}", said(&output));
    assert_same(&hf_root.join("tiny/.hub/revisions/v1"), &target.path().join("files"));

    let selection = ["acme/tiny", "--include", "*.json", "--include", "onnx/*", "--exclude", "*.onnx"];
    let (target, output) = hf(&served, &selection, None);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(files(&target.path().join("files")), ["config.json", "onnx/notes with space.txt", "tokenizer.json"]);

    let (_, output) = hf(&served, &["acme/tiny", "--revision", "none"], None);
    assert!(!output.status.success() && said(&output).contains("Revision"), "{}", said(&output));
}

#[test]
fn hf_is_let_into_gated_repositories_by_token_and_takes_it_to_the_hub_only() {
    let served = serve(|config| config);
    for token in [None, Some("hf_outsider_token")] {
        let (target, output) = hf(&served, &["acme/gated"], token);
        assert!(!output.status.success(), "{token:?}");
        assert!(said(&output).contains("'acme/gated' requires approval"), "{token:?}: {}", said(&output));
        assert!(files(&target.path().join("files")).is_empty(), "{token:?}");
    }
    let (target, output) = hf(&served, &["acme/gated"], Some("hf_test_token"));
    assert!(output.status.success(), "{}", said(&output));
    assert_same(&served.root.path().join("hf/acme/gated"), &target.path().join("files"));
    let stats = served.hub.stats();
    assert!(stats.origin(Origin::Hub).with_credentials > 0 && stats.origin(Origin::Cdn).requests > 0);
    assert_eq!(stats.origin(Origin::Cdn).with_credentials, 0);

    let (_, output) = hf(&served, &["acme/private"], None);
    assert!(!output.status.success() && said(&output).contains("401 Unauthorized"), "{}", said(&output));
}

#[test]
fn hf_takes_a_hidden_repository_for_a_missing_one_over_https() {
    let served = serve(HubConfig::with_tls);
    let authority = served.root.path().join("ca.pem");
    std::fs::write(&authority, served.hub.ca_pem().unwrap()).unwrap();
    let run = |arguments: &[&str]| {
        let (target, mut command) = hf_command(&served, arguments, None);
        command.env("HF_ENDPOINT", served.hub.tls_url().unwrap()).env("SSL_CERT_FILE", &authority);
        (target, command.output().unwrap())
    };
    let (target, output) = run(&["acme/tiny"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_same(&served.root.path().join("hf/acme/tiny"), &target.path().join("files"));
    let (_, output) = run(&["acme/private"]);
    assert!(!output.status.success() && said(&output).contains("not found"), "{}", said(&output));
}

#[test]
fn a_real_model_downloaded_with_hf_is_read_by_safetensors() {
    let served = serve(|config| config);
    fixtures::minilm(served.root.path()).unwrap();
    let (target, output) = hf(&served, &[fixtures::MINILM], None);
    assert!(output.status.success(), "{}", said(&output));
    let script = "import sys\nfrom safetensors.numpy import load_file\n\
                  print(load_file(sys.argv[1])['embeddings.word_embeddings.weight'].shape)";
    let read =
        program("python").args(["-c", script]).arg(target.path().join("files/model.safetensors")).output().unwrap();
    assert_eq!(said(&read).trim(), "(30522, 384)");
}

#[test]
fn aws_lists_copies_and_uploads_with_the_right_key_only() {
    let served = serve(|config| config);
    let listed = aws(&served, &["ls", "s3://models/sharded/"], "test-access-key");
    assert!(listed.status.success(), "{}", said(&listed));
    assert!(said(&listed).contains("8388") && said(&listed).contains("model-00001-of-00004.safetensors"));

    let target = tempfile::tempdir().unwrap();
    let to = target.path().to_str().unwrap();
    let copied = aws(&served, &["cp", "--recursive", "s3://models/", to], "test-access-key");
    assert!(copied.status.success(), "{}", said(&copied));
    assert_same(&served.root.path().join("s3/models"), target.path());

    // Above 8 MiB it is sent in parts.
    let shard = target.path().join("sharded/model-00002-of-00004.safetensors");
    let put = aws(&served, &["cp", shard.to_str().unwrap(), "s3://models/new/shard"], "test-access-key");
    assert!(put.status.success(), "{}", said(&put));
    assert!(served.file("s3/models/new/shard") == std::fs::read(shard).unwrap());

    let refused = aws(&served, &["ls", "s3://models/"], "another-key");
    assert!(!refused.status.success() && said(&refused).contains("InvalidAccessKeyId"), "{}", said(&refused));
}
