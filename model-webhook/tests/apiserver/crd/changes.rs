//! What a change of a Model may not do, because a claim cannot follow.

use kube::api::PostParams;
use serde_json::json;

use super::model::{change, llama, models, put};
use crate::cluster::{client, namespace};

const CLASS: &str =
    "spec.storage.storageClass cannot change, because the claim's cannot: delete the Model and create it again";
const MODES: &str =
    "spec.storage.accessModes cannot change, because the claim's cannot: delete the Model and create it again";
const CLAIM: &str = "spec.storage.existingClaim cannot change, because the files stay where they are: delete the Model and create it again";
const SIZE: &str = "spec.storage.size cannot shrink: delete the Model and create it again";

/// The rules that are shown here, each with its place.
pub fn rules() -> [(&'static str, &'static str); 4] {
    [CLASS, MODES, CLAIM, SIZE].map(|rule| ("spec.storage", rule))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_claim_cannot_change_a_model_cannot_either() {
    namespace(&client(None).await, "changes").await;
    let models = models("changes").await;
    for (name, storage) in [
        ("plain", json!({ "size": "20Gi" })),
        ("classy", json!({ "size": "20Gi", "storageClass": "fast" })),
        ("shared", json!({ "existingClaim": "weights" })),
    ] {
        let mut model = llama();
        put(&mut model, "metadata.name", &json!(name));
        put(&mut model, "spec.storage", &storage);
        models.create(&PostParams::default(), &serde_json::from_value(model).unwrap()).await.unwrap();
    }
    let elsewhere = json!({ "source": { "huggingFace": null, "url": { "url": "https://example.com/x" } } });
    let mut seen = Vec::new();
    for (case, name, patch, refused) in [
        ("it grows", "plain", json!({ "storage": { "size": "30Gi" } }), None),
        ("the same in other words", "plain", json!({ "storage": { "size": "20480Mi" } }), None),
        ("it shrinks", "plain", json!({ "storage": { "size": "19Gi" } }), Some(SIZE)),
        ("it moves to a claim", "plain", json!({ "storage": { "existingClaim": "x", "size": null } }), Some(CLAIM)),
        ("it moves to another claim", "shared", json!({ "storage": { "existingClaim": "more" } }), Some(CLAIM)),
        ("it leaves the claim", "shared", json!({ "storage": { "existingClaim": null, "size": "1Gi" } }), Some(CLAIM)),
        ("it leaves the size out", "classy", json!({ "storage": { "size": null } }), None),
        ("it gets a class", "plain", json!({ "storage": { "storageClass": "fast" } }), Some(CLASS)),
        ("it gets another class", "classy", json!({ "storage": { "storageClass": "slow" } }), Some(CLASS)),
        ("it loses its class", "classy", json!({ "storage": { "storageClass": null } }), Some(CLASS)),
        ("other access modes", "plain", json!({ "storage": { "accessModes": ["ReadWriteMany"] } }), Some(MODES)),
        ("another source", "plain", elsewhere, None),
        ("another version", "plain", json!({ "version": "2" }), None),
        ("another node", "plain", json!({ "nodeSelector": { "disk": "fast" } }), None),
    ] {
        let answer = change(&models, name, &json!({ "spec": patch })).await;
        match (refused, answer) {
            (None, Ok(_)) => {}
            (Some(says), Err(causes)) => {
                let named = |(field, message): &(String, String)| field == "spec.storage" && message.ends_with(says);
                assert!(causes.iter().any(named), "{case}: {causes:?}");
                seen.push(("spec.storage", says));
            }
            (_, other) => panic!("{case}: {other:?}"),
        }
    }
    for rule in rules() {
        assert!(seen.contains(&rule), "nothing breaks {rule:?}");
    }
}
