//! The loader's feature `xet` against the storage's own local server, behind the test hub.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use model_core::reason::Reason;
use model_loader::{Access, Error, Meter, Network, RetryPolicy, Wanted, pull};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use test_hub::{Hub, HubConfig, fixtures};

const DEADLINE: Duration = Duration::from_secs(60);
/// Bytes of the model: several parts, several xorbs' worth of chunks.
const SIZE: u64 = 40 << 20;

/// A repository `acme/xet` whose large file lies in Xet storage.
struct World {
    server: Child,
    hub: Hub,
    root: tempfile::TempDir,
    sha256: String,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let repo = root.path().join("hub/hf/acme/xet");
        let model = repo.join("model.safetensors");
        fs::create_dir_all(repo.join(".hub")).unwrap();
        fs::write(repo.join("config.json"), "{}").unwrap();
        fixtures::random_file(&model, 1, SIZE).unwrap();
        let sha256 = Sha256::digest(fs::read(&model).unwrap());
        let sha256: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        let (server, cas) = serve(&root.path().join("cas"));
        let mut upload = bench(&root.path().join("cache"));
        let upload = upload.arg("upload").arg(&cas).arg(&model).stderr(Stdio::inherit()).output().unwrap();
        assert!(upload.status.success());
        let hash = String::from_utf8(upload.stdout).unwrap().trim().to_owned();
        let description = json!({"xet": {"casUrl": cas, "hashes": {sha256.as_str(): hash}}});
        fs::write(repo.join(".hub/repo.json"), description.to_string()).unwrap();
        let hub = Hub::start(HubConfig::new(&root.path().join("hub"))).unwrap();
        Self { server, hub, root, sha256 }
    }

    fn target(&self) -> PathBuf {
        self.root.path().join("models/m")
    }

    async fn pull(&self) -> Result<(), Error> {
        let access = Access::from_vars([("HF_ENDPOINT".to_owned(), self.hub.url())]).unwrap();
        let retry = RetryPolicy { first_wait: Duration::from_millis(10), ..RetryPolicy::default() };
        let network = Network { access, retry, ..Network::default() };
        let wanted = Wanted::all_of("hf://acme/xet".parse().unwrap());
        pull(&wanted, &self.target(), &network, &Meter::default()).await.map(drop)
    }

    /// Bytes that the hub and its CDN have sent.
    fn sent_by_hub(&self) -> u64 {
        self.hub.stats().total().bytes
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn bench(cache: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xet-bench"));
    command.env("HF_XET_CACHE", cache).env("HF_XET_TELEMETRY_ENABLED", "0").stdout(Stdio::piped());
    command
}

/// Starts their server, and waits until it answers.
fn serve(dir: &Path) -> (Child, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = bench(&dir.join("cache"));
    let child = command.arg("serve").arg(dir).arg(port.to_string()).spawn().unwrap();
    let since = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(since.elapsed() < DEADLINE, "the server does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    (child, format!("http://127.0.0.1:{port}"))
}

/// Stored xorbs, the largest last.
fn xorbs(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() { dirs.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("default."));
    found.sort_by_key(|path| fs::metadata(path).unwrap().len());
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_comes_from_xet_storage_and_nothing_else_is_left() {
    let world = World::new();
    world.pull().await.unwrap();
    let got = fs::read(world.target().join("model.safetensors")).unwrap();
    assert!(got == fs::read(world.root.path().join("hub/hf/acme/xet/model.safetensors")).unwrap());
    assert_eq!(fs::read(world.target().join("config.json")).unwrap(), b"{}");
    assert!(world.sent_by_hub() < 1 << 20, "the hub has sent {} bytes itself", world.sent_by_hub());
    let manifest = fs::read_to_string(world.target().join(".model-loader/manifest.json")).unwrap();
    assert!(manifest.contains(&world.sha256) && !manifest.contains("\"verified\": false"), "{manifest}");
    let mut left: Vec<_> = fs::read_dir(world.target()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".model-loader", "config.json", "model.safetensors"]);
    let beside: Vec<_> =
        fs::read_dir(world.root.path().join("models")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(beside, ["m"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_changed_in_xet_storage_is_a_wrong_digest() {
    let world = World::new();
    let xorb = xorbs(&world.root.path().join("cas")).pop().expect("a stored xorb");
    let mut bytes = fs::read(&xorb).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&xorb).unwrap();
    fs::write(&xorb, bytes).unwrap();
    let error = world.pull().await.unwrap_err();
    assert_eq!(error.reason(), Reason::ChecksumMismatch, "{error}");
    assert!(!world.target().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_is_gone_is_a_network_error() {
    let mut world = World::new();
    world.server.kill().unwrap();
    world.server.wait().unwrap();
    let error = world.pull().await.unwrap_err();
    assert_eq!(error.reason(), Reason::NetworkError, "{error}");
}

/// The crates panic there: the image of the loader is such a place.
#[test]
fn without_authorities_of_the_system_it_says_what_to_do() {
    let world = World::new();
    let mut load = bench(world.root.path());
    let load = load.arg("load").arg(world.hub.url()).arg("acme/xet").arg(world.target());
    let load = load.env("SSL_CERT_FILE", "/none").env("SSL_CERT_DIR", "/none").output().unwrap();
    let said = String::from_utf8_lossy(&load.stderr);
    assert!(!load.status.success() && said.contains("WrongUse") && said.contains("SSL_CERT_FILE"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}
