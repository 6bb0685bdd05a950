//! Warnings about storage, as `kubectl` shows them.

use serde_json::{Value, json};

use crate::cluster::{client, config, eventually, kubectl, kubectl_says, namespace};

const OURS: &str = "models.main-currents.news";
const SPECIFIED: &str = "models.example.com";

fn model(name: &str, namespace: &str, storage: Value) -> Value {
    json!({
        "apiVersion": "models.main-currents.news/v1alpha1", "kind": "Model",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "source": { "url": { "url": "https://example.com/weights.gguf" } }, "storage": storage },
    })
}

fn workload(kind: &str, replicas: i32, models: &str, prefix: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": "app", "namespace": "storage-warnings" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "app" } },
            "template": {
                "metadata": { "labels": { "app": "app" }, "annotations": { format!("{prefix}/inject"): models } },
                "spec": { "containers": [{ "name": "app", "image": "app" }] },
            },
        },
    })
}

/// What the user reads when they create this, without anything being kept.
async fn read(object: &Value) -> String {
    kubectl_says(&["create", "--dry-run=server", "-f", "-"], &object.to_string()).await
}

/// Waits until it is warned of, and gives the warning: policies are in force a moment after they were written.
async fn warned(object: &Value) -> String {
    eventually(|| async {
        let text = read(object).await;
        if text.contains("Warning") { Ok(text) } else { Err(text) }
    })
    .await
}

async fn put_in_force() {
    kubectl(&["apply", "-f", config("webhook/storage.yaml").to_str().unwrap()], "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_cannot_all_mount_a_claim_are_told() {
    let place = "storage-warnings";
    namespace(&client(None).await, place).await;
    put_in_force().await;
    for (name, storage) in [
        ("one-node", json!({ "size": "1Gi" })),
        ("one-pod", json!({ "size": "1Gi", "accessModes": ["ReadWriteOncePod"] })),
        ("many", json!({ "size": "1Gi", "accessModes": ["ReadWriteOnce", "ReadWriteMany"] })),
        ("theirs", json!({ "existingClaim": "weights" })),
    ] {
        kubectl(&["create", "-f", "-"], &model(name, place, storage).to_string()).await.unwrap();
    }
    let hurts = workload("Deployment", 3, "many, one-node", OURS);
    let warning = warned(&hurts).await;
    let says = "3 replicas mount Model one-node, whose claim is ReadWriteOnce: one node can have it at a time";
    assert!(warning.contains(says), "{warning}");
    assert!(!warning.contains("Model many"), "{warning}");

    let mut together = hurts.clone();
    let beside =
        json!([{ "topologyKey": "kubernetes.io/hostname", "labelSelector": { "matchLabels": { "app": "app" } } }]);
    together["spec"]["template"]["spec"]["affinity"] =
        json!({ "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": beside } });
    let mut on_one_node = hurts.clone();
    on_one_node["spec"]["template"]["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": "n1" });
    // The Models reach the policy one after the other, so those that are warned of come first.
    warned(&workload("Deployment", 2, "one-pod", OURS)).await;
    warned(&workload("StatefulSet", 2, "one-node", SPECIFIED)).await;
    for (case, object) in [
        ("one replica", workload("Deployment", 1, "one-node", OURS)),
        ("a claim of many nodes", workload("Deployment", 3, "many", OURS)),
        ("a claim that is not the Model's", workload("Deployment", 3, "theirs", OURS)),
        ("no such Model", workload("Deployment", 3, "other", OURS)),
        ("kept together", together),
        ("on one node", on_one_node),
    ] {
        let text = read(&object).await;
        assert!(!text.contains("Warning"), "{case}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_gpu_nodes_a_model_is_told_to_choose_its_nodes() {
    let place = "gpu-warnings";
    namespace(&client(None).await, place).await;
    put_in_force().await;
    let new = |storage: &Value, spec: Value| {
        let mut model = model("new", place, storage.clone());
        model["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        model
    };
    let size = json!({ "size": "1Gi" });
    let plain = new(&size, json!({}));
    let gpus = json!({ "apiVersion": "v1", "kind": "Node", "metadata": {
        "name": "gpu", "labels": { "nvidia.com/gpu.present": "true" },
    } });
    kubectl(&["create", "-f", "-"], &gpus.to_string()).await.unwrap();
    let warning = warned(&plain).await;
    assert!(warning.contains("spec.nodeSelector is not set and this cluster has GPU nodes"), "{warning}");
    let affinity = json!({ "jobTemplate": { "affinity": { "nodeAffinity": {} } } });
    for (case, object) in [
        ("chosen nodes", new(&size, json!({ "nodeSelector": { "nvidia.com/gpu.present": "true" } }))),
        ("affinity", new(&size, affinity)),
        ("many nodes", new(&json!({ "size": "1Gi", "accessModes": ["ReadWriteMany"] }), json!({}))),
        ("a claim that is there", new(&json!({ "existingClaim": "weights" }), json!({}))),
    ] {
        let text = read(&object).await;
        assert!(!text.contains("Warning"), "{case}: {text}");
    }
    kubectl(&["delete", "node", "gpu"], "").await.unwrap();
    eventually(|| async {
        let text = read(&plain).await;
        if text.contains("Warning") { Err(text) } else { Ok(()) }
    })
    .await;
}
