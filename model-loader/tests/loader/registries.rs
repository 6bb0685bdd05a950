//! Ollama models and OCI artifacts, from a real registry that a real client has pushed to.

use std::{path::Path, time::Duration};

use model_core::reason::Reason;
use model_loader::{Network, Plan, plan};
use serde_json::json;
use test_hub::{Fault, GATE_PASSWORD, GATE_USER, Gate, Lock, Rule};

use crate::{
    servers::{Server, oras},
    world::{Files, World, entries, files, printed, reason, sha256, wanted, write},
};

/// The files of `hf/acme/tiny`, pushed as they lie; what the digest of the manifest is.
fn push_tiny(world: &World, server: &Server, name: &str, flags: &[&str]) -> String {
    let folder = world.root.path().join("hf/acme/tiny");
    let names: Vec<String> = world.served("hf/acme/tiny").into_keys().collect();
    let address = format!("{}/{name}", server.host);
    let mut arguments =
        vec!["push", "--plain-http", "--artifact-type", "application/vnd.test", "--format", "go-template={{.digest}}"];
    arguments.extend(flags);
    arguments.push(&address);
    arguments.extend(names.iter().map(String::as_str));
    oras(&folder, &arguments)
}

/// Pushes a manifest of these blobs, each a media type, an annotation and bytes.
fn push_manifest(server: &Server, name: &str, kind: &str, config: &[u8], layers: &[(&str, serde_json::Value, &[u8])]) {
    let folder = tempfile::tempdir().unwrap();
    let repository = format!("{}/{}", server.host, name.split(':').next().unwrap());
    let blob = |media_type: &str, annotations: &serde_json::Value, bytes: &[u8]| {
        write(&folder.path().join("blob"), bytes);
        oras(folder.path(), &["blob", "push", "--plain-http", &repository, "blob"]);
        let digest = format!("sha256:{}", sha256(bytes));
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len(), "annotations": annotations})
    };
    let config = blob("application/vnd.docker.container.image.v1+json", &json!(null), config);
    let layers: Vec<_> =
        layers.iter().map(|(media_type, annotations, bytes)| blob(media_type, annotations, bytes)).collect();
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
    write(&folder.path().join("manifest.json"), manifest.to_string().as_bytes());
    let address = format!("{}/{name}", server.host);
    oras(folder.path(), &["manifest", "push", "--plain-http", "--media-type", kind, &address, "manifest.json"]);
}

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

async fn planned(source: &str, network: &Network) -> Plan {
    plan(&wanted(source), network).await.unwrap()
}

