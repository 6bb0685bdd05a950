//! S3 from a server that is not our own, filled by the real `aws`.

use std::fs;

use model_core::reason::Reason;
use model_loader::{Network, digest::Algorithm, plan};
use test_hub::{WEB_IDENTITY_TOKEN, fixtures};

use crate::{
    servers::{S3_KEY, Server},
    world::{World, printed, reason, wanted, write},
};

fn network(world: &World, server: &Server, changed: &[(&str, &str)]) -> Network {
    let endpoint = format!("http://{}", server.host);
    let own = [("AWS_ENDPOINT_URL", &*endpoint), ("AWS_ACCESS_KEY_ID", S3_KEY.0), ("AWS_SECRET_ACCESS_KEY", S3_KEY.1)];
    world.network_with(&[&own[..], changed].concat())
}

/// A server with the files of `s3/models/tiny` below `models/tiny/`.
fn filled(world: &World) -> Server {
    let server = Server::s3();
    server.aws(&["s3", "mb", "s3://models"]);
    let folder = world.root.path().join("s3/models/tiny");
    server.aws(&["s3", "cp", "--recursive", "--quiet", folder.to_str().unwrap(), "s3://models/tiny"]);
    server
}

#[tokio::test]
async fn a_prefix_and_an_object_arrive_verified() {
    let world = World::new();
    let server = filled(&world);
    let network = network(&world, &server, &[]);
    let published = world.pull_with("s3://models/tiny", &network).await.unwrap();
    world.assert_published(&world.served("s3/models/tiny"));
    assert_eq!((published.files, published.unverified_files), (5, 0));
    let world = World::new();
    let published = world.pull_with("s3://models/tiny/onnx/model.onnx", &network).await.unwrap();
    let bytes = world.served("s3/models/tiny")["onnx/model.onnx"].clone();
    world.assert_published(&[("model.onnx".to_owned(), bytes)].into());
    assert_eq!((published.files, published.unverified_files), (1, 0));
}

#[tokio::test]
async fn an_object_put_in_parts_is_verified_where_the_server_keeps_a_checksum_of_the_whole() {
    let world = World::new();
    let server = Server::s3();
    server.aws(&["s3", "mb", "s3://models"]);
    let file = world.root.path().join("large.bin");
    // Over the 8 MiB from which on `aws` sends parts.
    fixtures::random_file(&file, 9, 9 << 20).unwrap();
    let upload = |to: &str, calculate: &str| {
        let arguments = ["s3", "cp", "--quiet", file.to_str().unwrap(), to];
        server.aws_with(&[("AWS_REQUEST_CHECKSUM_CALCULATION", calculate)], &arguments);
    };
    // `aws` by itself has a checksum made of those of the parts, which says nothing about the whole.
    upload("s3://models/parts/large.bin", "when_supported");
    upload("s3://models/whole/large.bin", "when_required");
    let network = network(&world, &server, &[]);
    for (source, verified, algorithm) in [
        ("s3://models/parts/large.bin", false, Algorithm::Sha256),
        ("s3://models/whole/large.bin", true, Algorithm::Crc64Nvme),
        ("s3://models/whole", true, Algorithm::Crc64Nvme),
    ] {
        let world = World::new();
        let published = world.pull_with(source, &network).await.unwrap();
        let manifest = world.assert_published(&[("large.bin".to_owned(), fs::read(&file).unwrap())].into());
        let tag = published.resolved_revision.unwrap();
        assert!(tag.contains('-'), "it was put in parts: {tag}");
        assert_eq!(
            (manifest.files[0].verified, manifest.files[0].digest.algorithm()),
            (verified, algorithm),
            "{source}"
        );
        // Known before the first byte, so that parts of the file can be fetched side by side.
        let planned = plan(&wanted(source), &network).await.unwrap();
        assert_eq!(planned.files[0].digest.is_some(), verified, "{source}");
    }
}

