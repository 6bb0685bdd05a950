//! What a pod asks for: its annotations, read once.

use std::collections::BTreeMap;
use std::str::FromStr;

use model_core::labels::inject::{
    CONTAINER, DEFAULT_MOUNT_PATH, INJECT, INJECT_ENV, MOUNT_PATH, OFFLINE, READ_ONLY, WHEN_NOT_READY,
};
use model_core::labels::{GROUP, SPECIFICATION_PREFIX};
use model_core::names::is_model_name;
use serde_json::{Value, json};

use super::Denial;
use super::mount::normal_path;

/// Stands for the Model's name in a mount path.
const NAME: &str = "{name}";

/// Stands for every container.
const EVERY: &str = "*";

/// What a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The prefix of the annotation that asks. Label and record are written under the same one.
    pub prefix: &'static str,
    /// Names of the wanted Models: valid, each once, in the order of the annotation. Never empty.
    pub models: Vec<String>,
    /// Whether mounts and volumes are read-only.
    pub read_only: bool,
    /// The containers that get the mounts.
    pub containers: Containers,
    /// Whether `MODEL_…` variables are set.
    pub inject_env: bool,
    /// Whether the libraries of Hugging Face are told to open no connections.
    pub offline: bool,
    /// What becomes of the pod while a Model is not Ready. `None`: it does not say.
    pub when_not_ready: Option<WhenNotReady>,
    /// Mount path with `{name}` in it wherever paths of several Models have to differ.
    mount_path: String,
}

/// What becomes of a pod while a Model that it asks for is not Ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenNotReady {
    /// It is not admitted.
    #[default]
    Deny,
    /// It is admitted and not scheduled before its models are published.
    Wait,
}

impl FromStr for WhenNotReady {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            _ if text.eq_ignore_ascii_case("deny") => Ok(Self::Deny),
            _ if text.eq_ignore_ascii_case("wait") => Ok(Self::Wait),
            _ => Err(UnknownWord),
        }
    }
}

/// The text is none of the words of [`WhenNotReady`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{EITHER}")]
pub struct UnknownWord;

const EITHER: &str = "write \"deny\" or \"wait\"";

/// The containers of a pod that get the mounts. Those that an earlier pass chose stay chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Containers {
    /// The first one that is no init container.
    #[default]
    First,
    /// All that the pod has, init containers and native sidecars among them, ephemeral ones not.
    Every,
    /// Those of these names, whatever their kind.
    Named {
        /// The whole key of the annotation, for messages.
        annotation: String,
        /// Names, each once. Never empty.
        names: Vec<String>,
    },
}

/// One annotation of a pod.
#[derive(Clone, Debug)]
struct Setting {
    /// The whole key, for messages.
    annotation: String,
    /// Its value, without surrounding white space.
    value: String,
}

impl Wish {
    /// Where the Model is mounted: an absolute path without a slash at its end.
    #[must_use]
    pub fn mount_path(&self, model: &str) -> String {
        normal_path(&self.mount_path.replace(NAME, model))
    }
}

/// Reads what a pod asks for. `None` when it does not ask for any model.
///
/// Annotations count under the group's own prefix and under that of the specification. Spaces around names, empty
/// entries and repeated names are dropped.
///
/// # Errors
/// When an annotation has a value that means nothing, or different values under the two prefixes.
pub fn parse(pod: &Value) -> Result<Option<Wish>, Denial> {
    let Some(asked) = setting(pod, INJECT)? else { return Ok(None) };
    let models = model_names(&asked)?;
    Ok(Some(Wish {
        prefix: if asked.annotation.starts_with(GROUP) { GROUP } else { SPECIFICATION_PREFIX },
        read_only: boolean(setting(pod, READ_ONLY)?, true)?,
        inject_env: boolean(setting(pod, INJECT_ENV)?, true)?,
        offline: boolean(setting(pod, OFFLINE)?, false)?,
        when_not_ready: when_not_ready(setting(pod, WHEN_NOT_READY)?)?,
        containers: containers(setting(pod, CONTAINER)?)?,
        mount_path: mount_path(setting(pod, MOUNT_PATH)?, &models)?,
        models,
    }))
}

/// The Models that a pod with these annotations asks for. Empty where it asks for none, or for what means nothing.
#[must_use]
pub fn asks_for(annotations: &BTreeMap<String, String>) -> Vec<String> {
    of_annotations(annotations).map(|wish| wish.models).unwrap_or_default()
}

