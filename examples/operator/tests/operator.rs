//! The example on a real API server. Nobody runs Jobs there, so the test plays the one thing that it needs of them.

use std::time::{Duration, Instant};

use assistant_operator::{Assistant, AssistantSpec, run};
use dev_cluster::ControlPlane;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, CustomResourceExt, ResourceExt};
use model_controller::DownloadSettings;
use model_core::api::Model;
use serde_json::json;

/// Only bounds a failure.
const PATIENCE: Duration = Duration::from_secs(60);

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "still waiting: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn install(client: &Client, definition: CustomResourceDefinition) {
    Api::all(client.clone()).create(&PostParams::default(), &definition).await.expect("the CRD is accepted");
}

#[tokio::test]
async fn an_assistant_owns_a_model_and_its_pods_mount_the_files() {
    let plane = ControlPlane::start().expect("a control plane");
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).expect("its kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config");
    let client = Client::try_from(config).expect("a client");
    install(&client, Model::crd()).await;
    install(&client, Assistant::crd()).await;
    let assistants: Api<Assistant> = Api::default_namespaced(client.clone());
    let models: Api<Model> = Api::default_namespaced(client.clone());
    let (jobs, deployments): (Api<Job>, Api<Deployment>) =
        (Api::default_namespaced(client.clone()), Api::default_namespaced(client.clone()));
    until("both kinds are served", async || {
        let list = ListParams::default();
        models.list(&list).await.ok().and(assistants.list(&list).await.ok())
    })
    .await;
    tokio::spawn(run(client.clone(), DownloadSettings::default(), std::future::pending()));

    let spec = AssistantSpec {
        repository: "acme/tiny".into(),
        size: "1Gi".into(),
        image: "acme/server:1".into(),
        replicas: 2,
    };
    let assistant = assistants.create(&PostParams::default(), &Assistant::new("helper", spec)).await.expect("accepted");
    let job = "model-download-helper";
    until("the embedded controller starts the download", async || jobs.get_opt(job).await.expect("an answer")).await;
    assert_eq!(
        deployments.get_opt("helper").await.expect("an answer"),
        None,
        "nothing runs before the files are there"
    );
    let model = models.get("helper").await.expect("the Model");
    assert_eq!(model.owner_references()[0].uid, assistant.uid().expect("a uid"));

    let now = "2026-01-01T00:00:00Z";
    let done = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now });
    let status = json!({ "status": {
        "startTime": now, "completionTime": now, "succeeded": 1, "uncountedTerminatedPods": {},
        "conditions": [done("SuccessCriteriaMet"), done("Complete")],
    }});
    jobs.patch_status(job, &PatchParams::default(), &Patch::Merge(&status)).await.expect("the Job ends");

    let deployment = until("the servers", async || deployments.get_opt("helper").await.expect("an answer")).await;
    assert_eq!(deployment.owner_references()[0].uid, assistant.uid().expect("a uid"));
    let pod = deployment.spec.template.spec.expect("a pod");
    let claims: Vec<_> =
        pod.volumes.iter().flatten().filter_map(|volume| volume.persistent_volume_claim.as_ref()).collect();
    assert_eq!(claims.iter().map(|claim| claim.claim_name.as_str()).collect::<Vec<_>>(), ["model-helper"]);
    let server = &pod.containers[0];
    let path = server.env.iter().flatten().find(|variable| variable.name == "MODEL_HELPER_PATH");
    assert_eq!(path.and_then(|path| path.value.as_deref()), Some("/models/helper"));
    assert_eq!(server.volume_mounts.as_ref().expect("mounts")[0].mount_path, "/models/helper");
}
