//! Each source as it should work, and as it refuses.

use std::fs;

use model_core::{
    reason::Reason,
    report::{Outcome, Progress},
};
use model_loader::{Meter, Wanted, plan, pull};
use test_hub::{Cdn, Origin};

use crate::world::{World, binary, entries, printed, reason, sha256, wanted, write};

#[tokio::test]
async fn a_whole_repository_arrives_verified() {
    let world = World::with(|mut config| {
        // More than one page of listing.
        config.tree_page = 2;
        config
    });
    let published = world.pull("hf://acme/tiny").await.unwrap();
    let manifest = world.assert_published(&world.served("hf/acme/tiny"));
    assert_eq!((published.files, published.unverified_files, published.bytes), (5, 0, manifest.bytes));
    let commit = published.resolved_revision.unwrap();
    assert_eq!(commit.len(), 40);
    assert_eq!(manifest.resolved_revision.as_ref(), Some(&commit));
    assert_eq!(manifest.source, "hf://acme/tiny@main");
    assert!(manifest.files.iter().all(|file| file.verified));
}

#[tokio::test]
async fn credentials_stay_with_the_origin_they_are_for() {
    let world = World::new();
    world.pull("hf://acme/private").await.unwrap();
    world.assert_published(&world.served("hf/acme/private"));
    let stats = world.hub.stats();
    let (hub, cdn) = (stats.origin(Origin::Hub), stats.origin(Origin::Cdn));
    assert_eq!(hub.with_credentials, hub.requests, "the hub needs the token each time");
    assert!(cdn.requests > 0, "large files come from another origin");
    assert_eq!(cdn.with_credentials, 0, "the other origin never sees it");
}

#[tokio::test]
async fn a_redirect_on_the_same_origin_works() {
    let world = World::with(|mut config| {
        config.cdn = Cdn::Same;
        config
    });
    world.pull("hf://acme/private").await.unwrap();
    world.assert_published(&world.served("hf/acme/private"));
}

#[tokio::test]
async fn a_branch_with_slashes_and_a_commit_are_revisions() {
    let world = World::new();
    let branch = world.pull("hf://acme/tiny@refs/pr/1").await.unwrap();
    world.assert_published(&world.served("hf/acme/tiny/.hub/revisions/refs%2Fpr%2F1"));
    let commit = branch.resolved_revision.unwrap();
    let planned = plan(&wanted(&format!("hf://acme/tiny@{commit}")), &world.network()).await.unwrap();
    assert_eq!(planned.resolved_revision, Some(commit));
    assert_eq!(planned.files.len(), 1);
}

#[tokio::test]
async fn patterns_choose_files() {
    let world = World::new();
    let wanted = Wanted {
        include: vec!["*.json".to_owned(), "onnx/".to_owned(), "*.txt".to_owned()],
        exclude: vec!["a folder/*".to_owned()],
        ..wanted("hf://acme/tiny")
    };
    pull(&wanted, &world.target(), &world.network(), &Meter::default()).await.unwrap();
    let mut want = world.served("hf/acme/tiny");
    want.retain(|path, _| ["config.json", "empty.txt", "onnx/model.onnx"].contains(&path.as_str()));
    world.assert_published(&want);
    assert_eq!(world.hub.stats().containing("model.safetensors").requests, 0, "what is not wanted is not asked for");
}

#[tokio::test]
async fn a_prefix_of_a_bucket_arrives_verified() {
    let world = World::new();
    let published = world.pull("s3://models/tiny").await.unwrap();
    let manifest = world.assert_published(&world.served("s3/models/tiny"));
    assert_eq!(published.unverified_files, 0, "{manifest:?}");
    assert_eq!(published.resolved_revision, None);
}

#[tokio::test]
async fn a_single_object_arrives_under_its_last_name() {
    let world = World::new();
    let bytes = world.served("s3/models/tiny")["onnx/model.onnx"].clone();
    let published = world.pull("s3://models/tiny/onnx/model.onnx").await.unwrap();
    assert!(published.resolved_revision.is_some(), "the tag of the object");
    world.assert_published(&[("model.onnx".to_owned(), bytes)].into());
}

#[tokio::test]
async fn a_url_arrives_and_is_verified_where_a_digest_is_given() {
    let world = World::new();
    let source = format!("{}/files/model.gguf?download=true", world.hub.url());
    let published = world.pull(&source).await.unwrap();
    let manifest = world.assert_published(&world.served("files"));
    assert_eq!((published.files, published.unverified_files), (1, 1));
    assert!(!manifest.source.contains('?'), "{}", manifest.source);

    let world = World::new();
    let digest = format!("sha256:{}", sha256(&world.served("files")["model.gguf"]));
    let wanted =
        Wanted { sha256: Some(digest.parse().unwrap()), ..wanted(&format!("{}/files/model.gguf", world.hub.url())) };
    let published = pull(&wanted, &world.target(), &world.network(), &Meter::default()).await.unwrap();
    world.assert_published(&world.served("files"));
    assert_eq!(published.unverified_files, 0);
}

