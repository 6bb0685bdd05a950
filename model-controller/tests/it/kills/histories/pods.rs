//! Pods that wait for their model.

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use model_core::api::{Model, Phase};
use model_core::names::revision_path;
use model_core::persisted::wanted_content_id;
use serde_json::json;

use super::{point_at, spec};
use crate::kills::stage::Stage;

/// A pod as the webhook leaves it once its model is Ready.
pub fn pod(name: &str, content: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{ "name": "app", "image": "app", "volumeMounts": [
                { "name": "model-llama", "mountPath": "/models/llama", "subPath": revision_path(content) },
            ] }],
            "volumes": [{ "name": "model-llama", "persistentVolumeClaim": { "claimName": "model-llama" } }],
        },
    }))
    .expect("a pod")
}

/// A pod as the webhook leaves it before, and as a `ReplicaSet` makes it.
async fn gated(stage: &Stage, name: &str, model: &Model) {
    let content = wanted_content_id(model);
    let mut pod = pod(name, &content);
    let metadata = json!({
        "name": name,
        "labels": { "models.main-currents.news/gated": "true", "models.main-currents.news/injected": "true" },
        "annotations": {
            "models.main-currents.news/inject": "llama",
            "models.main-currents.news/waits-for": format!("llama={content}"),
        },
        "ownerReferences": [
            { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app", "uid": "u", "controller": true },
        ],
    });
    pod.metadata = serde_json::from_value(metadata).expect("metadata");
    let gates =
        json!([{ "name": "kueue.x-k8s.io/admission" }, { "name": "models.main-currents.news/model-not-ready" }]);
    pod.spec.as_mut().expect("a spec").scheduling_gates = serde_json::from_value(gates).expect("gates");
    stage.cluster.past().gated.insert(name.to_owned(), content);
    stage.pods.create(&PostParams::default(), &pod).await.expect("the pod is accepted");
}

async fn is_let_go(stage: &Stage, name: &str) {
    stage
        .until("the gate is taken off", async || {
            let pod = stage.pods.get(name).await.expect("the pod");
            (pod.spec?.scheduling_gates?.len() == 1).then_some(())
        })
        .await;
}

pub async fn gated_pods(stage: &Stage) {
    stage.cluster.past().hold = true;
    let model = stage.create("llama", &spec("a")).await;
    for name in ["one", "two"] {
        gated(stage, name, &model).await;
    }
    stage.status("the download", |status| status.phase == Some(Phase::Downloading)).await;
    for name in ["one", "two"] {
        let gates = stage.pods.get(name).await.expect("the pod").spec.and_then(|spec| spec.scheduling_gates);
        assert_eq!(gates.map(|gates| gates.len()), Some(2), "{}: {name} was let go too early", stage.label);
    }
    stage.cluster.past().hold = false;
    for name in ["one", "two"] {
        is_let_go(stage, name).await;
    }
}

pub async fn superseded_pods(stage: &Stage) {
    stage.cluster.past().hold = true;
    let model = stage.create("llama", &spec("a")).await;
    gated(stage, "old", &model).await;
    stage.status("the download", |status| status.phase == Some(Phase::Downloading)).await;
    let model = point_at(stage, "b").await;
    stage
        .until("the pod is deleted", async || {
            stage.pods.get_opt("old").await.expect("it can be read").is_none().then_some(())
        })
        .await;
    gated(stage, "new", &model).await;
    stage.downloads(&model).await;
    stage.cluster.past().hold = false;
    is_let_go(stage, "new").await;
}
