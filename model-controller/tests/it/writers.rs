//! Pods that may write to a Model's content. Nothing admits or runs pods there: each test plays webhook and kubelet.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use model_core::api::Phase;
use serde_json::{Value, json};

use crate::plane::Scene;

/// A pod as the webhook leaves it, with these annotations under the prefix of the specification.
fn marked(name: &str, annotations: &[(&str, &str)]) -> Pod {
    let annotations: serde_json::Map<_, _> =
        annotations.iter().map(|(key, value)| (format!("models.example.com/{key}"), json!(value))).collect();
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "labels": { "models.main-currents.news/writable": "true" }, "annotations": annotations,
        },
        "spec": { "automountServiceAccountToken": false, "containers": [{ "name": "app", "image": "app" }] },
    }))
    .expect("a pod")
}

/// Waits until the condition speaks of this pod, or is not there.
async fn writer(scene: &Scene, pod: Option<&str>) {
    let what = format!("{pod:?} in the condition ContentWritable");
    let status = scene.status_with(&what, |status| {
        let condition = status.conditions.iter().find(|condition| condition.type_ == "ContentWritable");
        match (pod, condition) {
            (Some(pod), Some(condition)) => {
                condition.message.starts_with(&format!("pod {pod} may change the content; "))
            }
            (None, None) => true,
            _ => false,
        }
    });
    assert_eq!(status.await.phase, Some(Phase::Ready), "a writer makes no Model less ready");
}

#[tokio::test]
async fn a_pod_that_may_write_is_named_for_as_long_as_it_may() {
    let scene = Scene::new("writers").await;
    scene.apply("https://example.com/a").await;
    scene.job(None).await;
    scene.job_ends("Complete").await;
    scene.phase(Phase::Ready).await;
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), &scene.namespace);
    // The namespace's service account is made by a controller that does not run here.
    let account = serde_json::from_value(json!({ "metadata": { "name": "default" } })).unwrap();
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
        Api::namespaced(scene.client.clone(), &scene.namespace);
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let create = async |pod: Pod| pods.create(&PostParams::default(), &pod).await.unwrap();

    // A mark that nobody but its author put there says nothing about any Model.
    create(marked("forged", &[])).await;
    create(marked("forged-reader", &[("inject", "llama")])).await;
    create(marked("forged-other", &[("inject", "another"), ("read-only", "false")])).await;
    let asks = [("inject", "llama"), ("read-only", "false")];
    create(marked("writer-b", &asks)).await;
    writer(&scene, Some("writer-b")).await;
    create(marked("writer-a", &asks)).await;
    writer(&scene, Some("writer-a")).await;

    // A pod that has ended writes no more, also while it is kept to be looked at.
    let ended = json!({ "status": { "phase": "Succeeded" } });
    pods.patch_status("writer-a", &PatchParams::default(), &Patch::Merge(&ended)).await.unwrap();
    writer(&scene, Some("writer-b")).await;
    // Nor does one count that no longer says so itself.
    let reader: Value = json!({ "metadata": { "annotations": { "models.example.com/read-only": "true" } } });
    pods.patch("writer-b", &PatchParams::default(), &Patch::Merge(&reader)).await.unwrap();
    writer(&scene, None).await;
    create(marked("writer-c", &asks)).await;
    writer(&scene, Some("writer-c")).await;
    pods.delete("writer-c", &DeleteParams::default().grace_period(0)).await.unwrap();
    writer(&scene, None).await;
}
