//! Another operator embeds the Model crates: it runs the controller beside its own work, and mounts a model into a pod
//! that it builds itself, with no webhook installed.
//!
//! ```text
//! embed NAMESPACE MODEL
//! ```

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use model_controller::{DownloadSettings, controller};
use model_core::api::Model;
use model_resources::inject::{inject, parse, ready_model};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let namespace = arguments.next().context("usage: embed NAMESPACE MODEL")?;
    let name = arguments.next().context("usage: embed NAMESPACE MODEL")?;
    let client = Client::try_default().await?;
    let models = controller(client.clone(), DownloadSettings::default());
    tokio::spawn(models.run_until(std::future::pending()));

    let model = Api::<Model>::namespaced(client.clone(), &namespace).get_opt(&name).await?;
    let pod = with_models(reader(&name), &namespace, &[model])?;
    let created = Api::<Pod>::namespaced(client, &namespace).create(&PostParams::default(), &pod).await?;
    println!("created pod {}", created.name_any());
    Ok(())
}

/// The pod of our own operator. It asks for the model by the same annotation that the webhook reads.
fn reader(model: &str) -> Value {
    json!({
        "metadata": {
            "generateName": "reader-",
            "annotations": { "models.main-currents.news/inject": model },
        },
        "spec": {
            "restartPolicy": "Never",
            "containers": [{ "name": "reader", "image": "busybox:stable", "command": ["ls", "-lR", "/models"] }],
        },
    })
}

/// Mounts what the pod asks for, or says in a sentence why it cannot. The same pure functions as in the webhook.
fn with_models(mut pod: Value, namespace: &str, found: &[Option<Model>]) -> anyhow::Result<Pod> {
    let Some(wish) = parse(&pod)? else { return Ok(serde_json::from_value(pod)?) };
    let named = wish.models.iter().zip(found);
    let ready =
        named.map(|(name, model)| ready_model(name, namespace, model.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let patch = inject(&pod, &wish, &ready)?;
    json_patch::patch(&mut pod, &patch)?;
    Ok(serde_json::from_value(pod)?)
}
