//! When a Model can be mounted, and what a pod's author reads when it cannot.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model_core::api::{Content, Model, ModelStatus, Phase};
use model_resources::inject::ready_model;

use crate::fixtures::{hugging_face, model, status};

fn content() -> Content {
    let id = "0123456789abcdef0123";
    let mut content = Content::new(id.into(), format!("revisions/{id}"), hugging_face());
    (content.version, content.bytes, content.verified) = (Some("3.1".into()), Some(7), true);
    content
}

fn in_status(status: ModelStatus) -> Model {
    let mut model = model("llama-3-8b", hugging_face());
    model.status = Some(status);
    model
}

fn denial(model: Option<&Model>) -> String {
    ready_model("llama-3-8b", "team-a", model).unwrap_err().to_string()
}

#[test]
fn a_ready_model_is_mounted_as_its_status_says() {
    let status = status(Phase::Ready, Some(content()));
    let mut model = in_status(status);
    // A newer wish does not change what is mounted.
    model.spec.version = Some("3.2".into());
    let ready = ready_model("llama-3-8b", "team-a", Some(&model)).unwrap();
    assert_eq!(ready.claim_name, "model-llama-3-8b");
    assert_eq!(ready.volume_name(), "model-llama-3-8b");
    assert_eq!(ready.content, content());
}

#[test]
fn denials_use_the_words_of_the_specification_and_say_what_to_do() {
    let mut failed = status(Phase::Failed, None);
    failed.message = Some("repository meta-llama/Llama was not found.".into());
    let mut downloading = status(Phase::Downloading, None);
    (downloading.progress, downloading.message) = (Some(42), Some("x".into()));
    let unknown_size = status(Phase::Downloading, None);
    let ready = status(Phase::Ready, Some(content()));
    let unclear = status(Phase::Ready, None);
    let mut pending = ModelStatus::default();
    pending.message = Some("waiting for the old Job to go".into());
    let mut deleted = in_status(ready);
    deleted.metadata.deletion_timestamp = Some(Time("2026-01-01T00:00:00Z".parse().unwrap()));
    insta::assert_yaml_snapshot!([
        denial(None),
        denial(Some(&model("llama-3-8b", hugging_face()))),
        denial(Some(&in_status(pending))),
        denial(Some(&in_status(downloading))),
        denial(Some(&in_status(unknown_size))),
        denial(Some(&in_status(failed))),
        denial(Some(&in_status(unclear))),
        denial(Some(&deleted)),
    ]);
}

#[test]
fn each_denial_has_a_machine_reason() {
    let reason = |model: Option<&Model>| ready_model("m", "team-a", model).unwrap_err().reason().as_str();
    assert_eq!(reason(None), "ModelNotFound");
    assert_eq!(reason(Some(&in_status(ModelStatus::default()))), "ModelNotReady");
}
