//! The download pod as a value: what it reported, what holds it up.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod, Volume};

use super::refusal::Refusal;
use crate::reason::Reason;
use crate::report::{Failure, Outcome};

/// How long a node may take to mount what a pod needs, and to make its sandbox. Volumes of clouds are attached in less.
const START_PATIENCE: SignedDuration = SignedDuration::from_secs(30);

/// Longest part of a foreign message that is repeated, in characters.
const MAX_QUOTED: usize = 700;

/// A pod whose node has not made all that its first container needs: volumes, and a sandbox with a network. The kubelet
/// goes on trying; only Events say why it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmounted {
    /// When the pod was placed on its node; before that, when it was created.
    pub since: Timestamp,
    /// Whether the pod is on a node. A scheduler that waits for a volume to be made has not placed it yet.
    pub placed: bool,
    /// The pod's claims, `ConfigMaps` and secrets by kind and name: one of them it is.
    pub volumes: String,
    /// Why its node does not get on with it.
    pub refusal: Refusal,
}

impl Unmounted {
    /// When it is worth asking why.
    #[must_use]
    pub fn late(&self) -> Timestamp {
        self.since.checked_add(START_PATIENCE).unwrap_or(Timestamp::MAX)
    }
}

/// What the pod waits for before its first container can be made. `None` where it waits for nothing of the kind, or where
/// its scheduler has said why it is on no node. `refusal` is what its Events tell.
#[must_use]
pub fn pod_unmounted(pod: &Pod, refusal: Refusal) -> Option<Unmounted> {
    let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Pending"))?;
    let condition = |kind: &str, value: &str| {
        let mut all = status.conditions.iter().flatten();
        all.find(|condition| condition.type_ == kind && condition.status == value)
    };
    let scheduled = condition("PodScheduled", "True");
    let (since, placed) = if scheduled.is_some() {
        condition("PodReadyToStartContainers", "False")?;
        (scheduled?.last_transition_time.as_ref()?.0, true)
    } else if condition("PodScheduled", "False").is_none() {
        (pod.metadata.creation_timestamp.as_ref()?.0, false)
    } else {
        return None;
    };
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let volumes: Vec<_> = volumes.filter_map(volume_source).collect();
    Some(Unmounted { since, placed, volumes: volumes.join(", "), refusal })
}

fn volume_source(volume: &Volume) -> Option<String> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some(format!("claim {}", claim.claim_name));
    }
    if let Some(config_map) = &volume.config_map {
        let keys: Vec<_> = config_map.items.iter().flatten().map(|item| item.key.as_str()).collect();
        let keys = if keys.is_empty() { String::new() } else { format!(" with key {}", keys.join(", ")) };
        return Some(format!("ConfigMap {}{keys}", config_map.name));
    }
    Some(format!("secret {}", volume.secret.as_ref()?.secret_name.as_ref()?))
}

/// What the loader wrote as its termination message.
#[must_use]
pub fn pod_outcome(pod: &Pod) -> Option<Outcome> {
    Outcome::parse(terminated(pod)?.message.as_deref()?)
}

/// What keeps the pod from starting, or how it failed. `None` while all is well.
#[must_use]
pub fn pod_trouble(pod: &Pod) -> Option<Failure> {
    taken_away(pod).or_else(|| terminated(pod).and_then(ended_badly)).or_else(|| waiting(pod)).or_else(|| unplaced(pod))
}

fn container_states(pod: &Pod) -> impl Iterator<Item = &ContainerState> {
    let statuses: &[ContainerStatus] =
        pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    statuses.iter().filter_map(|status| status.state.as_ref())
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    container_states(pod).find_map(|state| state.terminated.as_ref())
}

/// The node ended the pod, or never took it: then the pod itself has a reason, and its containers may have none.
fn taken_away(pod: &Pod) -> Option<Failure> {
    let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Failed"))?;
    let word = status.reason.as_deref()?;
    let reason = match word {
        "Evicted" | "Preempting" | "Terminated" | "NodeShutdown" | "NodeLost" => Reason::Evicted,
        "NodeAffinity" | "UnexpectedAdmissionError" => Reason::Unschedulable,
        word if word.starts_with("OutOf") => Reason::Unschedulable,
        _ => return None,
    };
    Some(Failure { reason, message: quoted(status.message.as_deref().unwrap_or(word)) })
}

fn ended_badly(end: &ContainerStateTerminated) -> Option<Failure> {
    if end.exit_code == 0 {
        return None;
    }
    let never_ran = matches!(end.reason.as_deref(), Some("StartError" | "ContainerCannotRun"));
    // A limit in which not even the runtime fits ends the container before it begins.
    let too_small = never_ran && end.message.as_deref().is_some_and(|message| message.contains("OOM-killed"));
    if end.reason.as_deref() == Some("OOMKilled") || too_small {
        return Some(Failure {
            reason: Reason::OutOfMemory,
            message: "the download used more memory than its limit".to_owned(),
        });
    }
    if let Some(Outcome::Failed(failure)) = end.message.as_deref().and_then(Outcome::parse) {
        return Some(failure);
    }
    // Stock images: the last lines of the log stand in for a reason.
    let last_words = end.message.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(quoted);
    let reason = if never_ran { Reason::ContainerNotStarted } else { Reason::DownloadFailed };
    let message = match last_words {
        Some(text) => format!("exit code {}: {text}", end.exit_code),
        None => format!("exit code {}", end.exit_code),
    };
    Some(Failure { reason, message })
}

fn waiting(pod: &Pod) -> Option<Failure> {
    let waiting = container_states(pod).find_map(|state| state.waiting.as_ref())?;
    let reason = match waiting.reason.as_deref()? {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => Reason::ImagePullFailed,
        "CreateContainerConfigError" if names_secret(waiting.message.as_deref()) => Reason::CredentialsMissing,
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => Reason::ContainerNotStarted,
        _ => return None,
    };
    Some(Failure { reason, message: quoted(waiting.message.as_deref().unwrap_or(reason.as_str())) })
}

/// `secret "x" not found`, or `couldn't find key K in Secret ns/x`.
fn names_secret(message: Option<&str>) -> bool {
    message.is_some_and(|message| message.to_lowercase().contains("secret"))
}

fn unplaced(pod: &Pod) -> Option<Failure> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let unplaced = conditions.iter().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    })?;
    let message = unplaced.message.as_deref().unwrap_or("the download pod fits on no node");
    let reason = if message.contains("ReadWriteOncePod") {
        Reason::ClaimInUse
    } else if message.to_lowercase().contains("persistentvolumeclaim") {
        Reason::ClaimPending
    } else {
        Reason::Unschedulable
    };
    Some(Failure { reason, message: quoted(message) })
}

/// The end of a foreign text, without control characters and of bounded length. The end tells most in a log.
pub(super) fn quoted(text: &str) -> String {
    let clean: Vec<char> = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let start = clean.len().saturating_sub(MAX_QUOTED);
    clean.iter().skip(start).collect()
}
