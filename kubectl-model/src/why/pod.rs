//! What blocks a pod that wants Models.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::ResourceExt as _;
use model_core::api::Phase;
use model_core::names::split_shared_path;
use model_core::observed::{Refusal, pod_trouble, pod_unmounted};
use model_core::reason::Reason;
use model_resources::inject::{Denial, parse};
use serde_json::json;

use super::parts::{part, pod_phase};
use super::{Finding, ModelView, Part, Report, events, of_model};
use crate::progress::{phase, state};
use crate::text::line;
use crate::usage::mounts;

/// The Models that a pod asks for, each with the look at it, or `None` where there is none of that name.
pub type Asked = Vec<(String, Option<ModelView>)>;

/// Names of the Models that this pod asks for or mounts.
///
/// # Errors
/// When its annotations mean nothing.
pub(crate) fn wanted(pod: &Pod) -> Result<Vec<String>, Denial> {
    let annotated = json!({ "metadata": { "annotations": pod.metadata.annotations } });
    Ok(parse(&annotated)?.map(|wish| wish.models).unwrap_or_default())
}

/// What blocks this pod and what to do about it. `asked` are the Models that it wants.
#[must_use]
pub fn of_pod(pod: &Pod, asked: &Asked, seen: &[Event], unseen: Vec<String>, now: Timestamp) -> Report {
    let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
    let mut findings: Vec<Finding> = wish(pod, asked).into_iter().collect();
    for (model, view) in asked {
        findings.extend(of_one(pod, model, view.as_ref(), &namespace, now));
    }
    findings.extend(trouble(pod, seen, &namespace));
    findings.sort_by_key(|finding| !finding.blocks);
    Report {
        kind: "Pod",
        state: pod_phase(pod),
        parts: parts(pod, asked),
        findings,
        events: events::newest(seen, now),
        unseen,
        plugin_version: env!("CARGO_PKG_VERSION"),
        name,
        namespace,
    }
}

fn parts(pod: &Pod, asked: &Asked) -> Vec<Part> {
    let models = asked.iter().map(|(name, view)| {
        let state = view.as_ref().map_or_else(|| "absent".to_owned(), |view| state(&view.model));
        part("Model", name.clone(), state)
    });
    let containers = statuses(pod).map(|status| part("container", line(&status.name), container_state(status)));
    models.chain(containers).collect()
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|status| {
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten())
    })
}

fn container_state(status: &ContainerStatus) -> String {
    let state = status.state.clone().unwrap_or_default();
    let word = if state.running.is_some() {
        "running".to_owned()
    } else if let Some(end) = state.terminated {
        format!("ended with exit code {}", end.exit_code)
    } else {
        state.waiting.and_then(|waiting| waiting.reason).map_or_else(|| "waiting".to_owned(), |reason| line(&reason))
    };
    match status.restart_count {
        0 => word,
        count => format!("{word}, started again {count} times"),
    }
}

/// Whether the annotations mean anything.
fn wish(pod: &Pod, asked: &Asked) -> Option<Finding> {
    match wanted(pod) {
        Err(denial) => {
            let advice = "correct the annotation in the pod's template; it is read when the pod is created";
            Some(Finding::own(
                denial.reason().as_str(),
                "the pod's annotations cannot be read",
                &denial.to_string(),
                advice,
            ))
        }
        Ok(_) if asked.is_empty() => {
            let advice = "annotate the pod's template with models.main-currents.news/inject: NAME";
            Some(Finding::own("NotAsked", "the pod asks for no Model", "", advice).harmless())
        }
        Ok(_) => None,
    }
}

/// What stands between the pod and one Model.
fn of_one(pod: &Pod, name: &str, view: Option<&ModelView>, namespace: &str, now: Timestamp) -> Vec<Finding> {
    let Some(view) = view else {
        let denial = Denial::ModelNotFound { name: name.to_owned(), namespace: namespace.to_owned() };
        let advice = "create the Model, or correct the name in the pod's annotation";
        return vec![Finding::own(
            denial.reason().as_str(),
            format!("there is no Model {name} in namespace {namespace}"),
            "",
            advice,
        )];
    };
    let mut found = Vec::new();
    if phase(&view.model) != Phase::Ready {
        let what = format!("Model {name} is {}", phase(&view.model).as_str());
        let advice = match phase(&view.model) {
            Phase::Failed => "settle what stands below",
            _ => "wait until it is ready; what blocks it, if anything, stands below",
        };
        let follow = format!("kubectl model status {name} --watch -n {namespace}");
        found.push(Finding::own("ModelNotReady", what, &state(&view.model), advice).with(follow));
        found.extend(of_model(view, now).findings.into_iter().filter(|finding| finding.blocks));
    }
    if !mounts(pod, &view.model.spec.storage.claim_name(name)) {
        let what = format!("the pod does not mount Model {name}: the webhook did not see it when it was created");
        let advice = "check that the webhook runs and that the annotation stood in the pod's template, then create the pod again";
        let check = "kubectl get mutatingwebhookconfigurations,pods -A -l app.kubernetes.io/part-of=model-operator";
        found.push(Finding::own("NotInjected", what, "", advice).with(check.to_owned()));
    } else if let Some(mounted) = earlier_content(pod, view, name) {
        let what = format!("the pod mounts earlier content of Model {name}");
        let why = format!("it mounts {mounted}, and newer content has been published since");
        found
            .push(Finding::own("ContentSuperseded", what, &why, "create the pod again to mount the newest").harmless());
    }
    found
}