#[tokio::test]
async fn each_refusal_has_its_reason_and_says_what_to_do() {
    let world = World::new();
    let server = filled(&world);
    let no_key = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    let half = [("AWS_SECRET_ACCESS_KEY", "")];
    for (source, env, want, word) in [
        ("s3://models/tiny", &[("AWS_SECRET_ACCESS_KEY", "wrong")][..], Reason::AccessDenied, "AWS_SECRET_ACCESS_KEY"),
        ("s3://models/tiny", &[("AWS_ACCESS_KEY_ID", "wrong")], Reason::AccessDenied, "AWS_ACCESS_KEY_ID"),
        ("s3://models/tiny", &no_key, Reason::AccessDenied, "not public"),
        ("s3://models/tiny", &half, Reason::CredentialsMissing, "AWS_SECRET_ACCESS_KEY is not"),
        ("s3://models/tiny", &[("AWS_REGION", "eu-west-1")], Reason::SourceInvalid, "AWS_REGION"),
        ("s3://models/tiny", &[("AWS_SESSION_TOKEN", "wrong")], Reason::AccessDenied, "AWS_SESSION_TOKEN"),
        ("s3://absent/tiny", &[], Reason::SourceNotFound, "no such bucket"),
        ("s3://models/absent", &[], Reason::SourceNotFound, "no object of this key"),
        ("s3://models/absent/", &[], Reason::SourceNotFound, "no object below"),
        ("s3://models/tiny/onnx/absent", &[], Reason::SourceNotFound, "no object of this key"),
        ("s3://models/tiny//onnx", &[], Reason::UnsafeFileName, "not supported"),
    ] {
        let error = world.pull_with(source, &network(&world, &server, env)).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.reason(), want, "{source}: {text}");
        assert!(text.contains(word), "{text}");
        world.assert_nothing_published();
    }
}

#[test]
fn the_bucket_may_stand_in_the_host() {
    let world = World::new();
    let server = filled(&world);
    let run = |endpoint: &str| {
        let mut command = world.binary("s3://models/tiny");
        command.env("AWS_ACCESS_KEY_ID", S3_KEY.0).env("AWS_SECRET_ACCESS_KEY", S3_KEY.1);
        command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true");
        // The server takes the place of a proxy, so that its names need no resolver.
        command.env("http_proxy", format!("http://{}", server.host)).output().unwrap()
    };
    let output = run("http://s3.test");
    assert!(output.status.success(), "{}", printed(&output));
    world.assert_published(&world.served("s3/models/tiny"));
}

#[tokio::test]
async fn a_pods_role_opens_the_bucket() {
    let world = World::new();
    let token = world.root.path().join("token");
    write(&token, WEB_IDENTITY_TOKEN.as_bytes());
    let sts = world.hub.sts_url();
    let env = |token| {
        [
            ("AWS_ACCESS_KEY_ID", ""),
            ("AWS_SECRET_ACCESS_KEY", ""),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/models"),
            ("AWS_ENDPOINT_URL_STS", &*sts),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token),
        ]
    };
    let wrong = world.root.path().join("wrong-token");
    write(&wrong, b"s3cr3t-wrong-token");
    let error =
        world.pull_with("s3://models/tiny", &world.network_with(&env(wrong.to_str().unwrap()))).await.unwrap_err();
    assert_eq!(error.reason(), Reason::AccessDenied);
    let failure = error.failure().message;
    assert!(failure.contains("AWS_WEB_IDENTITY_TOKEN_FILE") && !failure.contains("s3cr3t"), "{failure}");
    let absent = world.network_with(&env("/absent/token"));
    assert_eq!(reason(world.pull_with("s3://models/tiny", &absent).await), Reason::CredentialsMissing);
    world.pull_with("s3://models/tiny", &world.network_with(&env(token.to_str().unwrap()))).await.unwrap();
    world.assert_published(&world.served("s3/models/tiny"));
}
