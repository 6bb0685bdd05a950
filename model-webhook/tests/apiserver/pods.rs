//! Pods created through the API server.

use std::net::{Ipv4Addr, TcpListener};

use axum::routing::post;
use axum::{Json, Router};
use axum_server::tls_rustls::RustlsConfig;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use model_webhook::{Certificates, registration};
use serde_json::{Value, json};

use crate::cluster::{eventually, kubectl, model, namespace, ready, set_status};
use crate::webhook::{World, client_config, register};

/// Names of containers, each with the paths that it mounts.
fn mounts(pod: &Pod) -> Vec<(&str, Vec<&str>)> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .map(|container| {
            let mounts = container.volume_mounts.iter().flatten();
            (container.name.as_str(), mounts.map(|mount| mount.mount_path.as_str()).collect())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_annotated_pod_is_stored_with_its_model() {
    let world = World::new("injected").await;
    model(&world.client, &world.namespace, "llama-3-8b", ready()).await;

    let pod = world.create_eventually(world.pod("app", "llama-3-8b")).await;
    let spec = pod.spec.as_ref().unwrap();
    let claim = spec.volumes.as_ref().unwrap()[0].persistent_volume_claim.as_ref().unwrap();
    assert_eq!((claim.claim_name.as_str(), claim.read_only), ("model-llama-3-8b", Some(true)));
    assert_eq!(mounts(&pod), [("app", vec!["/models/llama-3-8b"])]);
    let mount = &spec.containers[0].volume_mounts.as_ref().unwrap()[0];
    assert_eq!(mount.sub_path.as_deref(), Some("revisions/0123456789abcdef0123"));
    assert_eq!(mount.read_only, Some(true));
    let env = spec.containers[0].env.as_ref().unwrap();
    assert!(env.iter().any(|variable| variable.name == "MODEL_LLAMA_3_8B_PATH"));
    assert_eq!(pod.metadata.labels.unwrap()["models.main-currents.news/injected"], "true");

    // A dry run answers the same and stores nothing.
    let dry = world.create(world.pod("dry", "llama-3-8b"), true).await.unwrap();
    assert_eq!(mounts(&dry), [("app", vec!["/models/llama-3-8b"])]);
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
    assert!(pods.get_opt("dry").await.unwrap().is_none());

    // Pods of a Deployment have no name of their own at admission.
    let mut generated = world.pod("", "llama-3-8b");
    generated["metadata"]["name"] = Value::Null;
    generated["metadata"]["generateName"] = json!("app-7d4b9c-");
    let generated = world.create(generated, false).await.unwrap();
    assert!(generated.metadata.name.as_ref().unwrap().starts_with("app-7d4b9c-"));
    assert_eq!(mounts(&generated), [("app", vec!["/models/llama-3-8b"])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_what_is_wrong_and_what_to_do() {
    let world = World::new("denied").await;
    model(&world.client, &world.namespace, "llama-3-8b", json!({ "phase": "Downloading", "progress": 42 })).await;
    let apply = async |pod: Value| {
        let error = kubectl(&["create", "-f", "-"], &pod.to_string()).await.unwrap_err();
        error.trim_end().to_owned()
    };
    let denied_by =
        format!("error when creating \"STDIN\": admission webhook \"{}\" denied the request: ", registration::WEBHOOK);

    assert_eq!(
        apply(world.pod("app", "missing")).await,
        format!(
            "Error from server (ModelNotFound): {denied_by}model not found: missing; namespace denied has no Model of that name: create it first, or correct the name in the pod's annotation"
        )
    );
    let not_ready = eventually(|| async {
        let text = apply(world.pod("app", "llama-3-8b")).await;
        if text.contains("42 %") { Ok(text) } else { Err(text) }
    })
    .await;
    assert_eq!(
        not_ready,
        format!(
            "Error from server (ModelNotReady): {denied_by}model not ready: llama-3-8b is Downloading, 42 %; wait for it with: kubectl wait --for=condition=Ready --timeout=1h --namespace denied model/llama-3-8b (pods of a Deployment or a Job are tried again by themselves)"
        )
    );
    let mut bad = world.pod("app", "llama-3-8b");
    bad["metadata"]["annotations"]["models.main-currents.news/read-only"] = json!("yes");
    let text = apply(bad).await;
    assert!(
        text.contains(
            "annotation models.main-currents.news/read-only has the value \"yes\": write \"true\" or \"false\""
        ),
        "{text}"
    );

    // The webhook sees each step of the Model.
    set_status(&world.client, &world.namespace, "llama-3-8b", ready()).await;
    world.create_eventually(world.pod("app", "llama-3-8b")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_webhook_is_down_only_asking_pods_are_refused() {
    let mut world = World::new("down").await;
    world.stop_webhook().await;
    let plain = |name: &str, annotations: Value| {
        let mut pod = world.pod(name, "");
        pod["metadata"]["annotations"] = annotations;
        pod
    };
    for (name, annotations) in [
        ("bare", Value::Null),
        ("other", json!({ "example.com/team": "a" })),
        ("settings", json!({ "models.main-currents.news/mount-path": "/weights" })),
    ] {
        let pod = world.create(plain(name, annotations), false).await.unwrap();
        assert!(pod.spec.unwrap().volumes.is_none(), "{name}");
    }
    for annotation in ["models.main-currents.news/inject", "models.example.com/inject"] {
        let refused = world.create(plain("asking", json!({ annotation: "llama-3-8b" })), false).await.unwrap_err();
        assert!(refused.contains(&format!("failed calling webhook \"{}\"", registration::WEBHOOK)), "{refused}");
    }
    // The webhook's own pods must be able to start.
    world.namespace = "model-system".to_owned();
    let mut pod = world.pod("own", "llama-3-8b");
    pod["spec"]["securityContext"] =
        json!({ "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" } });
    pod["spec"]["containers"][0]["securityContext"] =
        json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } });
    world.create(pod, true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_call_after_another_webhook_changes_nothing() {
    let name = "twice.models.main-currents.news";
    let world = World::with("twice", |webhook| name.clone_into(&mut webhook.name)).await;
    model(&world.client, &world.namespace, "llama-3-8b", ready()).await;
    eventually(|| world.create(world.pod("app", "llama-3-8b"), true)).await;
    serve_sidecars(&world).await;

    let calls = calls(&world, name).await;
    // The sidecar comes first in the list, so "the first container" is another one in the second call.
    let pod = eventually(|| async {
        let pod = world.create(world.pod("app", "llama-3-8b"), true).await?;
        let containers = &pod.spec.as_ref().unwrap().containers;
        if containers[0].name == "sidecar" { Ok(pod) } else { Err("no sidecar yet".to_owned()) }
    })
    .await;
    assert_eq!(mounts(&pod), [("sidecar", vec![]), ("app", vec!["/models/llama-3-8b"])]);
    assert_eq!(pod.spec.as_ref().unwrap().volumes.as_ref().unwrap().len(), 1);
    let variables = pod.spec.as_ref().unwrap().containers[1].env.as_ref().unwrap();
    let paths = variables.iter().filter(|variable| variable.name == "MODEL_LLAMA_3_8B_PATH").count();
    assert_eq!(paths, 1);
    assert!(self::calls(&world, name).await >= calls + 2, "the API server called twice for one pod");
}

/// How often the API server has called the webhook of this name.
async fn calls(world: &World, webhook: &str) -> u64 {
    let request = axum::http::Request::get("/metrics").body(Vec::new()).unwrap();
    let metrics = world.client.request_text(request).await.unwrap();
    let counts = metrics.lines().filter(|line| {
        line.starts_with("apiserver_admission_webhook_request_total{") && line.contains(&format!("name=\"{webhook}\""))
    });
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// Another webhook for the namespace, of the kind that service meshes bring: it puts a container before all others.
async fn serve_sidecars(world: &World) {
    let certificates = Certificates::generate(&["127.0.0.1".to_owned()]).unwrap();
    let pem = |text: &str| text.as_bytes().to_vec();
    let config = RustlsConfig::from_pem(pem(&certificates.certificate), pem(&certificates.key)).await.unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let client_config = client_config(listener.local_addr().unwrap().port(), "/", &certificates);
    let router = Router::new().route("/", post(async |Json(review): Json<Value>| add_sidecar(&review)));
    tokio::spawn(axum_server::from_tcp_rustls(listener, config).unwrap().serve(router.into_make_service()));

    // Registrations are called in the order of their names: this one comes after ours.
    register(&world.client, "zz-sidecars", client_config, |webhook| {
        "sidecars.example.com".clone_into(&mut webhook.name);
        let selector = webhook.namespace_selector.as_mut().unwrap().match_expressions.as_mut().unwrap();
        selector[1].values = Some(vec![world.namespace.clone()]);
    })
    .await;
}

fn add_sidecar(review: &Value) -> Json<Value> {
    let request = &review["request"];
    let there = request["object"]["spec"]["containers"][0]["name"] == "sidecar";
    let operations = if there {
        json!([])
    } else {
        json!([{ "op": "add", "path": "/spec/containers/0", "value": { "name": "sidecar", "image": "mesh:latest" } }])
    };
    let patch = ByteString(operations.to_string().into_bytes());
    Json(json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": { "uid": request["uid"], "allowed": true, "patchType": "JSONPatch", "patch": patch }
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn models_of_other_namespaces_do_not_count() {
    let world = World::new("here").await;
    namespace(&world.client, "elsewhere").await;
    model(&world.client, "elsewhere", "llama-3-8b", ready()).await;
    model(&world.client, "here", "other", ready()).await;
    world.create_eventually(world.pod("seen", "other")).await;
    let denied = world.create(world.pod("app", "llama-3-8b"), false).await.unwrap_err();
    assert!(denied.contains("model not found: llama-3-8b; namespace here has no Model"), "{denied}");
}
