//! Scheduling gates: when a pod that waits for its models may be scheduled.
//!
//! The kubelet makes an empty directory of a `subPath` that does not exist, and the mounts of a pod never change. So what
//! counts is what the pod itself mounts, not what it once asked for: [`judge`] lets it go only when the content of each of
//! its mounts is published.

use json_patch::jsonptr::PointerBuf;
use json_patch::{Patch, PatchOperation, RemoveOperation, TestOperation};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use model_core::api::{Content, Model, Phase};
use model_core::labels::{GATE, GATED, WAITS_FOR};
use model_core::names::{claim_name, is_model_name, revision_path, shared_volume_name, split_shared_path};
use model_core::persisted::wanted_content_id;
use model_core::status::READY;

use crate::inject::{Denial, ready_model};

/// Content that a pod mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// Name of the Model.
    pub model: String,
    /// Directory on the claim, relative to its root. Empty: the root itself.
    pub path: String,
    /// Content id. `None`: any content of this Model will do, because nothing says which.
    pub id: Option<String>,
}

/// What becomes of a gated pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has no gate of ours, or is being deleted: none of our business.
    NotGated,
    /// Everything that it mounts is published: take the gate off.
    Lift,
    /// It waits.
    Wait(News),
    /// A Model that it waits for is not there. It waits until somebody creates the Model.
    Gone(News),
    /// It waits for content that will not be published any more.
    Superseded(News),
}

/// What is told about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// One sentence for people.
    pub message: String,
    /// Equal for what need not be told again: it has no figures in it.
    pub key: String,
    /// Whether somebody has to do something.
    pub is_trouble: bool,
}

/// Everything of a Model that the pod's containers mount from the claims that injection gave it.
#[must_use]
pub fn awaited(pod: &Pod) -> Vec<Awaited> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let recorded = |model: &str| {
        let all = pod.metadata.annotations.as_ref()?.get(WAITS_FOR)?;
        let id = all.split(',').find_map(|entry| entry.strip_prefix(model)?.strip_prefix('='))?;
        Some(id.to_owned())
    };
    let mut found = Vec::new();
    for (model, volume) in own_claims(spec) {
        let paths = sub_paths(spec, volume);
        let revisions = paths.iter().filter(|path| revision_of(path).is_some());
        let mut all: Vec<_> = revisions
            .map(|path| Awaited {
                model: model.to_owned(),
                path: (*path).to_owned(),
                id: revision_of(path).map(str::to_owned),
            })
            .collect();
        // With a sub path of ours beside it, a mount of the root is the author's own.
        if all.is_empty() && paths.contains(&"") {
            all.push(Awaited { model: model.to_owned(), path: String::new(), id: recorded(model) });
        }
        found.extend(all);
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    for path in shared_claims(spec).flat_map(|volume| sub_paths(spec, volume)) {
        let Some((model, rest)) = split_shared_path(namespace, path) else { continue };
        let id = if rest.is_empty() { recorded(model) } else { revision_of(rest).map(str::to_owned) };
        found.push(Awaited { model: model.to_owned(), path: path.to_owned(), id });
    }
    found
}

/// Names of the Models whose own claims are volumes of the pod under the names that injection gives them, and those names.
fn own_claims(spec: &PodSpec) -> impl Iterator<Item = (&str, &str)> {
    let prefix = claim_name("");
    claims(spec).filter_map(move |(volume, claim)| {
        (claim == volume).then_some(())?;
        claim.strip_prefix(&prefix).filter(|name| is_model_name(name)).map(|name| (name, volume))
    })
}

/// Volumes of the pod that are claims which Models share, under the names that injection gives them.
fn shared_claims(spec: &PodSpec) -> impl Iterator<Item = &str> {
    claims(spec).filter(|(volume, claim)| *volume == shared_volume_name(claim)).map(|(volume, _)| volume)
}

/// Volume and claim of each volume that is a claim.
fn claims(spec: &PodSpec) -> impl Iterator<Item = (&str, &str)> {
    spec.volumes.iter().flatten().filter_map(|volume| {
        let claim = volume.persistent_volume_claim.as_ref()?;
        Some((volume.name.as_str(), claim.claim_name.as_str()))
    })
}

/// The sub paths, each once, at which containers mount the volume.
fn sub_paths<'a>(spec: &'a PodSpec, volume: &str) -> Vec<&'a str> {
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mounts = containers.flat_map(|container| container.volume_mounts.iter().flatten());
    let mut paths: Vec<_> = mounts
        .filter(|mount| mount.name == volume && mount.sub_path_expr.is_none())
        .map(|mount| mount.sub_path.as_deref().unwrap_or_default())
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

fn revision_of(path: &str) -> Option<&str> {
    path.strip_prefix(revision_path("").as_str())
}

