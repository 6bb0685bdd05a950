//! The CRD's schema and rules, with the messages that a user sees.

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::discovery::ApiResource;
use model_core::api::Model;
use serde_json::{Value, json};

use crate::cluster::{client, namespace};

/// A valid Model.
fn llama() -> Value {
    json!({
        "apiVersion": "models.main-currents.news/v1alpha1",
        "kind": "Model",
        "metadata": { "name": "llama-3-8b" },
        "spec": {
            "source": { "huggingFace": { "repoId": "meta-llama/Llama-3.1-8B-Instruct" } },
            "storage": { "size": "20Gi" }
        }
    })
}

/// The Model with other values at some JSON pointers. A missing member is added, `null` removes one.
fn with(changes: &[(&str, Value)]) -> Value {
    let mut model = llama();
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = model.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            parent.remove(key);
        } else {
            parent.insert(key.to_owned(), value.clone());
        }
    }
    model
}

/// Raw objects, so that nothing of ours stands between a test and the API server.
async fn models(namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client(None).await, namespace, &ApiResource::erase::<Model>(&()))
}

async fn create(models: &Api<DynamicObject>, model: &Value) -> Result<Value, String> {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let created = models.create(&dry_run, &serde_json::from_value(model.clone()).unwrap()).await;
    created.map(|model| serde_json::to_value(model).unwrap()).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_cannot_be_is_refused_in_words() {
    let models = models("default").await;
    create(&models, &llama()).await.unwrap();
    let url = |url: &str| with(&[("/spec/source", json!({ "url": { "url": url } }))]);
    let s3 = |s3: Value| with(&[("/spec/source", json!({ "s3": s3 }))]);
    let name = "metadata.name must be a DNS label (a-z, 0-9 and -, no dots) of at most 48 characters";
    let source = "spec.source must have exactly one of huggingFace, url, s3";
    let credentials =
        "must be a valid http or https address without user or password: those belong in spec.credentialsSecret";
    let hugging_face = json!({ "repoId": "a/b" });
    let alone =
        "spec.storage.existingClaim cannot stand beside storageClass, size or accessModes: they are the claim's own";
    let shared = |beside: Value| {
        let mut storage = beside;
        storage["existingClaim"] = json!("weights");
        with(&[("/spec/storage", storage)])
    };
    for (case, model, says) in [
        ("a name with a dot", with(&[("/metadata/name", json!("llama.3"))]), name),
        ("a long name", with(&[("/metadata/name", json!("x".repeat(49)))]), name),
        ("no source", with(&[("/spec/source", json!({}))]), source),
        ("an unknown source", with(&[("/spec/source", json!({ "ftp": {} }))]), source),
        (
            "two sources",
            with(&[(
                "/spec/source",
                json!({ "huggingFace": hugging_face, "url": { "url": "https://example.com/x" } }),
            )]),
            source,
        ),
        ("a password in the address", url("https://user:secret@example.com/model"), credentials),
        ("a user in the address", url("http://user@example.com/model"), credentials),
        ("another scheme", url("ftp://example.com/model"), "spec.source.url.url in body should match"),
        ("no address", url("https://"), "spec.source.url.url"),
        (
            "a short digest",
            with(&[("/spec/source", json!({ "url": { "url": "https://example.com/x", "sha256": "abc" } }))]),
            "spec.source.url.sha256",
        ),
        (
            "a repository with a space",
            with(&[("/spec/source/huggingFace/repoId", json!("a b/c"))]),
            "repoId in body should match",
        ),
        (
            "a revision like a flag",
            with(&[("/spec/source/huggingFace/revision", json!("--flag"))]),
            "revision in body should match",
        ),
        (
            "a bucket in capitals",
            s3(json!({ "bucket": "Models", "key": "a" })),
            "spec.source.s3.bucket in body should match",
        ),
        (
            "a key with a leading slash",
            s3(json!({ "bucket": "models", "key": "/a" })),
            "spec.source.s3.key in body should match",
        ),
        ("no key", s3(json!({ "bucket": "models" })), "spec.source.s3.key: Required value"),
        ("an existing claim with a size", shared(json!({ "size": "1Gi" })), alone),
        ("an existing claim with a class", shared(json!({ "storageClass": "fast" })), alone),
        ("an existing claim with access modes", shared(json!({ "accessModes": ["ReadWriteMany"] })), alone),
        (
            "a claim that is no name",
            with(&[("/spec/storage", json!({ "existingClaim": "../x" }))]),
            "spec.storage.existingClaim in body should match",
        ),
        ("size 0", with(&[("/spec/storage/size", json!("0"))]), "spec.storage.size must be more than 0"),
        (
            "a size that is none",
            with(&[("/spec/storage/size", json!("big"))]),
            "spec.storage.size in body should match",
        ),
        ("no access mode", with(&[("/spec/storage/accessModes", json!([]))]), "spec.storage.accessModes"),
        (
            "an unknown access mode",
            with(&[("/spec/storage/accessModes", json!(["ReadSometimes"]))]),
            "spec.storage.accessModes[0]: Unsupported value: \"ReadSometimes\"",
        ),
        ("an empty version", with(&[("/spec/version", json!(""))]), "spec.version"),
        (
            "a secret that is no name",
            with(&[("/spec/credentialsSecret", json!("My Secret"))]),
            "spec.credentialsSecret in body should match",
        ),
        (
            "a deadline of 0",
            with(&[("/spec/jobTemplate", json!({ "activeDeadlineSeconds": 0 }))]),
            "spec.jobTemplate.activeDeadlineSeconds",
        ),
        ("no spec", with(&[("/spec", Value::Null)]), "spec: Required value"),
    ] {
        let refused = create(&models, &model).await.expect_err(case);
        assert!(refused.contains(says), "{case}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_become_of_content_is_refused_in_words() {
    let models = models("default").await;
    for (case, model, says) in [
        (
            "no revision kept",
            with(&[("/spec/keepRevisions", json!(0))]),
            "spec.keepRevisions in body should be greater than or equal to 1",
        ),
        (
            "an unknown deletion policy",
            with(&[("/spec/deletionPolicy", json!("Keep"))]),
            "spec.deletionPolicy: Unsupported value: \"Keep\": supported values: \"Delete\", \"Retain\"",
        ),
    ] {
        let refused = create(&models, &model).await.expect_err(case);
        assert!(refused.contains(says), "{case}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_claim_cannot_change_a_model_cannot_either() {
    namespace(&client(None).await, "changes").await;
    let models = models("changes").await;
    let shared = with(&[("/spec/storage", json!({ "existingClaim": "weights" }))]);
    let other_claim = "spec.storage.existingClaim cannot change, because the files stay where they are";
    let class = |class: &str| [("/spec/storage/storageClass", json!(class))];
    for (name, model) in [("plain", llama()), ("classy", with(&class("fast"))), ("shared", shared)] {
        let mut model = model;
        model["metadata"]["name"] = json!(name);
        models.create(&PostParams::default(), &serde_json::from_value(model).unwrap()).await.unwrap();
    }
    let fixed = "spec.storage.storageClass cannot change, because the claim's cannot";
    for (case, name, patch, refused) in [
        ("it grows", "plain", json!({ "storage": { "size": "30Gi" } }), None),
        ("the same in other words", "plain", json!({ "storage": { "size": "20480Mi" } }), None),
        (
            "it shrinks",
            "plain",
            json!({ "storage": { "size": "19Gi" } }),
            Some("spec.storage.size cannot shrink: delete the Model and create it again"),
        ),
        (
            "it moves to a claim",
            "plain",
            json!({ "storage": { "existingClaim": "weights", "size": null } }),
            Some(other_claim),
        ),
        ("it moves to another claim", "shared", json!({ "storage": { "existingClaim": "more" } }), Some(other_claim)),
        (
            "it leaves the claim",
            "shared",
            json!({ "storage": { "existingClaim": null, "size": "1Gi" } }),
            Some(other_claim),
        ),
        ("it leaves the size out", "classy", json!({ "storage": { "size": null } }), None),
        ("it gets a class", "plain", json!({ "storage": { "storageClass": "fast" } }), Some(fixed)),
        ("it gets another class", "classy", json!({ "storage": { "storageClass": "slow" } }), Some(fixed)),
        ("it loses its class", "classy", json!({ "storage": { "storageClass": null } }), Some(fixed)),
        (
            "other access modes",
            "plain",
            json!({ "storage": { "accessModes": ["ReadWriteMany"] } }),
            Some("spec.storage.accessModes cannot change, because the claim's cannot"),
        ),
        (
            "another source",
            "plain",
            json!({ "source": { "huggingFace": null, "url": { "url": "https://example.com/x" } } }),
            None,
        ),
        ("another version", "plain", json!({ "version": "2" }), None),
        ("another node", "plain", json!({ "nodeSelector": { "disk": "fast" } }), None),
    ] {
        let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
        let patched = models.patch(name, &dry_run, &Patch::Merge(json!({ "spec": patch }))).await;
        match (refused, patched.map_err(|error| error.to_string())) {
            (None, Ok(_)) => {}
            (Some(says), Err(error)) => assert!(error.contains(says), "{case}: {error}"),
            (_, other) => panic!("{case}: {other:?}"),
        }
    }
}

/// What the API server itself fills in.
#[tokio::test(flavor = "multi_thread")]
async fn defaults_are_those_of_the_specification() {
    let created = create(&models("default").await, &llama()).await.unwrap();
    for (pointer, value) in [
        ("/spec/source/huggingFace/revision", Some(json!("main"))),
        ("/spec/storage/accessModes", Some(json!(["ReadWriteOnce"]))),
        ("/spec/storage/storageClass", None),
        ("/spec/version", None),
        ("/spec/credentialsSecret", None),
        ("/spec/nodeSelector", None),
        ("/spec/jobTemplate", None),
        ("/spec/keepRevisions", Some(json!(1))),
        ("/spec/deletionPolicy", Some(json!("Delete"))),
        ("/status", None),
    ] {
        assert_eq!(created.pointer(pointer).filter(|value| !value.is_null()), value.as_ref(), "{pointer}");
    }
}