/// What a check for newer content compares: the listing of the plan with that of what was published.
#[tokio::test]
async fn a_listing_changes_with_the_wanted_files_and_with_nothing_else() {
    let world = World::new();
    let url = format!("{}/files/model.gguf", world.hub.url());
    for (source, file) in [
        ("hf://acme/tiny", "hf/acme/tiny/config.json"),
        ("s3://models/tiny", "s3/models/tiny/onnx/model.onnx"),
        ("s3://models/tiny/onnx/model.onnx", "s3/models/tiny/onnx/model.onnx"),
        (&url, "files/model.gguf"),
    ] {
        let listed = async || plan(&wanted(source), &world.network()).await.unwrap().listing.unwrap();
        let to = tempfile::tempdir().unwrap();
        let dir = to.path().join("m");
        let published = pull(&wanted(source), &dir, &world.network(), &Meter::default()).await.unwrap();
        assert_eq!(published.listing, Some(listed().await), "{source}");
        assert!(published.asked_at.is_some());
        // Content that is there already is as old as it was.
        let again = pull(&wanted(source), &dir, &world.network(), &Meter::default()).await.unwrap();
        assert_eq!((again.listing.as_ref(), again.asked_at), (published.listing.as_ref(), published.asked_at));
        let mut bytes = fs::read(world.root.path().join(file)).unwrap();
        bytes[0] ^= 1;
        write(&world.root.path().join(file), &bytes);
        world.hub.refresh();
        assert_ne!(published.listing, Some(listed().await), "{source}: as long as before, and another file");
    }
    // Whoever wants no such file is not told of it.
    let chosen = Wanted { exclude: vec!["config.json".to_owned()], ..wanted("hf://acme/tiny") };
    let before = plan(&chosen, &world.network()).await.unwrap();
    write(&world.root.path().join("hf/acme/tiny/config.json"), b"{}");
    world.hub.refresh();
    let after = plan(&chosen, &world.network()).await.unwrap();
    assert_ne!(before.resolved_revision, after.resolved_revision);
    assert_eq!(before.listing, after.listing);
}

#[tokio::test]
async fn a_protected_url_opens_with_token_or_password() {
    for credentials in
        [&[("TOKEN", "hf_test_token\n")][..], &[("TOKEN", ""), ("USERNAME", "user"), ("PASSWORD", "password")]]
    {
        let world = World::new();
        let source = format!("{}/private/model.gguf", world.hub.url());
        world.pull_with(&source, &world.network_with(credentials)).await.unwrap();
        world.assert_published(&world.served("private"));
    }
}

#[tokio::test]
async fn each_refusal_has_its_reason_and_leaves_nothing() {
    let world = World::new();
    fs::create_dir(world.root.path().join("s3/models/hollow")).unwrap();
    let url = |path: &str| format!("{}/{path}", world.hub.url());
    let anonymous = &[("HF_TOKEN", ""), ("TOKEN", "")][..];
    let outsider = &[("HF_TOKEN", "hf_outsider_token"), ("TOKEN", "hf_outsider_token")][..];
    let wrong_token = &[("HF_TOKEN", "hf_wrong"), ("TOKEN", "wrong")][..];
    let wrong_key = &[("AWS_SECRET_ACCESS_KEY", "wrong")][..];
    let right = &[][..];
    for (source, env, want) in [
        ("hf://acme/absent".to_owned(), right, Reason::SourceNotFound),
        ("hf://acme/absent".to_owned(), anonymous, Reason::SourceNotFound),
        ("hf://acme/private".to_owned(), anonymous, Reason::SourceNotFound),
        ("hf://acme/private".to_owned(), outsider, Reason::SourceNotFound),
        ("hf://acme/tiny@absent".to_owned(), right, Reason::SourceNotFound),
        ("hf://acme/gated".to_owned(), anonymous, Reason::GatedRepository),
        ("hf://acme/gated".to_owned(), outsider, Reason::GatedRepository),
        ("hf://acme/tiny".to_owned(), wrong_token, Reason::AccessDenied),
        ("s3://models/absent".to_owned(), right, Reason::SourceNotFound),
        ("s3://absent/tiny".to_owned(), right, Reason::SourceNotFound),
        ("s3://models/tiny".to_owned(), wrong_key, Reason::AccessDenied),
        (url("files/absent"), right, Reason::SourceNotFound),
        (url("private/model.gguf"), anonymous, Reason::AccessDenied),
        (url("private/model.gguf"), wrong_token, Reason::AccessDenied),
        (url("private/model.gguf"), outsider, Reason::AccessDenied),
        ("http://127.0.0.1:9/nobody-listens".to_owned(), right, Reason::NetworkError),
        // A folder without a file is no object.
        ("s3://models/hollow".to_owned(), right, Reason::SourceNotFound),
        ("http://host.invalid/".to_owned(), right, Reason::NetworkError),
    ] {
        let result = world.pull_with(&source, &world.network_with(env)).await;
        assert_eq!(reason(result), want, "{source}");
        let left: Vec<_> = crate::world::files(world.volume()).into_keys().collect();
        assert!(left.iter().all(|path| path.contains(".partial/")), "{source}: {left:?}");
    }
}

