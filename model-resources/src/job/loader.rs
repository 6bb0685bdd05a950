//! The download container with our loader.

use k8s_openapi::api::batch::v1::{
    PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, KeyToPath, ResourceRequirements, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use model_core::api::Source;
use model_core::persisted::Persisted;

use super::environment::Environment;
use super::{CA_KEY, CONTAINER, DownloadSettings, MODELS_DIR, Mode, claim_mount, on_claim, security};
use crate::expansion::literal;

/// Where the loader leaves its outcome, and Kubernetes reads it.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Exit codes of the loader that no retry of the same Job can change: failed for good, wrong use.
const PERMANENT_EXIT_CODES: [i32; 2] = [2, 64];

/// Where the operator's certificate authorities are mounted.
const CA_DIR: &str = "/etc/model-loader/ca";
const CA_VOLUME: &str = "ca";

/// Downloads onto the claim.
pub(super) fn pull(model: &Persisted, image: &str, settings: &DownloadSettings) -> Mode {
    let to = format!("--to={}", on_claim(&model.content_path(&settings.downloader)));
    // Content that is there already was published by a Job whose record is gone: a claim from a backup, for example.
    let mut mode = mode(model, image, settings, "pull", vec![to, "--recheck".to_owned()]);
    mode.container.volume_mounts.get_or_insert_default().insert(0, claim_mount());
    mode
}

/// Asks the source what there is, and needs no claim.
pub(super) fn plan(model: &Persisted, image: &str, settings: &DownloadSettings) -> Mode {
    mode(model, image, settings, "plan", Vec::new())
}

fn mode(model: &Persisted, image: &str, settings: &DownloadSettings, command: &str, further: Vec<String>) -> Mode {
    let mut environment = Environment::new(&settings.env);
    let authorities = settings.ca_config_map.as_deref().map(authorities);
    if authorities.is_some() {
        environment.set("SSL_CERT_FILE", &format!("{CA_DIR}/{CA_KEY}"));
    }
    if let Source::S3(source) = &model.spec.source {
        environment.set_s3(source);
    }
    environment.set_credentials(model);
    let (volumes, mounts): (Vec<_>, Vec<_>) = authorities.into_iter().unzip();
    let container = Container {
        env: environment.into_variables(),
        volume_mounts: (!mounts.is_empty()).then_some(mounts),
        ..container(image, arguments(model, command, further))
    };
    Mode { container, volumes, pod_failure_policy: Some(failure_policy()) }
}

/// Takes earlier content off the claim. It asks nobody for anything, so it gets no credentials.
pub(super) fn prune(image: &str, arguments: Vec<String>) -> Mode {
    let container = Container { volume_mounts: Some(vec![claim_mount()]), ..container(image, arguments) };
    Mode { container, volumes: Vec::new(), pod_failure_policy: Some(failure_policy()) }
}

/// Reads what lies at `path` on the claim again, and can write nothing. It asks nobody for anything, so it gets no
/// credentials.
pub(super) fn verify(image: &str, path: &str) -> Mode {
    let mount = VolumeMount { sub_path: Some(path.to_owned()), read_only: Some(true), ..claim_mount() };
    let arguments = vec!["verify".to_owned(), "--json".to_owned(), MODELS_DIR.to_owned()];
    let container = Container { volume_mounts: Some(vec![mount]), ..container(image, arguments) };
    Mode { container, volumes: Vec::new(), pod_failure_policy: Some(failure_policy()) }
}

fn container(image: &str, mut arguments: Vec<String>) -> Container {
    arguments.push(format!("--termination-log={TERMINATION_LOG}"));
    Container {
        name: CONTAINER.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(arguments.iter().map(|argument| literal(argument)).collect()),
        resources: Some(default_resources()),
        security_context: Some(security::container()),
        termination_message_path: Some(TERMINATION_LOG.to_owned()),
        termination_message_policy: Some("File".to_owned()),
        ..Container::default()
    }
}

/// The volume of a `ConfigMap`'s authorities, and its mount.
///
/// Not optional: with the file missing the loader would fail for good, and with the public authorities alone it would
/// fail in a way that does not tell why. So the kubelet waits for the `ConfigMap`, and the Model names it after a while.
fn authorities(config_map: &str) -> (Volume, VolumeMount) {
    let key = KeyToPath { key: CA_KEY.to_owned(), path: CA_KEY.to_owned(), ..KeyToPath::default() };
    let source = ConfigMapVolumeSource {
        name: config_map.to_owned(),
        items: Some(vec![key]),
        ..ConfigMapVolumeSource::default()
    };
    let volume = Volume { name: CA_VOLUME.to_owned(), config_map: Some(source), ..Volume::default() };
    let mount = VolumeMount {
        name: CA_VOLUME.to_owned(),
        mount_path: CA_DIR.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    (volume, mount)
}

/// Every value stands behind the `=` of its flag, so that none can be read as a flag itself.
fn arguments(model: &Persisted, command: &str, further: Vec<String>) -> Vec<String> {
    let mut arguments = vec![command.to_owned()];
    match &model.spec.source {
        Source::HuggingFace(source) => {
            arguments.push(format!("--source=hf://{}@{}", source.repo_id, source.revision));
            arguments.extend(source.include.iter().map(|pattern| format!("--include={pattern}")));
            arguments.extend(source.exclude.iter().map(|pattern| format!("--exclude={pattern}")));
        }
        Source::Url(source) => {
            arguments.push(format!("--source={}", source.url));
            arguments.extend(source.sha256.iter().map(|digest| format!("--sha256={}", digest.to_ascii_lowercase())));
        }
        Source::S3(source) => arguments.push(format!("--source=s3://{}/{}", source.bucket, source.key)),
    }
    arguments.extend(further);
    arguments
}

/// Memory is bounded, because the loader's is; CPU is not, because idle CPU makes a download faster.
fn default_resources() -> ResourceRequirements {
    let amounts = |amounts: &[(&str, &str)]| {
        Some(amounts.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect())
    };
    ResourceRequirements {
        requests: amounts(&[("cpu", "250m"), ("memory", "128Mi")]),
        limits: amounts(&[("memory", "256Mi")]),
        claims: None,
    }
}

/// A drained or preempted pod does not count as an attempt; what failed for good is not tried again.
fn failure_policy() -> PodFailurePolicy {
    let disrupted = PodFailurePolicyRule {
        action: "Ignore".to_owned(),
        on_exit_codes: None,
        on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
            type_: "DisruptionTarget".to_owned(),
            status: Some("True".to_owned()),
        }]),
    };
    let permanent = PodFailurePolicyRule {
        action: "FailJob".to_owned(),
        on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
            container_name: Some(CONTAINER.to_owned()),
            operator: "In".to_owned(),
            values: PERMANENT_EXIT_CODES.to_vec(),
        }),
        on_pod_conditions: None,
    };
    PodFailurePolicy { rules: vec![disrupted, permanent] }
}
