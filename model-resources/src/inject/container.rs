//! The containers that get the mounts.

use model_core::labels::GROUP;
use model_core::names::claim_name;
use serde_json::Value;

use super::{Containers, Denial, Wish, list, member};

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
    /// The containers that the wish names, or that an earlier pass chose, or the first one, or all. Never empty, each
    /// once, ordinary containers first.
    ///
    /// Init containers count, native sidecars among them. Ephemeral containers cannot mount part of a volume, so they
    /// never do.
    pub(super) fn choose(pod: &'a Value, wish: &Wish, record: &str) -> Result<Vec<Self>, Denial> {
        let mut all: Vec<Self> = Self::all(pod);
        if let Containers::Named { annotation, names } = &wish.containers {
            if let Some(missing) = names.iter().find(|name| all.iter().all(|target| target.name != *name)) {
                return Err(Denial::ContainerNotFound {
                    annotation: annotation.clone(),
                    container: missing.clone(),
                    available: all.iter().map(|target| target.name.to_owned()).collect(),
                });
            }
            all.retain(|target| names.iter().any(|name| name == target.name));
            return Ok(all);
        }
        if !all.iter().any(|target| target.field == ORDINARY) {
            return Err(Denial::PodInvalid { what: "spec.containers has no container".to_owned() });
        }
        // The record alone is no proof that an earlier pass wrote it: our mounts are.
        let recorded: Vec<_> = member(pod, "annotations", record).into_iter().flat_map(|all| all.split(',')).collect();
        let was_chosen = |name: &str| all.iter().any(|target| target.name == name && target.has_mounts(wish));
        if !recorded.is_empty() && recorded.iter().all(|name| was_chosen(name)) {
            all.retain(|target| recorded.contains(&target.name));
        } else if wish.containers == Containers::First {
            all.truncate(1);
        }
        Ok(all)
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
        of(ORDINARY).chain(of("initContainers")).collect()
    }

    fn has_mounts(&self, wish: &Wish) -> bool {
        let volumes: Vec<_> = wish.models.iter().map(|model| claim_name(model)).collect();
        list(self.json, "volumeMounts").any(|mount| {
            let text = |field| mount.get(field).and_then(Value::as_str).unwrap_or_default();
            // On a claim that Models share their directories are ours.
            let is_shared = || text("subPath").starts_with(GROUP);
            volumes.iter().any(|volume| volume == text("name")) || is_shared()
        })
    }

    /// The path of one of its fields in the pod.
    pub(super) fn path<'p>(&'p self, field: &'p str) -> [&'p str; 4] {
        ["spec", self.field, &self.index, field]
    }
}

const ORDINARY: &str = "containers";
