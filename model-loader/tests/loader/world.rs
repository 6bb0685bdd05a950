//! A hub with a few small models, a place to download to, and the loader as library and as binary.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use model_core::{
    reason::Reason,
    report::{Outcome, Published},
};
use model_loader::{
    Access, Error, Meter, Network, RetryPolicy, Wanted,
    digest::{Algorithm, Hasher},
    manifest::Manifest,
    pull,
};
use test_hub::{Hub, HubConfig, fixtures};

/// Longest wait for something that has to happen.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Bytes of the large file of `acme/tiny`.
pub const LARGE: u64 = 2 << 20;

/// Large files of `acme/big`: name, seed, bytes.
const BIG: [(&str, u64, u64); 2] =
    [("model-00001.safetensors", 11, 24 << 20), ("model-00002.safetensors", 12, (12 << 20) + 3)];

/// Contents of a directory by relative path.
pub type Files = BTreeMap<String, Vec<u8>>;

pub struct World {
    pub hub: Hub,
    pub root: tempfile::TempDir,
    out: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        Self::with(|config| config)
    }

    pub fn with(configure: impl Fn(HubConfig) -> HubConfig) -> Self {
        let root = tempfile::tempdir().unwrap();
        for repo in ["hf/acme/tiny", "hf/acme/gated", "hf/acme/private", "s3/models/tiny"] {
            let repo = root.path().join(repo);
            write(&repo.join("config.json"), b"{}");
            write(&repo.join("a folder/notes with space.txt"), b"escaped");
            write(&repo.join("empty.txt"), b"");
            fixtures::random_file(&repo.join("model.safetensors"), 1, LARGE).unwrap();
            fixtures::random_file(&repo.join("onnx/model.onnx"), 2, 200_000).unwrap();
        }
        write(&root.path().join("hf/acme/tiny/.hub/revisions/refs%2Fpr%2F1/config.json"), b"{ }");
        write(&root.path().join("hf/acme/gated/.hub/repo.json"), br#"{"gated": true}"#);
        write(&root.path().join("hf/acme/private/.hub/repo.json"), br#"{"private": true}"#);
        for file in ["files/model.gguf", "private/model.gguf"] {
            fixtures::random_file(&root.path().join(file), 3, LARGE).unwrap();
        }
        let hub = Hub::start(configure(HubConfig::new(root.path()))).unwrap();
        let out = tempfile::tempdir().unwrap();
        // Other users are let in, so that tests can run the loader as one.
        fs::set_permissions(out.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Self { hub, root, out }
    }

    /// A hub with one model of 36 MiB: two large files, whose parts are fetched at once, and many small ones.
    pub fn big() -> Self {
        let world = Self::new();
        for repo in ["hf/acme/big", "s3/models/big"] {
            let repo = world.root.path().join(repo);
            for (name, seed, bytes) in BIG {
                fixtures::random_file(&repo.join(name), seed, bytes).unwrap();
            }
            for number in 0..40 {
                fixtures::random_file(&repo.join(format!("small/{number}.json")), number, 100 * number).unwrap();
            }
        }
        fixtures::random_file(&world.root.path().join("files/big.gguf"), 13, 24 << 20).unwrap();
        world.hub.refresh();
        world
    }

    /// Where tests download to. Absent at first.
    pub fn target(&self) -> PathBuf {
        self.volume().join("revisions/0123")
    }

    /// The volume that the target is on. Empty at first.
    pub fn volume(&self) -> &Path {
        self.out.path()
    }

    /// The environment of a loader for this hub, with all credentials.
    pub fn env(&self) -> Vec<(String, String)> {
        [
            ("HF_ENDPOINT", self.hub.url()),
            ("AWS_ENDPOINT_URL", self.hub.s3_url()),
            ("AWS_ACCESS_KEY_ID", "test-access-key".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test-secret-key".to_owned()),
            ("HF_TOKEN", "hf_test_token".to_owned()),
            ("TOKEN", "hf_test_token".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// Asks again soon, so that tests end, and waits for an answer as long as users do: what is counted must not depend on
    /// how busy the machine is.
    pub fn network(&self) -> Network {
        self.network_with(&[])
    }

    /// For servers that fall silent.
    pub fn impatient(&self) -> Network {
        Network { stall_timeout: Duration::from_secs(1), ..self.network() }
    }

    /// With other variables in the environment; an empty value removes one.
    pub fn network_with(&self, changed: &[(&str, &str)]) -> Network {
        let mut env: BTreeMap<_, _> = self.env().into_iter().collect();
        env.extend(changed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let retry = RetryPolicy {
            first_wait: Duration::from_millis(10),
            longest_wait: Duration::from_millis(100),
            ..RetryPolicy::default()
        };
        let access = Access::from_vars(env).unwrap();
        Network { access, retry, ..Network::default() }
    }

    pub async fn pull(&self, source: &str) -> Result<Published, Error> {
        self.pull_with(source, &self.network()).await
    }

    pub async fn pull_with(&self, source: &str, network: &Network) -> Result<Published, Error> {
        pull(&wanted(source), &self.target(), network, &Meter::default()).await
    }

    /// The binary with this command line.
    pub fn binary(&self, source: &str) -> Command {
        let mut command = binary();
        command.envs(self.env()).args(["pull", "--source", source, "--to"]).arg(self.target());
        command
    }

    /// What a folder of the hub holds, without the hub's own files.
    pub fn served(&self, folder: &str) -> Files {
        let mut files = files(&self.root.path().join(folder));
        files.retain(|path, _| !path.starts_with(".hub/"));
        files
    }

    /// Checks that exactly these files are published, verified and read-only, and that nothing else is left behind.
    pub fn assert_published(&self, want: &Files) -> Manifest {
        let manifest = assert_published(&self.target(), want);
        assert_eq!(entries(self.target().parent().unwrap()), ["0123"], "staging is gone");
        manifest
    }

    /// Checks that the target is still absent.
    pub fn assert_nothing_published(&self) {
        assert!(!self.target().exists(), "nothing may be published");
    }
}

/// Checks one published directory.
pub fn assert_published(dir: &Path, want: &Files) -> Manifest {
    let mut found = files(dir);
    assert!(found.remove(".model-loader/manifest.json").is_some());
    assert_eq!(found.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
    for (path, bytes) in want {
        assert!(found[path] == *bytes, "{path} has the bytes of the source");
    }
    let manifest = Manifest::read(dir).unwrap().unwrap();
    assert_eq!(manifest.files.len(), want.len());
    for file in &manifest.files {
        let bytes = &want[file.path.as_str()];
        let mut hasher = Hasher::new(file.digest.algorithm(), file.size);
        hasher.update(bytes);
        assert_eq!((file.size, &file.digest), (bytes.len() as u64, &hasher.finish()), "{}", file.path);
    }
    assert_eq!(manifest.bytes, want.values().map(|bytes| bytes.len() as u64).sum::<u64>());
    assert_read_only(dir);
    manifest
}

fn assert_read_only(path: &Path) {
    let found = fs::symlink_metadata(path).unwrap();
    let want = if found.is_dir() { 0o555 } else { 0o444 };
    assert_eq!(found.permissions().mode() & 0o7777, want, "{}", path.display());
    if found.is_dir() {
        for name in entries(path) {
            assert_read_only(&path.join(name));
        }
    }
}

/// The loader without any of this process's environment.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_model-loader"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Copies the loader to a place that other users see too.
///
/// By another process: a file that this one writes stays open for writing in every child that another test starts at the
/// same moment, and cannot be run until that child runs its own program.
pub fn copy_binary(to: &Path) {
    let status = Command::new("cp").arg(env!("CARGO_BIN_EXE_model-loader")).arg(to).status().unwrap();
    assert!(status.success(), "{}", to.display());
}

pub fn wanted(source: &str) -> Wanted {
    Wanted::all_of(source.parse().unwrap())
}

pub fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> Reason {
    result.unwrap_err().reason()
}

pub fn sha256(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256, 0);
    hasher.update(bytes);
    hasher.finish().to_string().trim_start_matches("sha256:").to_owned()
}

/// Everything a process printed.
pub fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub fn outcome(file: &Path) -> Outcome {
    Outcome::parse(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Waits until something holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Names in a directory, sorted. None where it is absent.
pub fn entries(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// All files below a directory.
pub fn files(dir: &Path) -> Files {
    let mut found = Files::new();
    for name in entries(dir) {
        let path = dir.join(&name);
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}
