//! The container that gets the mounts.

use model_core::names::claim_name;
use serde_json::Value;

use super::{Denial, Wish, list, member};

/// A container of the pod, and where it stands.
pub(super) struct Target<'a> {
    /// `containers` or `initContainers`.
    field: &'static str,
    index: String,
    /// Its name.
    pub(super) name: &'a str,
    /// Its JSON, an object.
    pub(super) json: &'a Value,
}

impl<'a> Target<'a> {
    /// The container that the wish names, or that an earlier pass chose, or the first one.
    ///
    /// An init container can be named, too. Ephemeral containers cannot mount part of a volume, so they never count.
    pub(super) fn choose(pod: &'a Value, wish: &Wish, record: &str) -> Result<Self, Denial> {
        let all: Vec<Self> = Self::all(pod);
        if let Some(setting) = &wish.container {
            let available = all.iter().map(|target| target.name.to_owned()).collect();
            return all.into_iter().find(|target| target.name == setting.value).ok_or_else(|| {
                Denial::ContainerNotFound {
                    annotation: setting.annotation.clone(),
                    container: setting.value.clone(),
                    available,
                }
            });
        }
        // The record alone is no proof that an earlier pass wrote it: our mounts are.
        let recorded = member(pod, "annotations", record);
        let earlier = all.iter().position(|target| Some(target.name) == recorded && target.has_mounts(wish));
        let first = all.iter().position(|target| target.field == "containers");
        let chosen = earlier.or(first);
        chosen
            .and_then(|index| all.into_iter().nth(index))
            .ok_or_else(|| Denial::PodInvalid { what: "spec.containers has no container".to_owned() })
    }

    /// Every container with a name, then every init container.
    fn all(pod: &'a Value) -> Vec<Self> {
        let of = |field: &'static str| {
            let containers = pod.get("spec").into_iter().flat_map(move |spec| list(spec, field));
            containers.enumerate().filter_map(move |(index, json)| {
                let name = json.get("name")?.as_str()?;
                Some(Self { field, index: index.to_string(), name, json })
            })
        };
        of("containers").chain(of("initContainers")).collect()
    }

    fn has_mounts(&self, wish: &Wish) -> bool {
        let volumes: Vec<_> = wish.models.iter().map(|model| claim_name(model)).collect();
        list(self.json, "volumeMounts").any(|mount| {
            mount.get("name").and_then(Value::as_str).is_some_and(|name| volumes.iter().any(|volume| volume == name))
        })
    }

    /// The path of one of its fields in the pod.
    pub(super) fn path<'p>(&'p self, field: &'p str) -> [&'p str; 4] {
        ["spec", self.field, &self.index, field]
    }
}