#[tokio::test]
async fn an_ollama_model_arrives_verified_under_the_names_of_its_parts() {
    let (world, server) = (World::new(), Server::registry());
    let model = world.served("files")["model.gguf"].clone();
    let parts: [(&str, &str, &[u8]); 6] = [
        ("model", "model.gguf", &model),
        ("template", "template", b"{{ .Prompt }}"),
        ("license", "license", b"Apache-2.0"),
        ("license", "license-2", b"and more"),
        ("params", "params", br#"{"stop": ["<|end|>"]}"#),
        ("projector", "projector.gguf", b"GGUF"),
    ];
    let types = parts.map(|(kind, ..)| format!("application/vnd.ollama.image.{kind}"));
    let layers: Vec<_> =
        types.iter().zip(parts).map(|(kind, (_, _, bytes))| (kind.as_str(), json!(null), bytes)).collect();
    push_manifest(&server, "library/tiny:1b", DOCKER_MANIFEST, br#"{"model_format": "gguf"}"#, &layers);

    let mirror = format!("http://{}", server.host);
    let network = world.network_with(&[("OLLAMA_REGISTRY", &mirror)]);
    let published = world.pull_with("ollama://tiny:1b", &network).await.unwrap();
    let mut want: Files = parts.iter().map(|(_, name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
    want.insert("config.json".to_owned(), br#"{"model_format": "gguf"}"#.to_vec());
    let manifest = world.assert_published(&want);
    assert_eq!((published.files, published.unverified_files), (7, 0));
    assert_eq!(manifest.source, "ollama://library/tiny:1b");
    let digest = published.resolved_revision.unwrap();

    // A host in front needs no variable, and the digest names the same content.
    for source in
        [format!("ollama://{}/library/tiny:1b", server.host), format!("ollama://{}/library/tiny@{digest}", server.host)]
    {
        let planned = planned(&source, &world.network()).await;
        assert_eq!((planned.resolved_revision.as_ref(), planned.files.len()), (Some(&digest), 7), "{source}");
    }
    for (source, word) in [("ollama://tiny", "latest"), ("ollama://absent:1b", "check the name")] {
        let error = plan(&wanted(source), &network).await.unwrap_err();
        assert_eq!(error.reason(), Reason::SourceNotFound, "{source}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[tokio::test]
async fn files_that_oras_pushed_arrive_verified_under_their_names() {
    let (world, server) = (World::new(), Server::registry());
    let digest = push_tiny(&world, &server, "org/models/tiny:v1", &[]);
    let source = format!("oci://{}/org/models/tiny:v1", server.host);
    let published = world.pull(&source).await.unwrap();
    let manifest = world.assert_published(&world.served("hf/acme/tiny"));
    assert_eq!((published.files, published.unverified_files), (5, 0));
    assert_eq!(published.resolved_revision.as_ref(), Some(&digest));
    assert_eq!(manifest.source, source);

    // The tag moves on; the digest stays.
    write(&world.root.path().join("hf/acme/tiny/config.json"), b"{\"new\": true}");
    let moved = push_tiny(&world, &server, "org/models/tiny:v1", &[]);
    assert_ne!(moved, digest);
    let by_tag = planned(&source, &world.network()).await;
    let by_digest = planned(&format!("oci://{}/org/models/tiny:v1@{digest}", server.host), &world.network()).await;
    assert_eq!((by_tag.resolved_revision, by_digest.resolved_revision), (Some(moved), Some(digest)));
}

#[tokio::test]
async fn a_model_pack_of_raw_files_arrives() {
    let (world, server) = (World::new(), Server::registry());
    let raw = "application/vnd.cncf.model.weight.v1.raw";
    let path = |path: &str| json!({"org.cncf.model.filepath": path});
    let layers = [
        (raw, path("weights/model.safetensors"), &b"weights"[..]),
        ("application/vnd.cncf.model.weight.config.v1.raw", path("config.json"), b"{}"),
    ];
    push_manifest(&server, "tiny:v1", OCI_MANIFEST, b"{}", &layers);
    world.pull(&format!("oci://{}/tiny:v1", server.host)).await.unwrap();
    let want = [("weights/model.safetensors", &b"weights"[..]), ("config.json", b"{}")];
    world.assert_published(&want.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).into());
}

#[tokio::test]
async fn an_index_is_followed_where_it_leaves_no_choice() {
    let (world, server) = (World::new(), Server::registry());
    let first = push_tiny(&world, &server, "tiny:v1", &[]);
    let second = push_tiny(&world, &server, "tiny:v2", &["--annotation", "a=b"]);
    let index = |name: &str, digests: &[&String]| {
        let size = |digest: &str| {
            let address = format!("{}/tiny@{digest}", server.host);
            oras(world.root.path(), &["manifest", "fetch", "--plain-http", &address]).len()
        };
        let entry = |digest: &&String| json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": size(digest)});
        let kind = "application/vnd.oci.image.index.v1+json";
        let entries: Vec<_> = digests.iter().map(entry).collect();
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": entries});
        write(&world.root.path().join("index.json"), index.to_string().as_bytes());
        let address = format!("{}/{name}", server.host);
        oras(world.root.path(), &["manifest", "push", "--plain-http", "--media-type", kind, &address, "index.json"]);
    };
    index("tiny:one", &[&first]);
    index("tiny:two", &[&first, &second]);
    let one = planned(&format!("oci://{}/tiny:one", server.host), &world.network()).await;
    assert_eq!((one.resolved_revision.as_ref(), one.files.len()), (Some(&first), 5));
    let error = plan(&wanted(&format!("oci://{}/tiny:two", server.host)), &world.network()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::SourceInvalid);
    assert!(error.to_string().contains(&first) && error.to_string().contains(&second), "{error}");
}

#[tokio::test]
async fn what_cannot_become_files_is_refused_and_leaves_nothing() {
    let (world, server) = (World::new(), Server::registry());
    // A directory, which oras packs into an archive.
    let address = format!("{}/packed:v1", server.host);
    oras(&world.root.path().join("hf/acme/tiny"), &["push", "--plain-http", &address, "onnx"]);
    let title = |name: &str| json!({"org.opencontainers.image.title": name});
    let raw = "application/octet-stream";
    push_manifest(
        &server,
        "escape:v1",
        OCI_MANIFEST,
        b"{}",
        &[(raw, title("ok"), b"1"), (raw, title("../escape"), b"2")],
    );
    push_manifest(&server, "twice:v1", OCI_MANIFEST, b"{}", &[(raw, title("a"), b"1"), (raw, title("a"), b"2")]);
    push_manifest(&server, "nameless:v1", OCI_MANIFEST, b"{}", &[(raw, json!(null), b"1")]);
    let image = "application/vnd.oci.image.layer.v1.tar+gzip";
    push_manifest(&server, "image:v1", OCI_MANIFEST, b"{}", &[(image, json!(null), b"1")]);
    for (name, want, word) in [
        ("packed", Reason::SourceInvalid, "tar archive"),
        ("escape", Reason::UnsafeFileName, "../escape"),
        ("twice", Reason::UnsafeFileName, "twice"),
        ("nameless", Reason::SourceInvalid, "org.opencontainers.image.title"),
        ("image", Reason::SourceInvalid, "container image"),
    ] {
        let error = world.pull(&format!("oci://{}/{name}:v1", server.host)).await.unwrap_err();
        assert_eq!(error.reason(), want, "{name}: {error}");
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(entries(world.volume()), Vec::<String>::new(), "nothing is written for {name}");
    }
    let error = world.pull(&format!("ollama://{}/library/packed:v1", server.host)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::SourceNotFound);
}

/// An Ollama model as plain files of the hub, whose faults then hit it. Gives the digest of its manifest.
fn plain_model(world: &World, promised: &[u8], sent: &[u8]) -> String {
    let folder = world.root.path().join("files/v2/library/tiny");
    let digest = format!("sha256:{}", sha256(promised));
    write(&folder.join("blobs").join(&digest), sent);
    let layer = json!({"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": promised.len()});
    let manifest = json!({"schemaVersion": 2, "layers": [layer]}).to_string();
    let digest = format!("sha256:{}", sha256(manifest.as_bytes()));
    write(&folder.join("manifests/latest"), manifest.as_bytes());
    write(&folder.join("manifests").join(&digest), manifest.as_bytes());
    digest
}

fn plain_registry(world: &World) -> Network {
    world.network_with(&[("OLLAMA_REGISTRY", &format!("{}/files", world.hub.url()))])
}

#[tokio::test]
async fn wrong_bytes_of_a_registry_are_never_published() {
    let world = World::new();
    let right = world.served("files")["model.gguf"].clone();
    let mut wrong = right.clone();
    wrong[1000] ^= 1;
    let digest = plain_model(&world, &right, &wrong);
    let error = world.pull_with("ollama://tiny", &plain_registry(&world)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ChecksumMismatch);
    assert!(error.to_string().contains("model.gguf"), "{error}");
    // Another manifest in the place of the one that the digest names.
    let path = world.root.path().join("files/v2/library/tiny/manifests").join(&digest);
    write(&path, br#"{"schemaVersion": 2, "layers": []}"#);
    let error = world.pull_with(&format!("ollama://tiny@{digest}"), &plain_registry(&world)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ChecksumMismatch);
    assert!(error.to_string().contains(&digest), "{error}");
    world.assert_nothing_published();
}

#[tokio::test]
async fn a_registry_in_trouble_is_asked_again() {
    let world = World::new();
    let bytes = world.served("files")["model.gguf"].clone();
    plain_model(&world, &bytes, &bytes);
    let rule = |fault, path: &str| world.hub.add_fault(Rule::new(fault).path(path).count(1)).unwrap();
    rule(Fault::Status { code: 503, retry_after: None, rate_limit_reset: None, html: false }, "*manifests*");
    rule(Fault::Close { after: 1 << 20, reset: true }, "*blobs*");
    world.pull_with("ollama://tiny", &plain_registry(&world)).await.unwrap();
    world.assert_published(&[("model.gguf".to_owned(), bytes)].into());
}

#[tokio::test]
async fn a_registry_with_passwords_opens_to_the_right_one() {
    let (world, server) = (World::new(), Server::registry());
    push_tiny(&world, &server, "tiny:v1", &[]);
    let (gate, right) = gated(&server, Lock::Password);
    let source = format!("oci://{}/tiny:v1", gate.host());
    for (env, word) in
        [(&[][..], "OCI_USERNAME"), (&[right[0], ("OCI_PASSWORD", "wr0ng-passw0rd")], "does not let these credentials")]
    {
        let error = world.pull_with(&source, &world.network_with(env)).await.unwrap_err();
        assert_eq!(error.reason(), Reason::AccessDenied);
        assert!(error.to_string().contains(word) && !error.to_string().contains("wr0ng-passw0rd"), "{error}");
    }
    let absent = format!("oci://{}/tiny:absent", gate.host());
    assert_eq!(reason(world.pull_with(&absent, &world.network_with(&right)).await), Reason::SourceNotFound);
    world.pull_with(&source, &world.network_with(&right)).await.unwrap();
    world.assert_published(&world.served("hf/acme/tiny"));
    assert_eq!(gate.leaked(), 0);

    // As a secret of type kubernetes.io/dockerconfigjson is mounted.
    let secret = world.root.path().join(".dockerconfigjson");
    let auths = json!({"auths": {gate.host(): {"username": GATE_USER, "password": GATE_PASSWORD}}});
    write(&secret, auths.to_string().as_bytes());
    let network = world.network_with(&[("REGISTRY_AUTH_FILE", secret.to_str().unwrap())]);
    assert_eq!(planned(&source, &network).await.files.len(), 5);
}

fn gated(server: &Server, lock: Lock) -> (Gate, [(&'static str, &'static str); 2]) {
    let gate = Gate::start(&format!("http://{}", server.host), lock).unwrap();
    (gate, [("OCI_USERNAME", GATE_USER), ("OCI_PASSWORD", GATE_PASSWORD)])
}

#[tokio::test]
async fn one_token_serves_a_download_and_stays_with_its_registry() {
    let (world, server) = (World::new(), Server::registry());
    push_tiny(&world, &server, "org/tiny:v1", &[]);
    let (gate, right) = gated(&server, Lock::Token(Duration::from_secs(300)));
    let source = format!("oci://{}/org/tiny:v1", gate.host());
    for env in [&[][..], &[right[0], ("OCI_PASSWORD", "wrong")]] {
        assert_eq!(reason(world.pull_with(&source, &world.network_with(env)).await), Reason::AccessDenied);
    }
    world.pull_with(&source, &world.network_with(&right)).await.unwrap();
    world.assert_published(&world.served("hf/acme/tiny"));
    assert_eq!((gate.tokens(), gate.leaked()), (1, 0));
}

#[tokio::test]
async fn a_download_that_outlives_its_token_goes_on() {
    let (world, server) = (World::new(), Server::registry());
    push_tiny(&world, &server, "tiny:v1", &[]);
    let (gate, right) = gated(&server, Lock::TokenEach);
    let source = format!("oci://{}/tiny:v1", gate.host());
    world.pull_with(&source, &world.network_with(&right)).await.unwrap();
    world.assert_published(&world.served("hf/acme/tiny"));
    assert!(gate.tokens() > 5, "each of five files and the manifest needs a token of its own: {}", gate.tokens());
    assert_eq!((gate.refused(), gate.leaked()), (1, 0), "only the first question came without");
}

#[test]
fn no_credential_of_a_registry_is_printed() {
    let (world, server) = (World::new(), Server::registry());
    push_tiny(&world, &server, "tiny:v1", &[]);
    for lock in [Lock::Password, Lock::Token(Duration::from_secs(300))] {
        let world = World::new();
        let (gate, right) = gated(&server, lock);
        let mut command = world.binary(&format!("oci://{}/tiny:v1", gate.host()));
        let output = command.envs(right).env("RUST_LOG", "trace").output().unwrap();
        assert!(output.status.success(), "{}", printed(&output));
        let text: String = files(world.volume())
            .into_iter()
            .filter(|(path, _)| path.contains(".model-loader"))
            .map(|(_, bytes)| String::from_utf8(bytes).unwrap())
            .chain([printed(&output)])
            .collect();
        let encoded = "cmVnaXN0cnktdXNlcjpyZWdpc3RyeS1wYXNzd29yZA";
        for secret in [GATE_PASSWORD, "gate-token", encoded] {
            assert!(!text.contains(secret), "{secret} in: {text}");
        }
        assert_eq!(gate.leaked(), 0);
    }
}

#[test]
fn a_folder_is_no_credential_file() {
    let world = World::new();
    let output = world.binary("oci://127.0.0.1:1/tiny").env("REGISTRY_AUTH_FILE", Path::new("/proc")).output().unwrap();
    assert_eq!(output.status.code(), Some(64), "{}", printed(&output));
    assert!(printed(&output).contains("/proc"), "{}", printed(&output));
}