#[tokio::test]
async fn hostile_names_in_a_listing_stop_everything() {
    for name in ["../escape", "/tmp/escape", "a//b", "a\\b", "a\u{1}b", ".model-loader/manifest.json", "config.json/x"]
    {
        let world = World::new();
        let description = serde_json::json!({"listed": [name]}).to_string();
        write(&world.root.path().join("hf/acme/tiny/.hub/repo.json"), description.as_bytes());
        let error = world.pull("hf://acme/tiny").await.unwrap_err();
        assert_eq!(error.reason(), Reason::UnsafeFileName, "{name}");
        assert_eq!(entries(world.volume()), Vec::<String>::new(), "nothing is written for {name}");
    }
}

#[test]
fn tls_trusts_an_extra_authority_and_nobody_else() {
    let world = World::with(test_hub::HubConfig::with_tls);
    let ca = world.root.path().join("ca.pem");
    fs::write(&ca, world.hub.ca_pem().unwrap()).unwrap();
    let endpoint = world.hub.tls_url().unwrap();
    let planned = |with_ca: bool| {
        let mut command = binary();
        command.env("HF_ENDPOINT", &endpoint).args(["plan", "--source", "hf://acme/tiny"]);
        if with_ca {
            command.env("SSL_CERT_FILE", &ca);
        }
        command.output().unwrap()
    };
    let trusted = planned(true);
    assert!(trusted.status.success(), "{}", printed(&trusted));
    let plan: serde_json::Value = serde_json::from_slice(&trusted.stdout).unwrap();
    assert_eq!(plan["files"].as_array().unwrap().len(), 5);
    assert_eq!(plan["files"][2]["path"], "empty.txt");
    assert!(plan["files"][3]["digest"].as_str().unwrap().starts_with("sha256:"));
    let unknown = planned(false);
    assert_eq!(unknown.status.code(), Some(1), "{}", printed(&unknown));
    assert!(printed(&unknown).contains("NetworkError"), "{}", printed(&unknown));
    assert!(printed(&unknown).contains("certificate"), "{}", printed(&unknown));
}

#[test]
fn a_plan_leaves_its_sums_or_why_there_are_none() {
    let world = World::new();
    let log = world.root.path().join("termination-log");
    let plan = |source: &str| {
        let mut command = binary();
        command.env("HF_ENDPOINT", world.hub.url()).args(["plan", "--source", source, "--termination-log"]).arg(&log);
        command.output().unwrap()
    };
    let done = plan("hf://acme/tiny");
    assert_eq!(done.status.code(), Some(0), "{}", printed(&done));
    let listed: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let Outcome::Planned(planned) = crate::world::outcome(&log) else { panic!("it planned") };
    assert_eq!(planned.resolved_revision.as_deref(), listed["resolvedRevision"].as_str());
    let files = listed["files"].as_array().unwrap();
    let bytes = files.iter().map(|file| file["size"].as_u64().unwrap()).sum();
    assert_eq!((planned.files, planned.bytes), (files.len() as u64, Some(bytes)));
    assert!(bytes > 0);

    let refused = plan("hf://acme/nowhere");
    assert_eq!(refused.status.code(), Some(2), "{}", printed(&refused));
    let Outcome::Failed(failure) = crate::world::outcome(&log) else { panic!("it failed") };
    assert_eq!(failure.reason, Reason::SourceNotFound);
}

#[test]
fn the_binary_reports_progress_result_and_no_secret() {
    let world = World::new();
    let log = world.root.path().join("termination-log");
    let secret = "s3cr3t-in-a-query";
    let source = format!("{}/private/model.gguf?sig={secret}", world.hub.url());
    let run = |token: &str| {
        let mut command = world.binary(&source);
        command.env("TOKEN", token).env("RUST_LOG", "trace").arg("--termination-log").arg(&log);
        command.output().unwrap()
    };
    let denied = run("wr0ng-t0ken");
    assert_eq!(denied.status.code(), Some(2), "{}", printed(&denied));
    let Outcome::Failed(failure) = crate::world::outcome(&log) else { panic!("it failed") };
    assert_eq!(failure.reason, Reason::AccessDenied);
    let done = run("hf_test_token");
    assert_eq!(done.status.code(), Some(0), "{}", printed(&done));
    let lines = String::from_utf8(done.stdout.clone()).unwrap();
    let last = Progress::parse(lines.lines().last().unwrap()).unwrap();
    assert_eq!((last.percent(), last.files, last.total_files), (Some(100), 1, Some(1)));
    assert!(lines.lines().all(|line| Progress::parse(line).is_some()), "{lines}");
    let Outcome::Succeeded(published) = crate::world::outcome(&log) else { panic!("it succeeded") };
    assert_eq!(published.files, 1);
    let manifest = fs::read_to_string(world.target().join(".model-loader/manifest.json")).unwrap();
    for text in [printed(&denied), printed(&done), fs::read_to_string(&log).unwrap(), failure.message, manifest] {
        for word in [secret, "wr0ng-t0ken", "hf_test_token"] {
            assert!(!text.contains(word), "{word} in: {text}");
        }
    }
}
