//! Where the demo runs: a node of its own, or the cluster of the current kubeconfig.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use dev_cluster::{Binaries, Cluster, Node, NodeOptions};
use e2e::images::{self, Image};
use k8s_openapi::api::core::v1::Node as ClusterNode;
use kube::Client;
use kube::api::{Api, ListParams};

use crate::hub;
use crate::phases::Phases;

/// Name of the demo's own node.
const NAME: &str = "demo";

/// A cluster to run the demo in.
pub struct Target {
    /// The `kubectl` program.
    pub kubectl: PathBuf,
    /// Its kubeconfig. `None`: the current one.
    pub kubeconfig: Option<PathBuf>,
}

impl Target {
    /// Connects to it.
    pub async fn connect(&self) -> anyhow::Result<e2e::Cluster> {
        let current = || std::env::var_os("KUBECONFIG").map(PathBuf::from);
        let usual = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
        let kubeconfig = self.kubeconfig.clone().or_else(current).or_else(usual).context("HOME is not set")?;
        Ok(e2e::Cluster::connect(&self.kubectl, &kubeconfig).await?)
    }

    /// How a person calls `kubectl` for this cluster.
    pub fn command_line(&self) -> String {
        match &self.kubeconfig {
            Some(kubeconfig) => format!("{} --kubeconfig {}", self.kubectl.display(), kubeconfig.display()),
            None => "kubectl".to_owned(),
        }
    }

    /// How a person takes the demo down.
    pub fn take_down(&self) -> &'static str {
        match self.kubeconfig {
            Some(_) => "make demo-down",
            None => "kubectl delete namespace demo model-hub; helm --namespace model-system uninstall model-operator",
        }
    }
}

/// Every image of the demo, as archives.
pub fn images(workspace: &Path) -> anyhow::Result<Vec<Image>> {
    let mut images = images::operator(workspace)?;
    images.push(hub::image(workspace)?);
    images.push(images::embedding_server(workspace)?);
    Ok(images)
}

/// The demo's own node: the one that an earlier demo left running, else a new one.
pub fn node(phases: &mut Phases, images: &[Image]) -> anyhow::Result<Target> {
    phases.start("compile Kubernetes (the first time some ten minutes on 2 cores, then never again)");
    let kubectl = Binaries::node()?.path("kubectl");
    phases.end();
    phases
        .start("start a node: etcd, API server, controllers, scheduler, containerd, kubelet, kube-proxy, DNS, storage");
    let cluster = match Cluster::find(NAME) {
        Ok(running) => running,
        Err(dev_cluster::Error::NotRunning(_)) => {
            Node::start(&NodeOptions { name: Some(NAME.to_owned()), ..NodeOptions::default() })?.detach()?
        }
        Err(error) => return Err(error.into()),
    };
    phases.end();
    phases.start("load the images into the node");
    for image in images {
        cluster.load_image(&image.archive)?;
        println!("      {}", image.name);
    }
    phases.end();
    Ok(Target { kubectl, kubeconfig: Some(cluster.kubeconfig()) })
}

/// The cluster of the current kubeconfig. Its nodes must have the images already: the demo has no registry.
pub async fn current(phases: &mut Phases, images: &[Image]) -> anyhow::Result<Target> {
    phases.start("look for the images on the nodes of the current cluster");
    let client = Client::try_default().await.context("there is no current cluster: set KUBECONFIG")?;
    let nodes: Api<ClusterNode> = Api::all(client);
    let nodes = nodes.list(&ListParams::default()).await.context("could not list the cluster's nodes")?;
    let known: BTreeSet<&str> = nodes
        .iter()
        .filter_map(|node| node.status.as_ref()?.images.as_ref())
        .flatten()
        .flat_map(|image| image.names.iter().flatten().map(String::as_str))
        .collect();
    let missing: Vec<&Image> = images.iter().filter(|image| !known.contains(image.name.as_str())).collect();
    if !missing.is_empty() {
        let line = |image: &&Image| format!("  {}: {}", image.name, image.archive.display());
        let list = missing.iter().map(line).collect::<Vec<_>>().join("\n");
        bail!(
            "the nodes do not have these images yet; load the archives into each node, then run this again:\n{list}\n\
             with kind:       kind load image-archive ARCHIVE\n\
             with minikube:   minikube image load ARCHIVE\n\
             with k3s:        k3s ctr images import ARCHIVE\n\
             with containerd: ctr -n k8s.io images import ARCHIVE"
        );
    }
    phases.end();
    Ok(Target { kubectl: PathBuf::from("kubectl"), kubeconfig: None })
}

/// Ends the demo's node and removes all that it left.
pub fn down() -> anyhow::Result<()> {
    match Cluster::find(NAME) {
        Ok(cluster) => {
            cluster.end()?;
            println!("the demo's node is gone; what was compiled stays for the next time");
        }
        Err(dev_cluster::Error::NotRunning(_)) => println!("the demo's node does not run"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