/// Decides about one pod. `find` looks a Model of the pod's namespace up; `None` stands for one that is not there or
/// that this version cannot read. Pure but for that.
pub fn judge<'m>(pod: &Pod, find: impl Fn(&str) -> Option<&'m Model>) -> Verdict {
    if gate_index(pod).is_none() || pod.metadata.deletion_timestamp.is_some() {
        return Verdict::NotGated;
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let (mut superseded, mut gone, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    for content in awaited(pod) {
        match content.state(namespace, find(&content.model)) {
            State::Published => {}
            State::Superseded(news) => superseded.push(news),
            State::Gone(news) => gone.push(news),
            State::NotYet(news) => waits.push(news),
        }
    }
    if let Some(news) = News::joined(superseded) {
        return Verdict::Superseded(news);
    }
    if let Some(news) = News::joined(gone) {
        return Verdict::Gone(news);
    }
    News::joined(waits).map_or(Verdict::Lift, Verdict::Wait)
}

/// Takes our gate and its label off the pod, and nothing else: gates of others stay.
///
/// Each test makes the whole patch fail where the pod is not the one that was judged. `None`: the pod has no gate of
/// ours.
#[must_use]
pub fn lift(pod: &Pod) -> Option<Patch> {
    let index = gate_index(pod)?.to_string();
    let test = |path: &[&str], value: &str| {
        PatchOperation::Test(TestOperation {
            path: PointerBuf::from_tokens(path.iter().copied()),
            value: value.to_owned().into(),
        })
    };
    let remove =
        |path: &[&str]| PatchOperation::Remove(RemoveOperation { path: PointerBuf::from_tokens(path.iter().copied()) });
    let mut operations = vec![
        test(&["metadata", "uid"], pod.metadata.uid.as_deref()?),
        test(&["metadata", "resourceVersion"], pod.metadata.resource_version.as_deref()?),
        test(&["spec", "schedulingGates", &index, "name"], GATE),
        remove(&["spec", "schedulingGates", &index]),
    ];
    if pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(GATED)) {
        operations.push(remove(&["metadata", "labels", GATED]));
    }
    Some(Patch(operations))
}

fn gate_index(pod: &Pod) -> Option<usize> {
    pod.spec.as_ref()?.scheduling_gates.as_ref()?.iter().position(|gate| gate.name == GATE)
}

/// How it stands with content that a pod mounts.
enum State {
    Published,
    NotYet(News),
    Gone(News),
    Superseded(News),
}

impl Awaited {
    fn state(&self, namespace: &str, model: Option<&Model>) -> State {
        let Self { model: name, path, id } = self;
        let Some(model) = model.filter(|model| model.metadata.deletion_timestamp.is_none()) else {
            let message = format!(
                "model {name} is gone, or cannot be read by this version of the operator: create it again with the same source and version, or delete this pod"
            );
            return State::Gone(News { message, key: format!("{name} gone"), is_trouble: true });
        };
        let published = ready_model(name, namespace, Some(model)).map(|ready| ready.content);
        let is_mounted = |content: &Content| match id {
            Some(id) => content.id == *id && content.path == *path,
            None => true,
        };
        if published.as_ref().is_ok_and(is_mounted) {
            return State::Published;
        }
        let wanted = wanted_content_id(model);
        let elsewhere = published.as_ref().is_ok_and(|content| Some(&content.id) == id.as_ref());
        if id.as_ref().is_some_and(|id| *id != wanted) || elsewhere {
            let message = format!(
                "model {name} now asks for other content than this pod was created for, and the mounts of a pod cannot change: delete the pod and create it again"
            );
            return State::Superseded(News { message, key: format!("{name} superseded"), is_trouble: true });
        }
        let phase = model.status.as_ref().and_then(|status| status.phase).unwrap_or_default();
        let attempt = model.status.as_ref().and_then(|status| status.download.as_ref()).map_or(0, |run| run.attempt);
        let (message, is_trouble) = match published {
            Ok(_) => (format!("waiting for model {name}: newer content is being downloaded"), false),
            Err(Denial::ModelNotReady { state, advice, .. }) if phase == Phase::Failed => {
                (format!("waiting for model {name}: it {state}; {advice}"), true)
            }
            Err(Denial::ModelNotReady { state, .. }) => {
                let again = phase == Phase::Downloading && attempt > 1;
                let attempt = if again { format!(" (attempt {attempt})") } else { String::new() };
                // Another reason is told anew, so it is said.
                let held_up = phase == Phase::Downloading && ![phase.as_str(), ""].contains(&reason(model));
                let why = if held_up { format!(": {}", reason(model)) } else { String::new() };
                (format!("waiting for model {name}: it {state}{attempt}{why}"), false)
            }
            Err(denial) => (format!("waiting for model {name}: {denial}"), true),
        };
        let key = format!("{name} {} {} {attempt}", phase.as_str(), reason(model));
        State::NotYet(News { message, key, is_trouble })
    }
}

/// The reason of the condition `Ready`. Empty where nothing is recorded yet.
fn reason(model: &Model) -> &str {
    let conditions = model.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|condition| condition.type_ == READY)
        .map(|condition| condition.reason.as_str())
        .next()
        .unwrap_or_default()
}

impl News {
    /// All of them as one. `None`: there are none.
    fn joined(all: Vec<Self>) -> Option<Self> {
        let is_trouble = all.iter().any(|news| news.is_trouble);
        let (messages, keys): (Vec<_>, Vec<_>) = all.into_iter().map(|news| (news.message, news.key)).unzip();
        (!keys.is_empty()).then(|| Self { message: messages.join("; "), key: keys.join(", "), is_trouble })
    }
}
