//! The volume of a model and its mount, unless they are there, and unless something is in their place.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::container::Target;
use super::{Denial, ReadyModel, Wish, list};

/// The volumes that the pod needs: one for each claim, in the order of the models. Those that it has are left out.
pub(super) fn volumes(pod: &Value, wish: &Wish, models: &[ReadyModel]) -> Result<Vec<Value>, Denial> {
    let mut names = BTreeSet::new();
    let first_of_claim = models.iter().filter(|model| names.insert(model.volume_name()));
    first_of_claim.filter_map(|model| volume(pod, wish, model).transpose()).collect()
}

/// The volume that the pod needs for the model. `None` when the pod has it.
fn volume(pod: &Value, wish: &Wish, model: &ReadyModel) -> Result<Option<Value>, Denial> {
    let name = model.volume_name();
    let existing =
        pod.get("spec").and_then(|spec| list(spec, "volumes").find(|volume| volume["name"] == name.as_str()));
    let Some(existing) = existing else {
        let claim = if wish.read_only {
            json!({ "claimName": model.claim_name, "readOnly": true })
        } else {
            json!({ "claimName": model.claim_name })
        };
        return Ok(Some(json!({ "name": name, "persistentVolumeClaim": claim })));
    };
    let claim = &existing["persistentVolumeClaim"];
    if claim["claimName"] != model.claim_name.as_str() {
        let (claim, model) = (model.claim_name.clone(), model.name.clone());
        return Err(Denial::VolumeTaken { volume: name, claim, model });
    }
    if claim["readOnly"] == true && !wish.read_only {
        return Err(Denial::VolumeReadOnly { volume: name });
    }
    Ok(None)
}

/// The mount that the container needs for the model. `None` when the container has it.
///
/// `marked` says that the pod carries the label of an earlier pass. Then a mount of the model's volume at the same
/// path stays as it is, even if newer content was published in between.
///
/// A mount above ours hides nothing of ours. One at the same path or below it would hide files of the model.
pub(super) fn mount(target: &Target, wish: &Wish, model: &ReadyModel, marked: bool) -> Result<Option<Value>, Denial> {
    let path = wish.mount_path(&model.name);
    let volume = model.volume_name();
    let existing: Vec<_> = list(target.json, "volumeMounts").map(Mounted::read).collect();
    let is_ours = |mount: &Mounted| {
        let same_content = mount.sub_path == model.content.path && !mount.has_expression;
        mount.normal_path() == path && mount.volume == volume && (same_content || marked)
    };
    let hides = |mount: &Mounted| {
        let there = mount.normal_path();
        there.strip_prefix(&path).is_some_and(|below| below.is_empty() || below.starts_with('/'))
    };
    if let Some(mount) = existing.iter().find(|mount| hides(mount) && !is_ours(mount)) {
        return Err(Denial::MountTaken {
            container: target.name.to_owned(),
            volume: mount.volume.to_owned(),
            taken: mount.path.to_owned(),
            model: model.name.clone(),
            path,
        });
    }
    if existing.iter().any(is_ours) {
        return Ok(None);
    }
    let mut mount = json!({ "name": volume, "mountPath": path });
    if wish.read_only {
        mount["readOnly"] = json!(true);
    }
    if !model.content.path.is_empty() {
        mount["subPath"] = json!(model.content.path);
    }
    Ok(Some(mount))
}

/// A mount that the container has.
struct Mounted<'a> {
    volume: &'a str,
    path: &'a str,
    sub_path: &'a str,
    has_expression: bool,
}

impl<'a> Mounted<'a> {
    fn read(mount: &'a Value) -> Self {
        let text = |field: &str| mount.get(field).and_then(Value::as_str).unwrap_or_default();
        Self {
            volume: text("name"),
            path: text("mountPath"),
            sub_path: text("subPath"),
            has_expression: !text("subPathExpr").is_empty(),
        }
    }

    fn normal_path(&self) -> String {
        normal_path(self.path)
    }
}

/// An absolute path without repeated slashes, `.` segments and a slash at its end.
pub(super) fn normal_path(path: &str) -> String {
    let segments: Vec<_> = path.split('/').filter(|segment| !matches!(*segment, "" | ".")).collect();
    format!("/{}", segments.join("/"))
}
