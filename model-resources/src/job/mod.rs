//! The Job that downloads a model.
//!
//! One builder over two modes. [`Downloader::Stock`] runs the images that the specification names;
//! [`Downloader::Loader`] runs our own. Both pass restricted pod security and hold no token of the API server.

mod environment;
mod loader;
mod placement;
mod plan;
mod prune;
mod security;
mod stock;
mod verify;

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec, PodFailurePolicy};
use k8s_openapi::api::core::v1::{
    Container, LocalObjectReference, PersistentVolumeClaimVolumeSource, PodSpec, PodTemplateSpec, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model_core::labels;
use model_core::names::job_name;
use model_core::persisted::{Downloader, Persisted};

use crate::metadata::{child_labels, child_metadata};

pub use placement::placed;
pub use plan::{check_job, plan_job};
pub use prune::prune_job;
pub use verify::verify_job;

/// Where the claim is mounted in the download container.
pub const MODELS_DIR: &str = "/models";

/// Name of the download container, for reading its log and its status.
pub const CONTAINER: &str = "download";

/// How often Kubernetes starts a failed download pod again.
pub const BACKOFF_LIMIT: i32 = 3;

/// Seconds until Kubernetes removes a Job that ended. The state machine knows it too.
pub use model_core::decide::JOB_TTL_SECONDS as TTL_SECONDS;

/// Name of the claim's volume in the download pod.
const VOLUME: &str = "models";

/// Key of [`DownloadSettings::ca_config_map`].
pub const CA_KEY: &str = "ca.crt";

/// What the operator sets for every download, whatever the Model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownloadSettings {
    /// Which images download.
    pub downloader: Downloader,
    /// Environment of every download container by name: the hub's address, proxies, a package index. A variable that
    /// a Model's own spec sets wins.
    pub env: BTreeMap<String, String>,
    /// `ConfigMap` in each Model's namespace whose key [`CA_KEY`] holds certificate authorities, PEM, that the loader
    /// trusts beside the public ones. Where it is missing the download waits for it. Stock images do not get it.
    pub ca_config_map: Option<String>,
    /// Secrets in each Model's namespace that the image is pulled with, after those that a Model names itself. One that
    /// is missing there is left out by the kubelet.
    pub image_pull_secrets: Vec<String>,
}

impl DownloadSettings {
    /// What downloads with these images, and sets nothing else.
    ///
    /// ```
    /// use model_core::persisted::Downloader;
    /// use model_resources::DownloadSettings;
    ///
    /// let image = "registry.example.com/model-loader:v1".to_owned();
    /// let mut settings = DownloadSettings::new(Downloader::Loader { image });
    /// settings.env.insert("HTTPS_PROXY".to_owned(), "http://proxy:3128".to_owned());
    /// ```
    #[must_use]
    pub const fn new(downloader: Downloader) -> Self {
        Self { downloader, env: BTreeMap::new(), ca_config_map: None, image_pull_secrets: Vec::new() }
    }
}

/// The parts in which the two modes differ.
struct Mode {
    container: Container,
    volumes: Vec<Volume>,
    pod_failure_policy: Option<PodFailurePolicy>,
}

/// Builds the Job that downloads the wanted content of a Model onto the claim with the UID `claim_uid`.
///
/// Content id and claim UID stand in its annotations and in those of its pod: success of a Job that was made for
/// other content or for another claim proves nothing.
#[must_use]
pub fn download_job(model: &Persisted, settings: &DownloadSettings, claim_uid: &str) -> Job {
    let mut mode = match &settings.downloader {
        Downloader::Stock => stock::mode(model, &settings.env),
        Downloader::Loader { image } => loader::pull(model, image, settings),
    };
    mode.volumes.insert(0, claim_volume(model));
    job(model, settings, job_name(model.name), &[(labels::CLAIM_UID, claim_uid)], mode)
}

