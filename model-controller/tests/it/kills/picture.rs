//! What a history leaves behind, without what differs from run to run.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::stage::Stage;

/// Fields that tell when and how often, not what.
const NOISE: [&str; 5] = ["managedFields", "resourceVersion", "creationTimestamp", "uid", "deletionTimestamp"];
/// Steps on the way: which of them there is time to tell of depends on when somebody looks. A failed pod tells its reason
/// before its Job has failed.
const PASSING: [&str; 5] =
    ["Pending: JobStale", "Ready: JobStale", "Downloading: JobStale", "WaitingForModel", "Downloading: NetworkError"];

/// The objects of a namespace by `kind/name`, what lies on its claims, which Jobs there were, and what was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub objects: BTreeMap<String, Value>,
    /// How many Jobs of each name and content.
    pub jobs: BTreeMap<String, usize>,
    /// How often each Event, by `kind/name action: reason`.
    pub events: BTreeMap<String, usize>,
}

impl Picture {
    pub async fn of(stage: &Stage) -> Self {
        let mut found = Found::default();
        found.add(&stage.models).await;
        found.add(&stage.claims).await;
        found.add(&stage.jobs).await;
        found.add(&stage.pods).await;
        let Found { mut objects, names } = found;
        for object in objects.values_mut() {
            normalise(object, &names, &stage.namespace);
        }
        let mut jobs = BTreeMap::new();
        {
            let past = stage.cluster.past();
            for what in past.jobs.values() {
                *jobs.entry(what.clone()).or_default() += 1;
            }
            for ((claim, model), disk) in &past.disks {
                let Some(claim) = names.get(claim) else { continue };
                objects.insert(
                    format!("{model} on {claim}"),
                    json!({ "published": disk.published, "setAside": disk.set_aside }),
                );
            }
        }
        Self { objects, jobs, events: events(stage).await }
    }

    /// What differs from the picture of a run in which nobody died. Empty: nothing that matters.
    ///
    /// An Event may be told once more than without the death. A prune Job may be made once more: its step is repeated.
    pub fn differences(&self, undisturbed: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for key in undisturbed.objects.keys().chain(self.objects.keys()) {
            let (want, got) = (undisturbed.objects.get(key), self.objects.get(key));
            if want != got {
                found.extend(first_difference(key, want.unwrap_or(&Value::Null), got.unwrap_or(&Value::Null)));
            }
        }
        for what in undisturbed.jobs.keys().chain(self.jobs.keys()) {
            let count = |picture: &Self| picture.jobs.get(what).copied().unwrap_or(0);
            let (want, got) = (count(undisturbed), count(self));
            let most = if what.starts_with("model-prune-") { want + 1 } else { want };
            if !(want..=most).contains(&got) {
                found.push(format!("Job {what}: {got} times instead of {want}"));
            }
        }
        for what in undisturbed.events.keys().chain(self.events.keys()) {
            let count = |picture: &Self| picture.events.get(what).copied().unwrap_or(0);
            let (want, got) = (count(undisturbed), count(self));
            let passing = PASSING.iter().any(|reason| what.ends_with(reason));
            if !passing && !(want..=want + 1).contains(&got) {
                found.push(format!("Event {what}: {got} times instead of {want}"));
            }
        }
        found.sort();
        found.dedup();
        found
    }
}

#[derive(Default)]
struct Found {
    objects: BTreeMap<String, Value>,
    /// What a UID is the UID of.
    names: BTreeMap<String, String>,
}

impl Found {
    /// Takes in all objects of one kind, but for the pods of the operator's Jobs.
    async fn add<K>(&mut self, api: &Api<K>)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let kind = K::kind(&());
        for object in api.list(&ListParams::default()).await.expect("it can be listed").items {
            if object.owner_references().iter().any(|owner| owner.kind == "Job") {
                continue;
            }
            let key = format!("{kind}/{}", object.name_any());
            self.names.insert(object.uid().expect("a UID"), key.clone());
            self.objects.insert(key, serde_json::to_value(&object).expect("JSON"));
        }
    }
}

async fn events(stage: &Stage) -> BTreeMap<String, usize> {
    let events: Api<Event> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let mut counts = BTreeMap::new();
    for event in events.list(&ListParams::default()).await.expect("Events can be listed").items {
        let of = event.involved_object;
        let key = format!(
            "{}/{} {}: {}",
            of.kind.unwrap_or_default(),
            of.name.unwrap_or_default(),
            event.action.unwrap_or_default(),
            event.reason.unwrap_or_default()
        );
        let times = event.series.and_then(|series| series.count).unwrap_or(1);
        *counts.entry(key).or_default() += usize::try_from(times).unwrap_or(1);
    }
    counts
}

/// Drops what is noise, and writes for each UID whose it is, for each time and the namespace only that it is one.
fn normalise(value: &mut Value, names: &BTreeMap<String, String>, namespace: &str) {
    match value {
        Value::Object(fields) => {
            // Of an owner reference the UID tells whether the owner is still the same.
            let is_reference = fields.contains_key("kind") && fields.contains_key("name");
            fields.retain(|key, _| !NOISE.contains(&key.as_str()) || (key == "uid" && is_reference));
            fields.values_mut().for_each(|field| normalise(field, names, namespace));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| normalise(item, names, namespace)),
        Value::String(text) => {
            if let Some(name) = names.get(text) {
                *text = format!("<UID of {name}>");
            } else if is_uid(text) {
                "<another UID>".clone_into(text);
            } else {
                *text = without_times(&text.replace(namespace, "<namespace>"));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Messages name times as well.
fn without_times(text: &str) -> String {
    let word = |word: &str| match Timestamp::from_str(word.trim_end_matches([';', ',', '.'])) {
        Ok(_) => "<time>".to_owned(),
        Err(_) => word.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn is_uid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.chars().all(|letter| letter == '-' || letter.is_ascii_hexdigit())
}

/// The deepest fields in which two values differ.
fn first_difference(path: &str, want: &Value, got: &Value) -> Vec<String> {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => want
            .keys()
            .chain(got.keys())
            .filter(|key| want.get(*key) != got.get(*key))
            .flat_map(|key| {
                let of = |fields: &serde_json::Map<String, Value>| fields.get(key).cloned().unwrap_or_default();
                first_difference(&format!("{path}.{key}"), &of(want), &of(got))
            })
            .collect(),
        (Value::Array(want), Value::Array(got)) if want.len() == got.len() => {
            let pairs = want.iter().zip(got).enumerate().filter(|(_, (want, got))| want != got);
            pairs.flat_map(|(index, (want, got))| first_difference(&format!("{path}[{index}]"), want, got)).collect()
        }
        _ => vec![format!("{path} is {got} instead of {want}")],
    }
}
