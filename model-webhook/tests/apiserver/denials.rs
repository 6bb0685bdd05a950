//! Every reason for which the webhook refuses a pod, with the message that the user sees.

use std::collections::BTreeSet;

use kube::api::{Api, PostParams};
use model_core::api::Model;
use model_core::pod_reason::PodReason;
use serde_json::{Value, json};

use crate::cluster::{eventually, kubectl, model, ready};
use crate::webhook::World;

/// All reasons, so that a new one cannot go without a row, but for that of a webhook that has just started.
fn reasons() -> BTreeSet<&'static str> {
    let all = PodReason::ALL.iter().filter(|reason| reason.place() == PodReason::ModelNotFound.place());
    all.filter(|reason| **reason != PodReason::ServiceUnavailable).map(|reason| reason.as_str()).collect()
}

/// Sets annotations of ours on the pod.
fn annotated(mut pod: Value, annotations: &[(&str, &str)]) -> Value {
    for (key, value) in annotations {
        let key = if key.contains('/') { (*key).to_owned() } else { format!("models.main-currents.news/{key}") };
        pod["metadata"]["annotations"][key] = json!(value);
    }
    pod
}

/// The reason that `kubectl` prints in brackets, and what the webhook says.
async fn denied(case: &str, pod: &Value) -> (String, String) {
    let text = kubectl(&["create", "-f", "-"], &pod.to_string()).await.expect_err(case);
    let says = text.trim_end().split_once("denied the request: ").unwrap_or_else(|| panic!("{case}: {text}")).1;
    let reason = text.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(reason, _)| reason);
    (reason.unwrap_or_default().to_owned(), says.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_to_refuse_a_pod_is_put_in_words() {
    let world = World::new("denials").await;
    model(&world.client, &world.namespace, "llama", ready()).await;
    model(&world.client, &world.namespace, "other", ready()).await;
    model(&world.client, &world.namespace, "slow", json!({ "phase": "Downloading", "progress": 42 })).await;
    model(&world.client, &world.namespace, "broken", json!({ "phase": "Failed", "message": "the disk is full." }))
        .await;
    let models: Api<Model> = Api::namespaced(world.client.clone(), &world.namespace);
    let mut fresh = models.get("slow").await.unwrap();
    fresh.metadata = kube::core::ObjectMeta { name: Some("fresh".to_owned()), ..kube::core::ObjectMeta::default() };
    fresh.status = None;
    models.create(&PostParams::default(), &fresh).await.unwrap();
    for name in ["llama", "other"] {
        world.create_eventually(world.pod(&format!("with-{name}"), name)).await;
    }
    eventually(|| async {
        let (_, text) = denied("probe", &world.pod("app", "slow,fresh")).await;
        if text.contains("42 %") { Ok(()) } else { Err(text) }
    })
    .await;

    let asks = |annotations: &[(&str, &str)]| annotated(world.pod("app", "llama"), annotations);
    let spec = |field: &str, value: Value, annotations: &[(&str, &str)]| {
        let mut pod = asks(annotations);
        pod["spec"][field] = value;
        pod
    };
    let volume = |claim: Value| json!([{ "name": "model-llama", "persistentVolumeClaim": claim }]);
    let mounting = |path: &str| {
        let mut pod = spec("volumes", json!([{ "name": "cache", "emptyDir": {} }]), &[]);
        pod["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "cache", "mountPath": path }]);
        pod
    };
    let mut placed = annotated(world.pod("app", "slow"), &[("when-not-ready", "wait")]);
    placed["spec"]["nodeName"] = json!("node-7");
    let wait = |name: &str| {
        format!(
            "wait for it with: kubectl wait --for=condition=Ready --timeout=1h --namespace denials model/{name} (pods of a Deployment or a Job are tried again by themselves)"
        )
    };
    let value = |annotation: &str, value: &str, expected: &str| {
        format!("annotation models.main-currents.news/{annotation} has the value {value:?}: {expected}")
    };
    let invalid = |annotation: &'static str, text: &'static str, expected: &str| {
        ("AnnotationInvalid", asks(&[(annotation, text)]), value(annotation, text, expected))
    };
    let boolean = "write \"true\" or \"false\"";
    let mut shown = BTreeSet::from(["PodInvalid"]); // The API server stores no such pod.
    for (reason, pod, says) in [
        ("ModelNotFound", world.pod("app", "missing"), "model not found: missing; namespace denials has no Model of that name: create it first, or correct the name in the pod's annotation".to_owned()),
        ("ModelNotReady", world.pod("app", "slow"), format!("model not ready: slow is Downloading, 42 %; {}", wait("slow"))),
        ("ModelNotReady", world.pod("app", "fresh"), format!("model not ready: fresh is Pending; {}", wait("fresh"))),
        ("ModelNotReady", world.pod("app", "broken"), "model not ready: broken is Failed: the disk is full; look at the cause with: kubectl describe --namespace denials model/broken".to_owned()),
        ("CannotWait", placed, "a pod that names its node cannot wait for a model: remove spec.nodeName \"node-7\" (nodeSelector or affinity do the same), or create the pod once its models are Ready".to_owned()),
        invalid("inject", "", "write at least one name of a Model, or remove the annotation"),
        ("AnnotationInvalid", asks(&[("inject", "llama,Llama 3")]), value("inject", "Llama 3", "no Model can have this name; write names of Models, separated by commas")),
        invalid("read-only", "yes", boolean),
        invalid("inject-env", "1", boolean),
        invalid("offline", "on", boolean),
        invalid("when-not-ready", "later", "write \"deny\" or \"wait\""),
        invalid("container", ",", "write names of containers, separated by commas, or \"*\" for all of them"),
        invalid("container", "app,*", "\"*\" stands for all containers: write it alone, or names only"),
        invalid("mount-path", "models", "write an absolute path, such as /models/{name}"),
        invalid("mount-path", "/models/../etc", "write a path without .. in it"),
        invalid("mount-path", "/models:ro", "write a path without colons and control characters"),
        invalid("mount-path", "/", "a model cannot replace the container's root directory; write a path below it"),
        ("AnnotationsDiffer", asks(&[("models.example.com/inject", "other")]), "annotations models.main-currents.news/inject and models.example.com/inject have different values, \"llama\" and \"other\": keep one of them".to_owned()),
        ("ContainerNotFound", asks(&[("container", "app,sidecar")]), "annotation models.main-currents.news/container names the container \"sidecar\", which is not in the pod: it has app".to_owned()),
        ("VolumeTaken", spec("volumes", volume(json!({ "claimName": "data" })), &[]), "volume model-llama of the pod is not claim model-llama of model llama: give that volume another name".to_owned()),
        ("VolumeReadOnly", spec("volumes", volume(json!({ "claimName": "model-llama", "readOnly": true })), &[("read-only", "false")]), "volume model-llama of the pod is read-only, but annotation read-only of the pod is \"false\": make both the same".to_owned()),
        ("MountTaken", mounting("/models/llama/cache"), "container app mounts volume cache at /models/llama/cache, which would hide model llama at /models/llama: choose another path with annotation mount-path, or move that mount".to_owned()),
    ] {
        assert_eq!(denied(reason, &pod).await, (reason.to_owned(), says));
        shown.insert(reason);
    }
    assert_eq!(shown, reasons());
}