/// Whether a label or annotation is the operator's. None of them is taken from a Model: the webhook would mount other
/// content into the pod that holds the credentials.
fn is_reserved(key: &str) -> bool {
    key.split_once('/').is_some_and(|(prefix, _)| [labels::GROUP, labels::SPECIFICATION_PREFIX].contains(&prefix))
}

/// The Job around a container. `marks` are annotations beside the content id, on it and on its pod.
fn job(model: &Persisted, settings: &DownloadSettings, name: String, marks: &[(&str, &str)], mode: Mode) -> Job {
    let template = model.spec.job_template.clone().unwrap_or_default();
    let labels: BTreeMap<_, _> =
        template.labels.iter().filter(|(key, _)| !is_reserved(key)).map(owned).chain(child_labels(model)).collect();
    let marks = marks.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let annotations: BTreeMap<_, _> = template
        .annotations
        .iter()
        .filter(|(key, _)| !is_reserved(key))
        .map(owned)
        .chain([(labels::CONTENT_ID.to_owned(), model.content_id.clone())])
        .chain(marks)
        .collect();

    let resources = template.resources.or(mode.container.resources);
    let container = Container { resources, ..mode.container };
    let pod = PodSpec {
        affinity: template.affinity,
        automount_service_account_token: Some(false),
        containers: vec![container],
        // Links would put an environment variable for every Service of the namespace beside ours.
        enable_service_links: Some(false),
        image_pull_secrets: non_empty(pull_secrets(template.image_pull_secrets, &settings.image_pull_secrets)),
        node_selector: (!model.spec.node_selector.is_empty()).then(|| model.spec.node_selector.clone()),
        priority_class_name: template.priority_class_name,
        restart_policy: Some("Never".to_owned()),
        security_context: Some(security::pod()),
        service_account_name: template.service_account_name,
        tolerations: non_empty(template.tolerations),
        volumes: non_empty(mode.volumes),
        ..PodSpec::default()
    };
    let pod_metadata =
        ObjectMeta { labels: Some(labels.clone()), annotations: Some(annotations.clone()), ..ObjectMeta::default() };
    let spec = JobSpec {
        active_deadline_seconds: template.active_deadline_seconds,
        backoff_limit: Some(BACKOFF_LIMIT),
        pod_failure_policy: mode.pod_failure_policy,
        // A new pod waits until the old one is gone, so that two never write to one claim.
        pod_replacement_policy: Some("Failed".to_owned()),
        template: PodTemplateSpec { metadata: Some(pod_metadata), spec: Some(pod) },
        ttl_seconds_after_finished: Some(TTL_SECONDS),
        ..JobSpec::default()
    };
    let metadata = ObjectMeta { labels: Some(labels), annotations: Some(annotations), ..child_metadata(model, name) };
    Job { metadata, spec: Some(spec), status: None }
}

/// Those of the Model, then those of the operator that it does not name.
fn pull_secrets(mut of_model: Vec<LocalObjectReference>, of_operator: &[String]) -> Vec<LocalObjectReference> {
    for name in of_operator {
        if !of_model.iter().any(|known| known.name == *name) {
            of_model.push(LocalObjectReference { name: name.clone() });
        }
    }
    of_model
}

fn owned((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

fn non_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn claim_volume(model: &Persisted) -> Volume {
    let claim = PersistentVolumeClaimVolumeSource { claim_name: model.claim_name(), read_only: None };
    Volume { name: VOLUME.to_owned(), persistent_volume_claim: Some(claim), ..Volume::default() }
}

/// A directory of the claim as the download container sees it.
fn on_claim(path: &str) -> String {
    if path.is_empty() { MODELS_DIR.to_owned() } else { format!("{MODELS_DIR}/{path}") }
}

fn claim_mount() -> VolumeMount {
    VolumeMount { name: VOLUME.to_owned(), mount_path: MODELS_DIR.to_owned(), ..VolumeMount::default() }
}