/// The Models that a pod with these annotations asks to write to. Empty where it asks for none, for read-only mounts, or
/// for what means nothing.
#[must_use]
pub fn writes_to(annotations: &BTreeMap<String, String>) -> Vec<String> {
    of_annotations(annotations).filter(|wish| !wish.read_only).map(|wish| wish.models).unwrap_or_default()
}

fn of_annotations(annotations: &BTreeMap<String, String>) -> Option<Wish> {
    parse(&json!({ "metadata": { "annotations": annotations } })).ok().flatten()
}

fn setting(pod: &Value, key: &str) -> Result<Option<Setting>, Denial> {
    let under = |prefix: &str| {
        let annotation = format!("{prefix}/{key}");
        let value = super::member(pod, "annotations", &annotation)?.trim().to_owned();
        Some(Setting { annotation, value })
    };
    match (under(GROUP), under(SPECIFICATION_PREFIX)) {
        (Some(first), Some(second)) if first.value != second.value => Err(Denial::AnnotationsDiffer {
            first: first.annotation,
            first_value: first.value,
            second: second.annotation,
            second_value: second.value,
        }),
        (first, second) => Ok(first.or(second)),
    }
}

fn invalid(setting: Setting, expected: &'static str) -> Denial {
    Denial::AnnotationInvalid { annotation: setting.annotation, value: setting.value, expected }
}

/// The entries of a list, each once, without spaces around them.
fn entries(list: &str) -> Vec<&str> {
    let mut entries: Vec<&str> = Vec::new();
    for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    entries
}

fn model_names(asked: &Setting) -> Result<Vec<String>, Denial> {
    let names = entries(&asked.value);
    if let Some(&name) = names.iter().find(|name| !is_model_name(name)) {
        let asked = Setting { value: name.to_owned(), ..asked.clone() };
        return Err(invalid(asked, "no Model can have this name; write names of Models, separated by commas"));
    }
    if names.is_empty() {
        return Err(invalid(asked.clone(), "write at least one name of a Model, or remove the annotation"));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn containers(setting: Option<Setting>) -> Result<Containers, Denial> {
    let Some(setting) = setting else { return Ok(Containers::First) };
    match entries(&setting.value)[..] {
        [] => Err(invalid(setting, "write names of containers, separated by commas, or \"*\" for all of them")),
        [EVERY] => Ok(Containers::Every),
        ref names if names.contains(&EVERY) => {
            Err(invalid(setting, "\"*\" stands for all containers: write it alone, or names only"))
        }
        ref names => {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            Ok(Containers::Named { annotation: setting.annotation, names })
        }
    }
}

fn boolean(setting: Option<Setting>, default: bool) -> Result<bool, Denial> {
    match setting {
        None => Ok(default),
        Some(setting) if setting.value.eq_ignore_ascii_case("true") => Ok(true),
        Some(setting) if setting.value.eq_ignore_ascii_case("false") => Ok(false),
        Some(setting) => Err(invalid(setting, "write \"true\" or \"false\"")),
    }
}

fn when_not_ready(setting: Option<Setting>) -> Result<Option<WhenNotReady>, Denial> {
    let Some(setting) = setting else { return Ok(None) };
    setting.value.parse().map(Some).map_err(|UnknownWord| invalid(setting, EITHER))
}

/// The path with `{name}` in it wherever several models need different paths.
fn mount_path(setting: Option<Setting>, models: &[String]) -> Result<String, Denial> {
    let Some(setting) = setting else { return Ok(DEFAULT_MOUNT_PATH.to_owned()) };
    let path = &setting.value;
    if !path.starts_with('/') {
        return Err(invalid(setting, "write an absolute path, such as /models/{name}"));
    }
    if path.split('/').any(|segment| segment == "..") {
        return Err(invalid(setting, "write a path without .. in it"));
    }
    if path.contains(|c: char| c == ':' || c.is_control()) {
        return Err(invalid(setting, "write a path without colons and control characters"));
    }
    if models.len() > 1 && !path.contains(NAME) {
        return Ok(format!("{path}/{NAME}"));
    }
    if normal_path(path) == "/" {
        return Err(invalid(setting, "a model cannot replace the container's root directory; write a path below it"));
    }
    Ok(setting.value)
}
