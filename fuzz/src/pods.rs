//! What injection does to a pod, and what it leaves alone.

use std::collections::BTreeSet;

use json_patch::{Patch, patch};
use model_core::api::{Content, HuggingFaceSource, Source};
use model_core::labels::inject::{INJECTED, INJECTED_CONTAINERS};
use model_core::labels::{GATED, GROUP, SPECIFICATION_PREFIX, WAITS_FOR, WRITABLE};
use model_core::names::claim_name;
use model_resources::inject::{Denial, ReadyModel, Wish, inject, inject_and_gate, parse};
use serde_json::Value;

/// Injects what the pod asks for, and checks that the patch applies, that nothing of the pod is lost, that every model is
/// mounted, and that a second pass adds nothing.
pub fn check_injection(pod: &Value) {
    let Ok(Some(wish)) = parse(pod) else { return };
    if !has_good_names(pod) {
        return;
    }
    let models: Vec<_> = wish.models.iter().map(|name| published(name)).collect();
    for inject in [inject, inject_and_gate] as [fn(&Value, &Wish, &[ReadyModel]) -> Result<Patch, Denial>; 2] {
        let Ok(additions) = inject(pod, &wish, &models) else { continue };
        let after = patched(pod, &additions);
        for model in &models {
            let path = wish.mount_path(&model.name);
            let unsafe_path = !path.starts_with('/') || path == "/" || path.split('/').any(|part| part == "..");
            assert!(!unsafe_path, "{path:?} is no place for a model");
            assert!(mounts(&after, &model.volume_name(), &model.claim_name), "{} is not mounted: {after}", model.name);
        }
        let again = parse(&after).expect("it still means something").expect("it still asks");
        let second = inject(&after, &again, &models).unwrap_or_else(|denial| panic!("second pass: {denial}\n{after}"));
        assert!(second.0.is_empty(), "a second pass adds {second}\nto {after}");
    }
}

/// The pod with these additions. Checks that they apply, and that nothing of the pod is lost.
pub fn patched(pod: &Value, additions: &Patch) -> Value {
    let mut after = pod.clone();
    patch(&mut after, additions).unwrap_or_else(|error| panic!("{error}: {additions}\n{pod}"));
    assert!(keeps(pod, &after), "{additions} takes something from {pod}");
    after
}

/// A Model that is published: some on their own claim, some on one that Models share.
fn published(name: &str) -> ReadyModel {
    let is_shared = name.len() % 2 == 0;
    let id = "0123456789abcdef0123";
    let (claim_name, path) = if is_shared {
        ("shared".to_owned(), format!("models.main-currents.news/team/{name}/{id}"))
    } else {
        (claim_name(name), format!("revisions/{id}"))
    };
    let content = Content::new(id.to_owned(), path, Source::HuggingFace(HuggingFaceSource::new("acme/$(HOME)")));
    ReadyModel { name: name.to_owned(), claim_name, content }
}

fn mounts(pod: &Value, volume: &str, claim: &str) -> bool {
    let list = |of: &Value, field: &str| of[field].as_array().cloned().unwrap_or_default();
    let spec = &pod["spec"];
    let is_claim = |it: &Value| it["name"] == volume && it["persistentVolumeClaim"]["claimName"] == claim;
    let mut containers = list(spec, "containers");
    containers.extend(list(spec, "initContainers"));
    let is_mount = |mount: &Value| mount["name"] == volume;
    list(spec, "volumes").iter().any(is_claim)
        && containers.iter().any(|it| list(it, "volumeMounts").iter().any(is_mount))
}

/// Whether each container has a name of its own that is one. The API server refuses other pods after the webhook.
fn has_good_names(pod: &Value) -> bool {
    let lists = ["containers", "initContainers"].map(|field| pod["spec"][field].as_array());
    let names: Vec<_> =
        lists.into_iter().flatten().flatten().map(|it| it["name"].as_str().unwrap_or_default()).collect();
    let distinct: BTreeSet<_> = names.iter().collect();
    let is_name =
        |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    distinct.len() == names.len() && names.iter().all(is_name)
}

/// Whether all of `before` is in `after`, lists with their items in the same places. An absent list is written `null` too.
fn keeps(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Null, _) => true,
        (Value::Object(before), Value::Object(after)) => {
            before.iter().all(|(key, value)| after.get(key).is_some_and(|now| is_ours(key) || keeps(value, now)))
        }
        (Value::Array(before), Value::Array(after)) => {
            before.len() <= after.len() && before.iter().zip(after).all(|(before, after)| keeps(before, after))
        }
        (before, after) => before == after,
    }
}

/// Labels and annotations that injection writes, whatever a user had put there.
fn is_ours(key: &str) -> bool {
    let by_prefix = |(prefix, name): (&str, &str)| {
        [GROUP, SPECIFICATION_PREFIX].contains(&prefix) && [INJECTED, INJECTED_CONTAINERS].contains(&name)
    };
    [WRITABLE, GATED, WAITS_FOR].contains(&key) || key.split_once('/').is_some_and(by_prefix)
}
