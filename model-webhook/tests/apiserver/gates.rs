//! Pods that wait: what the API server stores of them, and who may let them go.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use model_webhook::gate_policy;
use serde_json::{Value, json};

use crate::cluster::{client, config, eventually, kubectl, model};
use crate::webhook::World;

const GATE: &str = "models.main-currents.news/model-not-ready";

/// The controller, with the rights of `config/rbac/controller.yaml`.
const CONTROLLER: &str = "system:serviceaccount:model-system:model-controller";

fn waiting(world: &World, name: &str) -> Value {
    let mut pod = world.pod(name, "llama-3-8b");
    pod["metadata"]["annotations"]["models.main-currents.news/when-not-ready"] = json!("wait");
    pod
}

fn gates(pod: &Pod) -> Vec<String> {
    let gates = pod.spec.iter().flat_map(|spec| spec.scheduling_gates.iter().flatten());
    gates.map(|gate| gate.name.clone()).collect()
}

fn without(gate: &str, pod: &Pod) -> Patch<Value> {
    let index = gates(pod).iter().position(|name| name == gate).unwrap();
    let path = format!("/spec/schedulingGates/{index}");
    Patch::Json(
        serde_json::from_value(json!([
            { "op": "test", "path": format!("{path}/name"), "value": gate },
            { "op": "remove", "path": path },
        ]))
        .unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_pod_is_stored_behind_its_gate() {
    let world = World::new("waiting").await;
    model(&world.client, &world.namespace, "llama-3-8b", json!({ "phase": "Downloading", "progress": 42 })).await;
    let mut queued = waiting(&world, "queued");
    queued["spec"]["schedulingGates"] = json!([{ "name": "kueue.x-k8s.io/admission" }]);
    let pod = world.create_eventually(queued).await;
    assert_eq!(gates(&pod), ["kueue.x-k8s.io/admission", GATE]);
    assert_eq!(pod.metadata.labels.as_ref().unwrap()["models.main-currents.news/gated"], "true");
    let mount = &pod.spec.as_ref().unwrap().containers[0].volume_mounts.as_ref().unwrap()[0];
    let model: model_core::api::Model =
        Api::namespaced(world.client.clone(), &world.namespace).get("llama-3-8b").await.unwrap();
    let id = model_core::persisted::wanted_content_id(&model);
    assert_eq!(mount.sub_path, Some(format!("revisions/{id}")));

    // A pod that names its node cannot have a gate.
    let mut placed = waiting(&world, "placed");
    placed["spec"]["nodeName"] = json!("node-7");
    let denied = world.create(placed, false).await.unwrap_err();
    assert!(denied.contains("a pod that names its node cannot wait for a model"), "{denied}");
    // Nor can anything be mounted later of a Model that does not exist.
    let mut unknown = waiting(&world, "unknown");
    unknown["metadata"]["annotations"]["models.main-currents.news/inject"] = json!("missing");
    let denied = world.create(unknown, false).await.unwrap_err();
    assert!(denied.contains("model not found: missing"), "{denied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_controller_takes_the_gate_off() {
    let world = World::new("gate-policy").await;
    kubectl(&["apply", "-f", config("webhook/gates.yaml").to_str().unwrap()], "").await.unwrap();
    model(&world.client, &world.namespace, "llama-3-8b", json!({ "phase": "Downloading", "progress": 42 })).await;
    let mut pod = waiting(&world, "app");
    pod["spec"]["schedulingGates"] = json!([{ "name": "kueue.x-k8s.io/admission" }]);
    let stored = world.create_eventually(pod).await;
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };

    // The policy is in force a moment after it was written.
    let refusal = eventually(|| async {
        match pods.patch("app", &dry, &without(GATE, &stored)).await {
            Err(kube::Error::Api(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(refusal.is_forbidden(), "{refusal:?}");
    for part in [gate_policy::NAME, "the container would find an empty directory", "delete the pod"] {
        assert!(refusal.message.contains(part), "{part:?} is not in {}", refusal.message);
    }

    // Others take their own gates off, and change what else they may.
    pods.patch("app", &PatchParams::default(), &without("kueue.x-k8s.io/admission", &stored)).await.unwrap();
    let label = Patch::Merge(json!({ "metadata": { "labels": { "team": "a" } } }));
    let stored = pods.patch("app", &PatchParams::default(), &label).await.unwrap();
    assert_eq!(gates(&stored), [GATE]);

    let as_controller: Api<Pod> = Api::namespaced(client(Some(CONTROLLER)).await, &world.namespace);
    let free = as_controller.patch("app", &PatchParams::default(), &without(GATE, &stored)).await.unwrap();
    assert_eq!(gates(&free), [] as [&str; 0]);
    // A pod without the gate is nobody's business.
    let label = Patch::Merge(json!({ "metadata": { "labels": { "team": "b" } } }));
    pods.patch("app", &PatchParams::default(), &label).await.unwrap();

    let stored = world.create(waiting(&world, "unwanted"), false).await.unwrap();
    assert_eq!(gates(&stored), [GATE]);
    pods.delete("unwanted", &DeleteParams::default()).await.unwrap();
}
