//! A control plane of its own, and what its API server was asked.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use dev_cluster::ControlPlane;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, CustomResourceExt as _};
use model_core::api::Model;
use serde_json::json;

/// Where the Models of the bench are.
pub const NAMESPACE: &str = "bench";

/// etcd and API server, with the CRD, a storage class and a namespace.
pub struct Cluster {
    plane: ControlPlane,
    client: Client,
}

impl Cluster {
    /// Starts it. Blocks for some seconds; the first time on a machine it builds Kubernetes.
    pub async fn start() -> anyhow::Result<Self> {
        let plane = tokio::task::spawn_blocking(ControlPlane::start).await??;
        let read = Kubeconfig::read_from(plane.kubeconfig())?;
        let client = Client::try_from(Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?)?;
        let cluster = Self { plane, client };
        cluster.install().await?;
        Ok(cluster)
    }

    /// A client with all rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The kubeconfig of that client.
    pub fn kubeconfig(&self) -> PathBuf {
        let path: &Path = self.plane.kubeconfig();
        path.to_owned()
    }

    async fn install(&self) -> anyhow::Result<()> {
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client());
        definitions.create(&PostParams::default(), &Model::crd()).await?;
        let class: StorageClass = serde_json::from_value(json!({
            "metadata": { "name": "default", "annotations": { "storageclass.kubernetes.io/is-default-class": "true" } },
            "provisioner": "nobody",
        }))?;
        Api::all(self.client()).create(&PostParams::default(), &class).await?;
        let metadata = ObjectMeta { name: Some(NAMESPACE.to_owned()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        Api::all(self.client()).create(&PostParams::default(), &namespace).await?;
        let models: Api<Model> = Api::all(self.client());
        let deadline = Instant::now() + Duration::from_secs(60);
        while models.list(&ListParams::default()).await.is_err() {
            if Instant::now() > deadline {
                bail!("the API does not serve Models after a minute");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// What the API server was asked since it started.
    pub async fn requests(&self) -> anyhow::Result<Requests> {
        let text = self.client.request_text(hyper::Request::get("/metrics").body(Vec::new())?).await?;
        let lines = text.lines().filter_map(|line| line.strip_prefix("apiserver_request_total"));
        let mut requests = Requests::default();
        for line in lines {
            let (key, count) = request(line).with_context(|| format!("could not make sense of {line}"))?;
            *requests.0.entry(key).or_default() += count;
        }
        Ok(requests)
    }
}

/// Requests by verb and resource, for example `POST jobs` or `PATCH models/status`.
#[derive(Clone, Debug, Default)]
pub struct Requests(BTreeMap<String, u64>);

impl Requests {
    /// Those that came after `before`.
    pub fn since(&self, before: &Self) -> Self {
        let count = |key: &String, count: &u64| count - before.0.get(key).copied().unwrap_or_default();
        let new = self.0.iter().map(|(key, now)| (key.clone(), count(key, now))).filter(|(_, count)| *count > 0);
        Self(new.collect())
    }

    /// Those whose key passes.
    pub fn only(&self, passes: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(key, _)| passes(key)).map(|(key, count)| (key.clone(), *count)).collect())
    }

    /// How many there were of these.
    pub fn of(&self, keys: &[&str]) -> u64 {
        keys.iter().filter_map(|key| self.0.get(*key)).sum()
    }

    /// How many there were of all.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(|(key, count)| format!("{count} {key}")).collect();
        f.write_str(if all.is_empty() { "none" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

/// Key and count of a line like `{code="201",resource="jobs",subresource="",verb="POST"} 7`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter of requests")]
fn request(line: &str) -> Option<(String, u64)> {
    let (labels, count) = line.strip_prefix('{')?.split_once("} ")?;
    let label = |name: &str| {
        let (_, rest) = labels.split_once(&format!(",{name}=\""))?;
        rest.split('"').next()
    };
    let (verb, resource, subresource) = (label("verb")?, label("resource")?, label("subresource")?);
    let path = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
    Some((format!("{verb} {path}"), count.parse::<f64>().ok()? as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_of_an_api_server_are_read() {
        let line = r#"{code="200",component="apiserver",dry_run="",group="batch",resource="jobs",scope="resource",subresource="status",verb="PATCH",version="v1"} 1.2e+01"#;
        assert_eq!(request(line), Some(("PATCH jobs/status".to_owned(), 12)));
        let requests = |count| Requests(BTreeMap::from([("POST jobs".to_owned(), count)]));
        assert_eq!(requests(7).since(&requests(5)).of(&["POST jobs", "POST pods"]), 2);
        assert_eq!(requests(7).since(&requests(7)).to_string(), "none");
    }
}
