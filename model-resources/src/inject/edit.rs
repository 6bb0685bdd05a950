//! A JSON Patch that only adds.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::{Map, Value, json};

use super::Denial;

/// Additions to a pod, in order. Parents that the pod lacks are created with the first addition to them.
#[derive(Default)]
pub(super) struct Edit(Vec<AddOperation>);

impl Edit {
    /// Adds an item at the end of the list at `path`.
    pub(super) fn append(&mut self, pod: &Value, path: &[&str], item: Value) -> Result<(), Denial> {
        match find(pod, path) {
            Some(Value::Array(_)) => self.0.push(add(path, Some("-"), item)),
            None | Some(Value::Null) => match self.created(path) {
                Some(Value::Array(items)) => items.push(item),
                _ => self.create(pod, path, json!([item]))?,
            },
            Some(_) => return Err(invalid(path, "a list")),
        }
        Ok(())
    }

    /// Sets a member of the map at `path`.
    pub(super) fn insert(&mut self, pod: &Value, path: &[&str], key: &str, value: Value) -> Result<(), Denial> {
        match find(pod, path) {
            Some(Value::Object(_)) => self.0.push(add(path, Some(key), value)),
            None | Some(Value::Null) => match self.created(path) {
                Some(Value::Object(members)) => {
                    members.insert(key.to_owned(), value);
                }
                _ => self.create(pod, path, Value::Object(Map::from_iter([(key.to_owned(), value)])))?,
            },
            Some(_) => return Err(invalid(path, "a map")),
        }
        Ok(())
    }

    pub(super) fn into_patch(self) -> Patch {
        Patch(self.0.into_iter().map(PatchOperation::Add).collect())
    }

    /// Creates the parent at `path`, whose own parent every pod has.
    fn create(&mut self, pod: &Value, path: &[&str], value: Value) -> Result<(), Denial> {
        let above = path.split_last().map_or(path, |(_, above)| above);
        if !find(pod, above).is_some_and(Value::is_object) {
            return Err(invalid(above, "a map"));
        }
        self.0.push(add(path, None, value));
        Ok(())
    }

    /// The parent that an earlier addition created at `path`.
    fn created(&mut self, path: &[&str]) -> Option<&mut Value> {
        let pointer = PointerBuf::from_tokens(path.iter().copied());
        self.0.iter_mut().find(|operation| operation.path == pointer).map(|operation| &mut operation.value)
    }
}

fn find<'a>(pod: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(pod, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}

fn add(path: &[&str], last: Option<&str>, value: Value) -> AddOperation {
    AddOperation { path: PointerBuf::from_tokens(path.iter().copied().chain(last)), value }
}

fn invalid(path: &[&str], kind: &str) -> Denial {
    Denial::PodInvalid { what: format!("{} is not {kind}", path.join(".")) }
}
