//! `config/` as a whole.

use model_webhook::Certificates;
use serde_json::Value;

use crate::cluster::{config, eventually, kubectl};

/// As `config/README.md` says: make certificates, apply everything.
#[tokio::test(flavor = "multi_thread")]
async fn everything_applies_with_a_certificate_that_the_api_server_trusts() {
    let directory = tempfile::tempdir().unwrap();
    copy(&config(""), directory.path());
    let certificates = Certificates::generate(&["model-webhook.model-system.svc".to_owned()]).unwrap();
    certificates.write(&directory.path().join("webhook/certificates")).unwrap();

    let path = directory.path().to_str().unwrap();
    let applied = applied("json", path).await;
    let applied: Value = serde_json::from_str(&applied).unwrap();
    let find = |kind: &str, name: &str| {
        let mut items = applied["items"].as_array().unwrap().iter();
        items.find(|item| item["kind"] == kind && item["metadata"]["name"] == name).unwrap()
    };
    let bytes = |value: &Value| {
        let k8s_openapi::ByteString(bytes) = serde_json::from_value(value.clone()).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let registration = &find("MutatingWebhookConfiguration", "model-webhook")["webhooks"][0];
    assert_eq!(bytes(&registration["clientConfig"]["caBundle"]), certificates.ca);
    assert_eq!(registration["failurePolicy"], "Fail");
    let deletion = &find("ValidatingWebhookConfiguration", "model-webhook")["webhooks"][0];
    assert_eq!(bytes(&deletion["clientConfig"]["caBundle"]), certificates.ca);
    assert_eq!(deletion["failurePolicy"], "Ignore");
    let secret = find("Secret", "model-webhook-tls");
    assert_eq!(bytes(&secret["data"]["tls.crt"]), certificates.certificate);
    assert_eq!(bytes(&secret["data"]["tls.key"]), certificates.key);
    for component in ["model-controller", "model-webhook"] {
        find("Deployment", component);
    }
}

/// What would be applied. Tests beside this one apply some of it, so that what is to be created may be there by then.
async fn applied(form: &str, path: &str) -> String {
    let apply = ["apply", "--dry-run=server", "-o", form, "-k", path];
    eventually(|| kubectl(&apply, "")).await
}

/// The controller makes the certificate: nobody has to, before anything is applied.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_component_no_certificate_has_to_be_made() {
    let directory = tempfile::tempdir().unwrap();
    copy(&config(""), directory.path());
    let file = directory.path().join("kustomization.yaml");
    let kustomization = std::fs::read_to_string(&file).unwrap();
    let (before, _) = kustomization.split_once("secretGenerator:").unwrap();
    std::fs::write(&file, format!("{before}components:\n- certificates\n")).unwrap();

    let path = directory.path().to_str().unwrap();
    let applied = applied("name", path).await;
    assert!(applied.contains("role.rbac.authorization.k8s.io/model-controller-certificates"), "{applied}");
    assert!(!applied.contains("secret/"), "{applied}");
    let built = kubectl(&["kustomize", path], "").await.unwrap();
    assert!(built.contains("- name: MODEL_CONTROLLER_WEBHOOK_CERTIFICATES\n          value: \"true\""), "{built}");
}

/// The images of all three programs are set in one place.
#[tokio::test(flavor = "multi_thread")]
async fn images_are_set_in_the_kustomization() {
    let directory = tempfile::tempdir().unwrap();
    copy(&config(""), directory.path());
    Certificates::generate(&["x".to_owned()]).unwrap().write(&directory.path().join("webhook/certificates")).unwrap();
    let file = directory.path().join("kustomization.yaml");
    let kustomization = std::fs::read_to_string(&file).unwrap().replace("newTag: dev", "newTag: v7");
    std::fs::write(&file, kustomization).unwrap();

    let built = kubectl(&["kustomize", directory.path().to_str().unwrap()], "").await.unwrap();
    for image in ["image: model-controller:v7", "image: model-webhook:v7", "value: model-loader:v7"] {
        assert!(built.contains(image), "{image}");
    }
    assert!(!built.contains(":dev"));
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
