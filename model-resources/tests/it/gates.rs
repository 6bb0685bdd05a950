//! Pods that wait: what they are given, and when they are let go.

use json_patch::Patch;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use model_core::api::{Content, Model, Phase};
use model_core::names::revision_path;
use model_core::persisted::wanted_content_id;
use model_resources::gate::{Verdict, awaited, judge, lift};
use model_resources::inject::{
    ContentPlace, Denial, WhenNotReady, awaited_model, inject, inject_and_gate, parse, ready_model,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixtures::{hugging_face, model, status};
use crate::injection::apply;
use crate::injection_properties;

const GATE: &str = "models.main-currents.news/model-not-ready";
const GATED: &str = "models.main-currents.news/gated";
const WAITS_FOR: &str = "models.main-currents.news/waits-for";

/// The Model after its spec was changed so many times.
fn version(name: &str, version: usize) -> Model {
    let mut model = model(name, hugging_face());
    model.spec.version = Some(version.to_string());
    model
}

/// What a download of the Model's spec publishes.
fn content(model: &Model, place: ContentPlace) -> Content {
    awaited_model("x", "team-a", Some(model), place).unwrap().content
}

fn with_status(mut model: Model, phase: Phase, content: Option<Content>) -> Model {
    model.status = Some(status(phase, content));
    model
}

/// A pod that asks for these Models and was created while all of them are as given.
fn waiting(models: &[Model], place: ContentPlace) -> Value {
    let names: Vec<_> = models.iter().map(|model| model.metadata.name.clone().unwrap()).collect();
    let pod = json!({
        "metadata": {
            "name": "app", "namespace": "team-a", "uid": "uid-1", "resourceVersion": "7",
            "annotations": { "models.main-currents.news/inject": names.join(",") },
        },
        "spec": { "containers": [{ "name": "app", "image": "app" }] },
    });
    apply(&pod, &gated(&pod, models, place).unwrap())
}

fn gated(pod: &Value, models: &[Model], place: ContentPlace) -> Result<Patch, Denial> {
    let wish = parse(pod)?.unwrap();
    let awaited: Vec<_> = wish
        .models
        .iter()
        .map(|name| {
            let model = models.iter().find(|model| model.metadata.name.as_ref() == Some(name));
            ready_model(name, "team-a", model).or_else(|_| awaited_model(name, "team-a", model, place))
        })
        .collect::<Result<_, _>>()?;
    inject_and_gate(pod, &wish, &awaited)
}

fn typed(pod: &Value) -> Pod {
    serde_json::from_value(pod.clone()).unwrap()
}

fn verdict(pod: &Value, models: &[Model]) -> Verdict {
    judge(&typed(pod), |name| models.iter().find(|model| model.metadata.name.as_deref() == Some(name)))
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::NotGated => "not gated",
        Verdict::Lift => "lift",
        Verdict::Wait(_) => "wait",
        Verdict::Gone(_) => "gone",
        Verdict::Superseded(_) => "superseded",
    }
}

#[test]
fn a_waiting_pod_mounts_what_the_model_will_publish() {
    let llama = version("llama", 1);
    let id = wanted_content_id(&llama);
    let pod = waiting(std::slice::from_ref(&llama), ContentPlace::Revisions);
    assert_eq!(pod["spec"]["schedulingGates"], json!([{ "name": GATE }]));
    assert_eq!(pod["metadata"]["labels"][GATED], "true");
    assert_eq!(pod["metadata"]["annotations"][WAITS_FOR], format!("llama={id}"));
    assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["subPath"], revision_path(&id));
    let env = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    assert!(env.contains(&json!({ "name": "MODEL_LLAMA_VERSION", "value": "1" })), "{env:?}");

    let stock = waiting(&[llama], ContentPlace::Root);
    assert_eq!(stock["spec"]["containers"][0]["volumeMounts"][0].get("subPath"), None);
    assert_eq!(stock["metadata"]["annotations"][WAITS_FOR], format!("llama={id}"));
}

