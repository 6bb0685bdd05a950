//! `pull`, `list`, `status`, `usage`: Models come and are shown.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use model_core::api::Model;
use serde_json::json;

use crate::plane::{Scene, downloading, ready};

#[tokio::test]
async fn pull_creates_the_model_that_the_address_says() {
    let scene = Scene::new("pull").await;
    let run = scene.run(&["pull", "hf://acme/Tiny-1.5@v2", "--size", "2Gi", "--secret", "hub", "--no-wait"]).await;
    assert_eq!(run.ends(0), "created Model tiny-1-5 from hf://acme/Tiny-1.5@v2\n");
    let model = scene.api::<Model>().get("tiny-1-5").await.unwrap();
    let spec = serde_json::to_value(&model.spec).unwrap();
    let want = json!({
        "source": { "huggingFace": { "repoId": "acme/Tiny-1.5", "revision": "v2" } },
        "storage": { "size": "2Gi", "accessModes": ["ReadWriteOnce"] },
        "credentialsSecret": "hub",
        "keepRevisions": 1,
        "deletionPolicy": "Delete",
    });
    assert_eq!(spec, want);

    let again = scene.run(&["pull", "hf://acme/Tiny-1.5", "--revision", "v2", "--size", "2Gi", "--no-wait"]).await;
    assert_eq!(again.ends(0), "Model tiny-1-5 is there already, from this source\n");
    let other = scene.run(&["pull", "s3://bucket/x/", "--name", "tiny-1-5", "--size", "2Gi", "--no-wait"]).await;
    other.complains(1, &["there is one of this name, from hf://acme/Tiny-1.5@v2", "--name"]);
}

/// Every field of the spec but the Job's template.
#[tokio::test]
async fn flags_become_fields() {
    let scene = Scene::new("pull-flags").await;
    let pull = "pull s3://bucket/key --name all --endpoint http://store:9000 --region eu --storage-class fast --size 2Gi \
        --access-mode ReadWriteMany,ReadOnlyMany --version 1 --preflight --node-selector pool=downloads --node-selector a=b --check-interval 24h \
        --keep-revisions 3 --deletion-policy Retain --no-wait";
    scene.run(&pull.split_whitespace().collect::<Vec<_>>()).await.ends(0);
    let model = scene.api::<Model>().get("all").await.unwrap();
    let want = json!({
        "source": { "s3": { "bucket": "bucket", "key": "key", "endpoint": "http://store:9000", "region": "eu" } },
        "storage": { "storageClass": "fast", "size": "2Gi", "accessModes": ["ReadWriteMany", "ReadOnlyMany"] },
        "preflight": true,
        "version": "1",
        "nodeSelector": { "pool": "downloads", "a": "b" },
        "checkInterval": "24h",
        "keepRevisions": 3,
        "deletionPolicy": "Retain",
    });
    assert_eq!(serde_json::to_value(&model.spec).unwrap(), want);

    let pull = "pull hf://acme/tiny --include *.json --include *.txt --exclude x/* --existing-claim weights --no-wait";
    scene.run(&pull.split_whitespace().collect::<Vec<_>>()).await.ends(0);
    let spec = scene.api::<Model>().get("tiny").await.unwrap().spec;
    let spec = serde_json::to_value(&spec).unwrap();
    assert_eq!(spec["storage"]["existingClaim"], "weights");
    assert_eq!(spec["source"]["huggingFace"]["include"], json!(["*.json", "*.txt"]));
    assert_eq!(spec["source"]["huggingFace"]["exclude"], json!(["x/*"]));

    let run = scene.run(&["pull", "hf://acme/b", "--check-interval", "1m", "--no-wait"]).await;
    run.complains(1, &["spec.checkInterval"]);

    for (pull, part) in [
        ("pull hf://acme/b --existing-claim weights --size 1Gi", "cannot be used with"),
        ("pull hf://acme/b --access-mode rwx", "ReadWriteOncePod"),
        ("pull hf://acme/b --keep-revisions 0", "1..=50"),
        ("pull hf://acme/b --node-selector pool", "write KEY=VALUE"),
        ("pull hf://acme/b --existing-claim a/b", "no claim can be called"),
        ("pull s3://bucket/key --include *.json", "--include is for hf:// alone"),
    ] {
        scene.run(&pull.split_whitespace().collect::<Vec<_>>()).await.complains(2, &[part]);
    }
}

#[tokio::test]
async fn what_the_rules_of_a_model_forbid_is_said_in_their_words() {
    let scene = Scene::new("pull-rules").await;
    let run = scene.run(&["pull", "hf://acme/tiny", "--size", "0", "--no-wait"]).await;
    run.complains(1, &["could not create Model tiny", "spec.storage.size must be more than 0"]);
    let run = scene.run(&["pull", "hf://acme/ti%ny", "--name", "tiny", "--size", "1Gi", "--no-wait"]).await;
    run.complains(1, &["spec.source.huggingFace.repoId"]);
}

#[tokio::test]
async fn models_are_listed_and_shown() {
    let scene = Scene::new("list").await;
    let none = scene.run(&["list"]).await;
    none.complains(0, &["there are no Models in namespace list"]);
    scene.model("tiny").await;
    scene.model("large").await;
    scene.status::<Model>("tiny", &ready("ready to mount")).await;
    scene.status::<Model>("large", &downloading(1 << 30, 4 << 30, 100 << 20)).await;

    let run = scene.run(&["list"]).await;
    let lines: Vec<&str> = run.ends(0).lines().collect();
    assert!(lines[0].starts_with("NAME    PHASE         PROGRESS   BYTES     SPEED         ETA"), "{run:#?}");
    assert!(
        lines[1].starts_with("large   Downloading   25 %       4.0 GiB   100.0 MiB/s   31s   hf://acme/tiny@main"),
        "{run:#?}"
    );
    assert!(lines[2].starts_with("tiny    Ready         100 %"), "{run:#?}");
    let all = scene.run(&["list", "-A"]).await;
    assert!(all.ends(0).lines().any(|line| line.starts_with("list ") && line.contains("tiny")), "{all:#?}");

    let run = scene.run(&["status", "large"]).await;
    assert_eq!(run.ends(1), "large: Downloading, 25 %, 1.0 GiB/4.0 GiB, 100.0 MiB/s, ETA 31s\n");
    let run = scene.run(&["status", "tiny"]).await;
    assert_eq!(run.ends(0), "tiny: Ready, 4.0 MiB, ready to mount\n");
}

#[tokio::test]
async fn usage_names_claims_and_the_pods_that_mount_them() {
    let scene = Scene::new("usage").await;
    let model = scene.model("tiny").await;
    scene.claim(&model).await;
    let volumes = json!([{ "name": "m", "persistentVolumeClaim": { "claimName": "model-tiny" } }]);
    let containers = json!([{ "name": "app", "image": "app" }]);
    let pod: Pod = scene
        .create(
            &json!({ "metadata": { "name": "server-1" }, "spec": { "containers": containers, "volumes": volumes } }),
        )
        .await;
    let run = scene.run(&["usage"]).await;
    let want = [
        "NAMESPACE   MODEL   CLAIM        SIZE   HOLDS   MOUNTED BY".to_owned(),
        format!("usage       tiny    model-tiny   1Gi    -       {}", pod.name_any()),
    ];
    assert_eq!(run.ends(0).lines().collect::<Vec<_>>(), want);
}
