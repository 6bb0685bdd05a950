//! What the cluster refuses, and why, read from its own words.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;

use super::pod::quoted;
use crate::reason::Reason;
use crate::report::Failure;

/// How long a Job may take to make its pod.
const POD_PATIENCE: SignedDuration = SignedDuration::from_secs(20);

/// Longest time between two looks at the Events of a Job without a pod.
const LONGEST_LOOK: SignedDuration = SignedDuration::from_mins(10);

/// A Job that runs and has made no pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Podless {
    /// Since when it should have one.
    pub since: Timestamp,
    /// Why it has none.
    pub refusal: Refusal,
}

/// What is known of why a Job has no pod, or why its pod does not start. Only Events tell.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Refusal {
    /// Nobody read its Events.
    #[default]
    NotRead,
    /// Its Events do not tell.
    Unknown,
    /// The cluster refuses the pod, or its node cannot start it.
    Known(Failure),
}

/// Reads the words in which the API server, or the Job controller for it, refuses an object.
#[must_use]
pub fn refusal(message: &str) -> Failure {
    let words = message.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    let reason = if has(&["exceeded quota", "failed quota"]) {
        Reason::QuotaExceeded
    } else if has(&["violates podsecurity"]) {
        Reason::PodSecurityViolated
    } else if has(&["no priorityclass with name"]) {
        Reason::PriorityClassNotFound
    } else if has(&["error looking up service account"]) {
        Reason::ServiceAccountNotFound
    } else if has(&[
        "usage per container",
        "usage per pod",
        "usage per persistentvolumeclaim",
        "limit to request ratio",
    ]) {
        Reason::LimitRangeViolated
    } else {
        Reason::Rejected
    };
    Failure { reason, message: quoted(message) }
}

const SANDBOX_WARNING: &str = "FailedCreatePodSandBox";

/// Reasons of the Events in which a node says why it does not start a pod that it has.
pub const NOT_STARTED_WARNINGS: [&str; 3] = ["FailedMount", "FailedAttachVolume", SANDBOX_WARNING];

/// Reads such an Event.
#[must_use]
pub fn not_started(warning: &str, message: &str) -> Failure {
    let reason = if warning != SANDBOX_WARNING {
        Reason::VolumeNotMounted
    } else if message.contains("OOM-killed") {
        // A limit in which not even the sandbox fits.
        Reason::OutOfMemory
    } else {
        Reason::SandboxFailed
    };
    Failure { reason, message: quoted(message) }
}

impl Podless {
    /// When it is worth asking why.
    #[must_use]
    pub fn late(&self) -> Timestamp {
        self.since.checked_add(POD_PATIENCE).unwrap_or(Timestamp::MAX)
    }
}

/// When to look at Events again, after a look that found what began at `since` late: ever more rarely.
#[must_use]
pub fn next_look(since: Timestamp, now: Timestamp) -> Timestamp {
    let wait = now.duration_since(since).clamp(POD_PATIENCE, LONGEST_LOOK);
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// Since when this Job is without a pod; it has none. A failed pod before says that the cluster takes them.
#[must_use]
pub fn podless(job: &Job, refusal: Refusal) -> Option<Podless> {
    let status = job.status.as_ref();
    if status.and_then(|status| status.failed).unwrap_or(0) > 0 {
        return None;
    }
    let started = status.and_then(|status| status.start_time.as_ref());
    let since = started.or(job.metadata.creation_timestamp.as_ref())?.0;
    Some(Podless { since, refusal })
}

/// Whether somebody holds the Job back on purpose, as queues do.
pub(super) fn suspended(job: &Job) -> Option<Failure> {
    job.spec.as_ref()?.suspend.filter(|suspended| *suspended)?;
    let message = "the Job is suspended: a queue, or whoever suspended it, lets it run".to_owned();
    Some(Failure { reason: Reason::Suspended, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelets_warning_tells_volumes_from_sandboxes() {
        for (warning, message, want) in [
            (
                "FailedMount",
                r#"MountVolume.SetUp failed for volume "ca" : configmap "company-ca" not found"#,
                Reason::VolumeNotMounted,
            ),
            ("FailedAttachVolume", r#"Multi-Attach error for volume "pvc-1""#, Reason::VolumeNotMounted),
            (
                "FailedCreatePodSandBox",
                r#"Failed to create pod sandbox: rpc error: plugin type="calico" failed (add): no IPs available"#,
                Reason::SandboxFailed,
            ),
            (
                "FailedCreatePodSandBox",
                "Failed to create pod sandbox: container init was OOM-killed (memory limit too low?)",
                Reason::OutOfMemory,
            ),
        ] {
            assert_eq!(not_started(warning, message).reason, want, "{message}");
        }
    }

    /// In the words of Kubernetes 1.36.
    #[test]
    fn each_kind_of_refusal_has_its_reason() {
        for (words, want) in [
            (
                r#"pods "model-download-a-x" is forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0"#,
                Reason::QuotaExceeded,
            ),
            (r#"pods "x" is forbidden: failed quota: q: must specify limits.cpu for: download"#, Reason::QuotaExceeded),
            (
                r#"pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true"#,
                Reason::PodSecurityViolated,
            ),
            (
                r#"pods "x" is forbidden: maximum memory usage per Container is 64Mi, but limit is 256Mi"#,
                Reason::LimitRangeViolated,
            ),
            (
                r#"persistentvolumeclaims "model-a" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Mi, but request is 64Mi"#,
                Reason::LimitRangeViolated,
            ),
            (r#"pods "x" is forbidden: no PriorityClass with name high was found"#, Reason::PriorityClassNotFound),
            (
                r#"pods "x" is forbidden: error looking up service account a/b: serviceaccount "b" not found"#,
                Reason::ServiceAccountNotFound,
            ),
            (r#"admission webhook "policy.example.com" denied the request: no"#, Reason::Rejected),
            ("", Reason::Rejected),
        ] {
            assert_eq!(refusal(words).reason, want, "{words}");
        }
    }
}