#[test]
fn a_pod_is_let_go_when_its_own_content_is_published() {
    for (place, other) in [(ContentPlace::Revisions, ContentPlace::Root), (ContentPlace::Root, ContentPlace::Revisions)]
    {
        let (one, two) = (version("llama", 1), version("llama", 2));
        let (first, second) = (Some(content(&one, place)), Some(content(&two, place)));
        let pod = waiting(std::slice::from_ref(&one), place);
        let mut leaving = with_status(one.clone(), Phase::Ready, first.clone());
        leaving.metadata.deletion_timestamp = Some(Time("2026-01-01T00:00:00Z".parse().unwrap()));
        for (name, model, want) in vec![
            ("no status yet", Some(one.clone()), "wait"),
            ("starting", Some(with_status(one.clone(), Phase::Pending, None)), "wait"),
            ("downloading", Some(with_status(one.clone(), Phase::Downloading, None)), "wait"),
            ("failed, and may be retried", Some(with_status(one.clone(), Phase::Failed, None)), "wait"),
            ("Ready without content", Some(with_status(one.clone(), Phase::Ready, None)), "wait"),
            ("content that is withdrawn", Some(with_status(one.clone(), Phase::Pending, first.clone())), "wait"),
            ("published", Some(with_status(one.clone(), Phase::Ready, first.clone())), "lift"),
            ("published, newer wanted", Some(with_status(two.clone(), Phase::Ready, first.clone())), "lift"),
            ("other content, ours wanted again", Some(with_status(one.clone(), Phase::Ready, second.clone())), "wait"),
            ("newer wanted", Some(with_status(two.clone(), Phase::Downloading, None)), "superseded"),
            ("newer published", Some(with_status(two.clone(), Phase::Ready, second.clone())), "superseded"),
            (
                "published where nobody mounts it",
                Some(with_status(one.clone(), Phase::Ready, Some(content(&one, other)))),
                "superseded",
            ),
            ("no such Model", None, "gone"),
            ("being deleted", Some(leaving), "gone"),
        ] {
            let models: Vec<_> = model.into_iter().collect();
            assert_eq!(word(&verdict(&pod, &models)), want, "{place:?}: {name}");
        }
    }
}

#[test]
fn what_a_pod_waits_for_is_told_without_repeating_figures() {
    let at = |percent: i32, reason: &str, attempt: i32| {
        let mut model = with_status(version("llama", 1), Phase::Downloading, None);
        let status = model.status.as_mut().unwrap();
        status.progress = Some(percent);
        status.download = Some(serde_json::from_value(json!({ "id": "x", "attempt": attempt })).unwrap());
        status.conditions = vec![Condition {
            type_: "Ready".into(),
            status: "False".into(),
            reason: reason.into(),
            message: String::new(),
            last_transition_time: Time("2026-01-01T00:00:00Z".parse().unwrap()),
            observed_generation: None,
        }];
        model
    };
    let pod = waiting(&[version("llama", 1)], ContentPlace::Revisions);
    let news = |model: Model| match verdict(&pod, &[model]) {
        Verdict::Wait(news) => news,
        other => panic!("{other:?}"),
    };
    let first = news(at(42, "Downloading", 1));
    assert_eq!(first.message, "waiting for model llama: it is Downloading, 42 %");
    assert!(!first.is_trouble);
    assert_eq!(news(at(43, "Downloading", 1)).key, first.key);
    let stalled = news(at(42, "Stalled", 1));
    assert_ne!(stalled.key, first.key);
    assert_eq!(stalled.message, "waiting for model llama: it is Downloading, 42 %: Stalled");
    assert_ne!(news(at(42, "Downloading", 2)).key, first.key);

    let mut failed = with_status(version("llama", 1), Phase::Failed, None);
    failed.status.as_mut().unwrap().message = Some("repository x/y was not found".into());
    let failed = news(failed);
    assert!(failed.is_trouble);
    assert!(failed.message.starts_with("waiting for model llama: it is Failed: repository x/y was not found; "));
    assert!(failed.message.contains("kubectl describe"), "{}", failed.message);
}

#[test]
fn every_model_of_a_pod_counts() {
    let (a, b) = (version("a", 1), version("b", 1));
    let published =
        |model: &Model| with_status(model.clone(), Phase::Ready, Some(content(model, ContentPlace::Revisions)));
    // One is Ready from the start.
    let pod = waiting(&[published(&a), b.clone()], ContentPlace::Revisions);
    assert_eq!(awaited(&typed(&pod)).len(), 2);
    assert_eq!(word(&verdict(&pod, &[published(&a), b.clone()])), "wait");
    assert_eq!(word(&verdict(&pod, &[a.clone(), published(&b)])), "wait");
    assert_eq!(word(&verdict(&pod, &[published(&b)])), "gone");
    assert_eq!(word(&verdict(&pod, &[version("a", 2), published(&b)])), "superseded");
    assert_eq!(verdict(&pod, &[published(&a), published(&b)]), Verdict::Lift);
}

#[test]
fn what_the_author_mounts_beside_ours_does_not_count() {
    let llama = version("llama", 1);
    let ready = with_status(llama.clone(), Phase::Ready, Some(content(&llama, ContentPlace::Revisions)));
    let mut pod = waiting(&[llama], ContentPlace::Revisions);
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap();
    mounts.extend([
        json!({ "name": "model-llama", "mountPath": "/all" }),
        json!({ "name": "model-llama", "mountPath": "/notes", "subPath": "notes" }),
    ]);
    pod["spec"]["volumes"].as_array_mut().unwrap().extend([
        json!({ "name": "data", "persistentVolumeClaim": { "claimName": "model-other" } }),
        json!({ "name": "scratch", "emptyDir": {} }),
    ]);
    assert_eq!(awaited(&typed(&pod)).len(), 1);
    assert_eq!(verdict(&pod, &[ready]), Verdict::Lift);
}

