//! Every sample is accepted, and does what it says.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use serde_json::{Value, json};

use crate::cluster::{config, eventually, kubectl, ready, set_status};
use crate::webhook::World;

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_applies_and_the_pods_get_their_models() {
    let world = World::new("samples").await;
    let apply = async |file: &str| {
        let path = config("samples").join(file);
        kubectl(&["apply", "--namespace", "samples", "-f", path.to_str().unwrap()], "").await
    };
    let mut models = Vec::new();
    for file in samples().into_iter().filter(|file| file.starts_with("model-")) {
        apply(&file).await.unwrap();
        models.push(file);
    }
    assert_eq!(models, ["model-hugging-face.yaml", "model-private.yaml", "model-s3.yaml", "model-url.yaml"]);
    for model in ["llama-3-8b", "embeddings"] {
        set_status(&world.client, "samples", model, ready()).await;
    }

    eventually(|| apply("pod.yaml")).await;
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), "samples");
    let pod = pods.get("app").await.unwrap();
    assert_eq!(mounts(&serde_json::to_value(&pod).unwrap()["spec"]["containers"][0]), ["/models/llama-3-8b"]);

    apply("deployment.yaml").await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(world.client.clone(), "samples");
    let template = serde_json::to_value(deployments.get("app").await.unwrap().spec.template).unwrap();
    // The pod as a ReplicaSet makes it.
    let mut pod = json!({ "metadata": template["metadata"], "spec": template["spec"] });
    pod["metadata"]["generateName"] = json!("app-");
    let pod = serde_json::to_value(world.create_eventually(pod).await).unwrap();
    let containers = &pod["spec"]["containers"];
    assert_eq!(mounts(&containers[0]), [""; 0], "the proxy gets nothing");
    assert_eq!(mounts(&containers[1]), ["/weights/llama-3-8b", "/weights/embeddings"]);

    let all = samples();
    assert_eq!(all.len(), models.len() + 2, "a sample that no test applies: {all:?}");
}

fn samples() -> Vec<String> {
    let entries = std::fs::read_dir(config("samples")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mounts(container: &Value) -> Vec<&str> {
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    mounts.map(|mount| mount["mountPath"].as_str().unwrap()).collect()
}

/// The manifests that the first pages show.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_pages_show_is_accepted() {
    for (page, manifests) in [("README.md", 2), ("docs/models.md", 3), ("docs/first-model.md", 4)] {
        let text = std::fs::read_to_string(config("..").join(page)).unwrap();
        let shown: Vec<_> = text.split("```yaml\n").skip(1).map(|part| part.split_once("```").unwrap().0).collect();
        assert_eq!(shown.len(), manifests, "{page}");
        for manifest in shown {
            let created = kubectl(&["create", "--dry-run=server", "-f", "-"], manifest).await;
            created.unwrap_or_else(|error| panic!("{page}: {error}\n{manifest}"));
        }
    }
}
