//! Models on a claim that somebody else made.

use json_patch::Patch;
use k8s_openapi::api::core::v1::Pod;
use model_core::api::{Model, Phase};
use model_resources::gate::{Awaited, Verdict, awaited, judge};
use model_resources::inject::{ContentPlace, awaited_model, inject, inject_and_gate, parse};
use model_resources::{DownloadSettings, download_job};
use serde_json::{Value, json};

use crate::fixtures::{hugging_face, loader, model, persisted, status, stock, url};
use crate::injection::apply;

fn on_claim(name: &str, claim: &str) -> Model {
    let mut model = model(name, url());
    model.spec.storage.existing_claim = Some(claim.to_owned());
    model.spec.storage.size = None;
    model
}

fn pod(models: &str) -> Value {
    json!({
        "metadata": {
            "name": "app", "namespace": "team-a", "uid": "uid-1", "resourceVersion": "7",
            "annotations": { "models.main-currents.news/inject": models },
        },
        "spec": { "containers": [{ "name": "app", "image": "app" }] },
    })
}

fn patched(
    pod: &Value,
    models: &[Model],
    patch: impl Fn(&Value, &[model_resources::inject::ReadyModel]) -> Patch,
) -> Value {
    let ready: Vec<_> = models
        .iter()
        .map(|model| {
            let name = model.metadata.name.as_deref().unwrap();
            awaited_model(name, "team-a", Some(model), ContentPlace::Revisions).unwrap()
        })
        .collect();
    apply(pod, &patch(pod, &ready))
}

#[test]
fn each_model_is_downloaded_to_a_directory_of_its_own() {
    let model = on_claim("llama-3-8b", "weights");
    let job = |settings: &DownloadSettings| {
        download_job(&persisted(&model), settings, "claim-uid").spec.unwrap().template.spec.unwrap()
    };
    let directory = "/models/models.main-currents.news/team-a/llama-3-8b";
    let pod = job(&loader());
    let volume = &pod.volumes.as_ref().unwrap()[0];
    assert_eq!(volume.persistent_volume_claim.as_ref().unwrap().claim_name, "weights");
    let to = format!("--to={directory}/revisions/{}", persisted(&model).content_id);
    assert!(pod.containers[0].args.as_ref().unwrap().contains(&to), "{:?}", pod.containers[0].args);

    let pod = job(&stock());
    let environment = pod.containers[0].env.as_ref().unwrap();
    let value = environment.iter().find(|variable| variable.name == "MODEL_DIR").unwrap().value.as_deref();
    assert_eq!(value, Some(directory));
}

#[test]
fn models_on_one_claim_are_mounted_by_one_volume() {
    let models =
        [on_claim("a", "weights"), model("own", hugging_face()), on_claim("b", "weights"), on_claim("c", "other")];
    let asked = pod("a,own,b,c");
    let wish = parse(&asked).unwrap().unwrap();
    let injected = patched(&asked, &models, |pod, ready| inject(pod, &wish, ready).unwrap());
    let claims: Vec<_> = injected["spec"]["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|volume| {
            (volume["name"].as_str().unwrap().len(), volume["persistentVolumeClaim"]["claimName"].as_str().unwrap())
        })
        .collect();
    assert_eq!(claims, [(23, "weights"), (9, "model-own"), (23, "other")]);
    insta::assert_yaml_snapshot!(injected["spec"]["containers"][0]["volumeMounts"]);

    let again = patched(&injected, &models, |pod, ready| inject(pod, &wish, ready).unwrap());
    assert_eq!(again, injected, "a second pass adds nothing");

    // Another webhook puts a sidecar first: what was chosen stays chosen.
    let mut with_sidecar = injected.clone();
    with_sidecar["spec"]["containers"].as_array_mut().unwrap().insert(0, json!({ "name": "sidecar", "image": "x" }));
    let again = patched(&with_sidecar, &models, |pod, ready| inject(pod, &wish, ready).unwrap());
    assert_eq!(again, with_sidecar);
}

#[test]
fn a_pod_waits_for_what_it_mounts_of_a_shared_claim() {
    let mut models = [on_claim("a", "weights"), on_claim("b", "weights")];
    let asked = pod("a,b");
    let wish = parse(&asked).unwrap().unwrap();
    for place in [ContentPlace::Root, ContentPlace::Revisions] {
        let content = |model: &Model| {
            awaited_model(model.metadata.name.as_deref().unwrap(), "team-a", Some(model), place).unwrap()
        };
        let ready: Vec<_> = models.iter().map(content).collect();
        let waiting = apply(&asked, &inject_and_gate(&asked, &wish, &ready).unwrap());
        let waiting: Pod = serde_json::from_value(waiting).unwrap();
        let want = ready.iter().map(|model| Awaited {
            model: model.name.clone(),
            path: model.content.path.clone(),
            id: Some(model.content.id.clone()),
        });
        assert_eq!(awaited(&waiting), want.collect::<Vec<_>>());
        for (published, lifted) in [(0, false), (1, false), (2, true)] {
            for (index, model) in models.iter_mut().enumerate() {
                let content = (index < published).then(|| ready[index].content.clone());
                let phase = if content.is_some() { Phase::Ready } else { Phase::Downloading };
                model.status = Some(status(phase, content));
            }
            let find = |name: &str| models.iter().find(|model| model.metadata.name.as_deref() == Some(name));
            let verdict = judge(&waiting, find);
            assert_eq!(verdict == Verdict::Lift, lifted, "{published} published: {verdict:?}");
        }
    }
}