#[test]
fn annotations_that_change_while_a_pod_waits_let_it_go_no_sooner() {
    let llama = version("llama", 1);
    let ready = with_status(llama.clone(), Phase::Ready, Some(content(&llama, ContentPlace::Root)));
    for place in [ContentPlace::Revisions, ContentPlace::Root] {
        let mut pod = waiting(std::slice::from_ref(&llama), place);
        pod["metadata"]["annotations"] = json!({});
        pod["metadata"]["labels"] = json!({});
        assert_eq!(word(&verdict(&pod, std::slice::from_ref(&llama))), "wait", "{place:?}");
    }
    // With nothing recorded, the root holds what the Model publishes there.
    let mut pod = waiting(&[llama], ContentPlace::Root);
    pod["metadata"]["annotations"] = json!({});
    assert_eq!(verdict(&pod, &[ready]), Verdict::Lift);
}

#[test]
fn only_our_gate_is_taken_off() {
    let llama = version("llama", 1);
    let mut pod = json!({
        "metadata": { "namespace": "team-a", "uid": "uid-1", "resourceVersion": "7", "labels": { "app": "x" },
            "annotations": { "models.example.com/inject": "llama" } },
        "spec": {
            "containers": [{ "name": "app" }],
            "schedulingGates": [{ "name": "kueue.x-k8s.io/admission" }, { "name": "example.com/topology" }],
        },
    });
    let before = pod.clone();
    pod = apply(&pod, &gated(&pod, std::slice::from_ref(&llama), ContentPlace::Revisions).unwrap());
    let names = |pod: &Value| -> Vec<String> {
        let gates = pod["spec"]["schedulingGates"].as_array().unwrap();
        gates.iter().map(|gate| gate["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&pod), ["kueue.x-k8s.io/admission", "example.com/topology", GATE], "after all others");
    let patch = lift(&typed(&pod)).unwrap();
    let lifted = apply(&pod, &patch);
    assert_eq!(lifted["spec"]["schedulingGates"], before["spec"]["schedulingGates"]);
    assert_eq!(lifted["metadata"]["labels"], json!({ "app": "x", "models.example.com/injected": "true" }));
    assert_eq!(lift(&typed(&lifted)), None);
    assert_eq!(word(&verdict(&lifted, &[llama])), "not gated");

    // Kueue was faster: the patch of the pod as it was does not apply to the pod as it is.
    let mut changed = pod.clone();
    changed["spec"]["schedulingGates"].as_array_mut().unwrap().remove(0);
    assert!(json_patch::patch(&mut changed, &patch).is_err());
    for (field, value) in [("resourceVersion", "8"), ("uid", "uid-2")] {
        let mut changed = pod.clone();
        changed["metadata"][field] = json!(value);
        assert!(json_patch::patch(&mut changed, &patch).is_err(), "{field}");
    }
}

#[test]
fn a_second_pass_keeps_what_the_first_one_promised() {
    let mut pod = waiting(&[version("llama", 1)], ContentPlace::Revisions);
    pod["spec"]["containers"].as_array_mut().unwrap().insert(0, json!({ "name": "sidecar" }));
    // The spec changed in between, or the model became Ready.
    for now in [
        version("llama", 2),
        with_status(version("llama", 2), Phase::Ready, Some(content(&version("llama", 2), ContentPlace::Revisions))),
    ] {
        assert_eq!(gated(&pod, &[now], ContentPlace::Revisions).unwrap().0, []);
    }
}

#[test]
fn a_copy_of_a_waiting_pod_can_be_let_go() {
    let llama = version("llama", 1);
    let mut pod = waiting(std::slice::from_ref(&llama), ContentPlace::Revisions);
    pod["metadata"]["labels"].as_object_mut().unwrap().remove(GATED);
    let ready = with_status(llama.clone(), Phase::Ready, Some(content(&llama, ContentPlace::Revisions)));
    let wish = parse(&pod).unwrap().unwrap();
    let patch = inject(&pod, &wish, &[ready_model("llama", "team-a", Some(&ready)).unwrap()]).unwrap();
    assert_eq!(apply(&pod, &patch)["metadata"]["labels"][GATED], "true");
}

#[test]
fn a_pod_that_names_its_node_cannot_wait() {
    let mut pod = json!({
        "metadata": { "annotations": { "models.main-currents.news/inject": "llama" } },
        "spec": { "nodeName": "node-7", "containers": [{ "name": "app" }] },
    });
    let denial = gated(&pod, &[version("llama", 1)], ContentPlace::Revisions).unwrap_err();
    assert_eq!(denial.reason().as_str(), "CannotWait");
    assert!(denial.to_string().contains("spec.nodeName \"node-7\""), "{denial}");
    // An empty name is none.
    pod["spec"]["nodeName"] = json!("");
    gated(&pod, &[version("llama", 1)], ContentPlace::Revisions).unwrap();
}

#[test]
fn of_a_model_that_does_not_exist_nothing_can_be_mounted_later() {
    let denial = awaited_model("llama", "team-a", None, ContentPlace::Revisions).unwrap_err();
    assert_eq!(denial.reason().as_str(), "ModelNotFound");
}

#[test]
fn when_not_ready_says_deny_or_wait() {
    let read =
        |value: Value| parse(&json!({ "metadata": { "annotations": value } })).map(|wish| wish.unwrap().when_not_ready);
    for (value, want) in [
        (json!({ "models.main-currents.news/inject": "m" }), None),
        (
            json!({ "models.main-currents.news/inject": "m", "models.main-currents.news/when-not-ready": "wait" }),
            Some(WhenNotReady::Wait),
        ),
        (
            json!({ "models.example.com/inject": "m", "models.example.com/when-not-ready": " Deny " }),
            Some(WhenNotReady::Deny),
        ),
    ] {
        assert_eq!(read(value).unwrap(), want);
    }
    let bad = json!({ "models.example.com/inject": "m", "models.example.com/when-not-ready": "true" });
    assert_eq!(
        read(bad).unwrap_err().to_string(),
        "annotation models.example.com/when-not-ready has the value \"true\": write \"deny\" or \"wait\""
    );
    let both = json!({ "models.example.com/inject": "m", "models.example.com/when-not-ready": "wait", "models.main-currents.news/when-not-ready": "deny" });
    assert_eq!(read(both).unwrap_err().reason().as_str(), "AnnotationsDiffer");
}

/// A Model in any state: version of its spec, phase, version of its published content.
fn any_state() -> impl Strategy<Value = Option<(usize, Phase, Option<usize>)>> {
    let phase = proptest::sample::select(vec![Phase::Pending, Phase::Downloading, Phase::Ready, Phase::Failed]);
    proptest::option::weighted(0.9, (0..3_usize, phase, proptest::option::of(0..3_usize)))
}

proptest! {
    #[test]
    fn a_pod_is_let_go_exactly_when_all_it_mounts_is_published(
        states in proptest::collection::vec(any_state(), 1..4),
        place in proptest::sample::select(vec![ContentPlace::Root, ContentPlace::Revisions]),
    ) {
        let names = ["a", "b", "c"];
        let at_creation: Vec<_> = names.iter().take(states.len()).map(|name| version(name, 0)).collect();
        let pod = waiting(&at_creation, place);
        let now: Vec<_> = states.iter().zip(names).filter_map(|(state, name)| {
            let (spec, phase, published) = (*state)?;
            let published = published.map(|published| content(&version(name, published), place));
            Some(with_status(version(name, spec), phase, published))
        }).collect();
        let is_published = |state: &Option<(usize, Phase, Option<usize>)>| matches!(state, Some((_, Phase::Ready, Some(0))));
        let will_be = |state: &Option<(usize, Phase, Option<usize>)>| !matches!(state, Some((1.., _, _)));
        let want = if states.iter().all(is_published) {
            "lift"
        } else if !states.iter().all(|state| is_published(state) || will_be(state)) {
            "superseded"
        } else if states.contains(&None) {
            "gone"
        } else {
            "wait"
        };
        prop_assert_eq!(word(&verdict(&pod, &now)), want);
    }

    #[test]
    fn gating_any_pod_adds_one_gate_and_nothing_the_second_time(pod in injection_properties::pod(), others in 0..3_usize) {
        let mut pod = pod;
        let foreign: Vec<_> = (0..others).map(|index| json!({ "name": format!("example.com/{index}") })).collect();
        if others > 0 {
            pod["spec"]["schedulingGates"] = json!(foreign);
        }
        let models: Vec<_> = ["a", "b", "llama-3-8b"].iter().map(|name| version(name, 1)).collect();
        let Ok(first) = gated(&pod, &models, ContentPlace::Revisions) else { return Ok(()) };
        let patched = apply(&pod, &first);
        let gates = patched["spec"]["schedulingGates"].as_array().unwrap();
        prop_assert_eq!(&gates[..others], &foreign[..]);
        prop_assert_eq!(&gates[others..], &[json!({ "name": GATE })]);
        prop_assert_eq!(gated(&patched, &models, ContentPlace::Revisions).unwrap().0, vec![]);
    }
}
