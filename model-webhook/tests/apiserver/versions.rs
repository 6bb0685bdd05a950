//! The way to v1beta1, as `docs/versions.md` goes it, with the CRD of today under a group of its own.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::cluster::{bash, config, eventually, kubectl, kubectl_says, namespace};

const GROUP: &str = "models.main-currents.news";

/// All tests share the API server, and the others need the CRD as it is.
const TRIAL: &str = "versions.main-currents.news";

const PLACE: &str = "versions";

/// The CRD with these versions, each with the same schema: its name, whether it is stored, whether it is deprecated.
fn crd(versions: &[(&str, bool, bool)]) -> String {
    let crd = fs::read_to_string(config("crd/models.yaml")).unwrap().replace(GROUP, TRIAL);
    let mut crd: Value = serde_saphyr::from_str(&crd).unwrap();
    let today = crd["spec"]["versions"][0].clone();
    let versions = versions.iter().map(|(name, stored, deprecated)| {
        let mut version = today.clone();
        (version["name"], version["storage"], version["deprecated"]) = (json!(name), json!(stored), json!(deprecated));
        version
    });
    crd["spec"]["versions"] = versions.collect();
    crd.to_string()
}

async fn apply(crd: &str) -> Result<String, String> {
    kubectl(&["apply", "--server-side", "-f", "-"], crd).await
}

fn model(version: &str, name: &str, spec: &Value) -> String {
    let mut model = json!({
        "apiVersion": format!("{TRIAL}/{version}"), "kind": "Model", "metadata": { "name": name, "namespace": PLACE },
        "spec": { "source": { "url": { "url": "https://example.com/weights.gguf" } }, "storage": { "size": "1Gi" } },
    });
    json_patch::merge(&mut model["spec"], spec);
    model.to_string()
}

async fn read(version: &str, name: &str) -> Result<Value, String> {
    let kind = format!("models.{version}.{TRIAL}");
    let text = kubectl(&["get", &kind, name, "-n", PLACE, "-o", "json"], "").await?;
    Ok(serde_json::from_str(&text).unwrap())
}

/// The commands of the page, for the trial's group.
fn commands() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/versions.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, commands) = page.split_once("```sh\n").unwrap();
    commands.split_once("```").unwrap().0.replace(GROUP, TRIAL)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beta_version_with_the_same_schema_takes_over() {
    namespace(&crate::cluster::client(None).await, PLACE).await;
    apply(&crd(&[("v1alpha1", true, false)])).await.unwrap();
    eventually(|| async { kubectl(&["create", "-f", "-"], &model("v1alpha1", "old", &json!({}))).await }).await;

    // Both are served. What one writes, the other reads.
    apply(&crd(&[("v1alpha1", true, false), ("v1beta1", false, false)])).await.unwrap();
    let old = eventually(|| read("v1beta1", "old")).await;
    assert_eq!(old["apiVersion"], format!("{TRIAL}/v1beta1"));
    assert_eq!(old["spec"], read("v1alpha1", "old").await.unwrap()["spec"]);
    kubectl(&["create", "-f", "-"], &model("v1beta1", "new", &json!({ "version": "2" }))).await.unwrap();
    assert_eq!(read("v1alpha1", "new").await.unwrap()["spec"], read("v1beta1", "new").await.unwrap()["spec"]);
    let beta = format!("models.v1beta1.{TRIAL}");
    let ready = json!({ "status": { "phase": "Ready", "progress": 100 } }).to_string();
    kubectl(&["patch", &beta, "old", "-n", PLACE, "--subresource=status", "--type=merge", "-p", &ready], "")
        .await
        .unwrap();
    assert_eq!(read("v1alpha1", "old").await.unwrap()["status"]["progress"], 100);
    // The rules are the same, too.
    let shrunk = json!({ "spec": { "storage": { "size": "1Mi" } } }).to_string();
    let refused = kubectl(&["patch", &beta, "old", "-n", PLACE, "--type=merge", "-p", &shrunk], "").await.unwrap_err();
    assert!(refused.contains("spec.storage.size cannot shrink"), "{refused}");
    // Who owns a field with one version owns it with the other: what is no longer applied goes.
    apply(&model("v1alpha1", "applied", &json!({ "version": "1" }))).await.unwrap();
    apply(&model("v1beta1", "applied", &json!({}))).await.unwrap();
    assert!(read("v1alpha1", "applied").await.unwrap()["spec"].get("version").is_none());

    // The new one is stored, the old one deprecated.
    apply(&crd(&[("v1alpha1", false, true), ("v1beta1", true, false)])).await.unwrap();
    let alpha = format!("models.v1alpha1.{TRIAL}");
    eventually(|| async {
        let text = kubectl_says(&["get", &alpha, "-n", PLACE], "").await;
        let warning = format!("Warning: {TRIAL}/v1alpha1 Model is deprecated");
        if text.contains(&warning) { Ok(()) } else { Err(text) }
    })
    .await;
    let name = format!("models.{TRIAL}");
    let stored = async || kubectl(&["get", "crd", &name, "-o", "jsonpath={.status.storedVersions}"], "").await.unwrap();
    eventually(|| async {
        let stored = stored().await;
        if stored == r#"["v1alpha1","v1beta1"]"# { Ok(()) } else { Err(stored) }
    })
    .await;
    let alone = crd(&[("v1beta1", true, false)]);
    let refused = apply(&alone).await.unwrap_err();
    assert!(refused.contains("status.storedVersions[0]: Invalid value: \"v1alpha1\""), "{refused}");

    // What is stored is rewritten, and the old version goes.
    bash(&commands()).await.unwrap();
    assert_eq!(stored().await, r#"["v1beta1"]"#);
    apply(&alone).await.unwrap();
    eventually(|| async {
        match read("v1alpha1", "old").await {
            // What kubectl says depends on the age of what it remembers of the API.
            Err(gone)
                if gone.contains("doesn't have a resource type") || gone.contains("find the requested resource") =>
            {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    for (name, version) in [("old", Value::Null), ("new", json!("2")), ("applied", Value::Null)] {
        assert_eq!(read("v1beta1", name).await.unwrap()["spec"]["version"], version, "{name}");
    }
    assert_eq!(read("v1beta1", "old").await.unwrap()["status"]["phase"], "Ready");
}
