//! Pods that ask for a model come all the time. Whoever is let in has it.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::scene::pod;

/// What became of pods that asked for the Model `tiny`.
#[derive(Debug, Default)]
pub struct Asked {
    pub injected: usize,
    pub refused: usize,
    /// Those that were let in without it, as JSON.
    pub plain: Vec<String>,
}

/// Asks again and again, in one namespace after the other, until it is over. Nothing is stored of what is asked.
pub async fn ask(cluster: &Cluster, namespaces: &[String], is_over: impl Fn() -> bool) -> Asked {
    let asks = pod("asks", &json!({ "inject": "tiny", "when-not-ready": "wait" }), "true");
    let asks: Pod = serde_json::from_value(asks).expect("a pod");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let mut asked = Asked::default();
    for namespace in namespaces.iter().cycle() {
        if is_over() {
            break;
        }
        match Api::namespaced(cluster.client(), namespace).create(&dry, &asks).await {
            Ok(pod) if has_model(&pod) => asked.injected += 1,
            Ok(pod) => asked.plain.push(serde_json::to_string(&pod).unwrap_or_default()),
            // For want of the webhook, or because there is no such Model at the moment.
            Err(_) => asked.refused += 1,
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    asked
}

/// Whether each container mounts published content of the Model's claim.
pub fn has_model(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let claims: BTreeMap<_, _> = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| Some((&volume.name, &volume.persistent_volume_claim.as_ref()?.claim_name)))
        .collect();
    spec.containers.iter().all(|container| {
        container.volume_mounts.iter().flatten().any(|mount| {
            claims.get(&mount.name).is_some_and(|claim| *claim == "model-tiny")
                && mount.sub_path.as_ref().is_some_and(|path| path.starts_with("revisions/"))
        })
    })
}