/// The directory that the pod mounts, where newer content has been published.
fn earlier_content(pod: &Pod, view: &ModelView, name: &str) -> Option<String> {
    let published = &view.model.status.as_ref()?.content.as_ref()?.path;
    let spec = pod.spec.as_ref()?;
    let claim = view.model.spec.storage.claim_name(name);
    let volume = spec
        .volumes
        .iter()
        .flatten()
        .find(|volume| volume.persistent_volume_claim.as_ref().is_some_and(|source| source.claim_name == claim))?;
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mounts = containers.flat_map(|container| container.volume_mounts.iter().flatten());
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    // Other Models may lie on the same claim.
    let is_of_model = |path: &str| split_shared_path(namespace, path).is_none_or(|(model, _)| model == name);
    let mut paths =
        mounts.filter(|mount| mount.name == volume.name).map(|mount| mount.sub_path.clone().unwrap_or_default());
    let mounted = paths.find(|path| is_of_model(path))?;
    (&mounted != published).then(|| line(&mounted))
}

/// What keeps the pod itself from running.
fn trouble(pod: &Pod, seen: &[Event], namespace: &str) -> Vec<Finding> {
    let name = pod.name_any();
    let describe = format!("kubectl describe pod {name} -n {namespace}");
    let gates = pod.spec.iter().flat_map(|spec| spec.scheduling_gates.iter().flatten());
    let gates: Vec<String> = gates.map(|gate| line(&gate.name)).collect();
    let mut found = Vec::new();
    if !gates.is_empty() {
        let what = format!("the pod waits at the scheduling gate {}", gates.join(", "));
        let advice = "whoever put the gate there takes it away; one of the Model operator goes once the Model is ready";
        found.push(Finding::own("SchedulingGated", what, "", advice));
    }
    let placed = pod_trouble(pod).filter(|failure| {
        matches!(
            failure.reason,
            Reason::Evicted | Reason::ImagePullFailed | Reason::Unschedulable | Reason::ClaimPending
        )
    });
    if let Some(failure) = placed {
        let what = match failure.reason {
            Reason::Evicted => "the node took the pod away",
            Reason::ImagePullFailed => "the image of the pod cannot be pulled",
            _ => "the pod cannot be placed on a node",
        };
        let advice = match failure.reason {
            Reason::Evicted => "free what the node was short of; a Deployment or Job makes a new pod by itself",
            reason => reason.advice(),
        };
        found.push(Finding::own(failure.reason.as_str(), what, &failure.message, advice).with(describe));
    } else if let (Some(unmounted), Some(failure)) =
        (pod_unmounted(pod, Refusal::NotRead), events::not_started(seen, &name))
    {
        let what = match failure.reason {
            Reason::VolumeNotMounted => {
                format!("the node has not mounted what the pod needs: {}", line(&unmounted.volumes))
            }
            _ => "the node cannot start the pod".to_owned(),
        };
        let (word, advice) = (failure.reason.as_str(), failure.reason.advice());
        found.push(Finding::own(word, what, &failure.message, advice).with(describe));
    }
    found.extend(statuses(pod).filter_map(|status| crashed(status, &name, namespace)));
    found
}

/// A container that does not stay up. Its own affair, but somebody who asks why wants to know.
fn crashed(status: &ContainerStatus, pod: &str, namespace: &str) -> Option<Finding> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    let container = line(&status.name);
    let (advice, command) = match reason {
        "CrashLoopBackOff" => (
            "the files are mounted before the container starts: its own log tells why it ends",
            format!("kubectl logs {pod} -c {container} --previous -n {namespace}"),
        ),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => (
            "correct what the message names in the pod's template",
            format!("kubectl describe pod {pod} -n {namespace}"),
        ),
        _ => return None,
    };
    let what = format!("container {container} does not start");
    Some(Finding::own(reason, what, waiting.message.as_deref().unwrap_or_default(), advice).with(command))
}
