//! With its default values the chart is `config/`.

use serde_json::{Value, json};

use crate::render::{Objects, parse, render, workspace};

/// Labels by which Helm's users find what belongs to a release.
const OF_THE_RELEASE: [&str; 4] =
    ["app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"];

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join("config").join(path)).unwrap()
}

/// A kustomization of `config/`, in this directory of it.
fn kustomization(directory: &str) -> Value {
    serde_saphyr::from_str(&read(&format!("{directory}/kustomization.yaml"))).unwrap()
}

/// The objects that a kustomization names as its resources.
fn resources(directory: &str) -> Objects {
    let kustomization = kustomization(directory);
    let paths = kustomization["resources"].as_array().unwrap().iter();
    let files = paths.map(|path| parse(&read(&format!("{directory}/{}", path.as_str().unwrap()))));
    files
        .reduce(|mut all, mut file| {
            all.append(&mut file);
            all
        })
        .unwrap()
}

/// Takes the certificate out, which is another one each time.
fn without_certificate(mut objects: Objects) -> Objects {
    objects.remove(&("Secret".to_owned(), "model-webhook-tls".to_owned()));
    for object in objects.values_mut() {
        for webhook in object.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(client) = webhook["clientConfig"].as_object_mut() {
                client.remove("caBundle");
            }
        }
    }
    objects
}

/// Takes labels away, and the annotation by which Helm keeps the CRD.
fn stripped(mut objects: Objects) -> Objects {
    for object in objects.values_mut() {
        let metadata = object["metadata"].as_object_mut().unwrap();
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.retain(|label, _| !OF_THE_RELEASE.contains(&label.as_str()));
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("helm.sh/resource-policy");
        }
        metadata.retain(|_, value| *value != json!({}));
    }
    objects
}

#[test]
fn with_default_values_the_chart_is_what_kustomize_installs() {
    let values = json!({ "image": { "tag": "dev" }, "certificates": { "selfManaged": false } });
    let rendered = stripped(without_certificate(render("model-system", &values).unwrap()));
    same(&rendered, resources("."));

    // With the component in place of a certificate that somebody made.
    let rendered = stripped(render("model-system", &json!({ "image": { "tag": "dev" } })).unwrap());
    let component = kustomization("certificates");
    let patch = component["patches"][0]["patch"].as_str().unwrap();
    let patch: Value = serde_saphyr::from_str(patch).unwrap();
    assert_eq!((patch.as_array().unwrap().len(), &patch[0]["op"]), (1, &json!("add")));
    let mut config = resources(".");
    config.append(&mut resources("certificates"));
    let controller = config.get_mut(&("Deployment".to_owned(), "model-controller".to_owned())).unwrap();
    let list = patch[0]["path"].as_str().unwrap().trim_end_matches("/-");
    controller.pointer_mut(list).unwrap().as_array_mut().unwrap().push(patch[0]["value"].clone());
    same(&rendered, config);
}

fn same(rendered: &Objects, config: Objects) {
    let mut config = stripped(config);
    // Its administrator makes it, and labels it.
    config.remove(&("Namespace".to_owned(), "model-system".to_owned()));
    assert_eq!(rendered.keys().collect::<Vec<_>>(), config.keys().collect::<Vec<_>>());
    for (key, object) in &config {
        assert_eq!(&rendered[key], object, "{key:?}");
    }
}

/// What `make manifests` writes, and no kustomization names, would be installed by nobody.
#[test]
fn every_file_of_config_belongs_to_a_kustomization() {
    let named = |directory: &str| {
        let resources = kustomization(directory)["resources"].as_array().unwrap().clone();
        let path = |path: &Value| format!("{directory}/{}", path.as_str().unwrap()).replace("./", "");
        resources.iter().map(path).collect::<Vec<_>>()
    };
    let named: Vec<_> = [".", "certificates"].into_iter().flat_map(named).collect();
    for directory in ["crd", "rbac", "manager", "webhook", "certificates"] {
        for entry in std::fs::read_dir(workspace().join("config").join(directory)).unwrap() {
            let file = entry.unwrap().path();
            let name = file.file_name().unwrap().to_str().unwrap();
            let path = format!("{directory}/{name}");
            let is_yaml = file.extension().is_some_and(|extension| extension == "yaml");
            let is_manifest = is_yaml && name != "kustomization.yaml";
            assert!(!is_manifest || named.contains(&path), "{path}");
        }
    }
}

/// Also in one whose name YAML would take for a number.
#[test]
fn everything_moves_to_the_namespace_of_the_release() {
    for namespace in ["models", "123", "1e3", "true"] {
        let rendered = render(namespace, &json!({})).unwrap();
        for (key, object) in &rendered {
            assert!(!object.to_string().contains("model-system"), "{key:?}");
            let named = &object["metadata"]["namespace"];
            assert!(named.is_null() || named == namespace, "{key:?} is in {named}");
        }
        let account = format!("system:serviceaccount:{namespace}:model-controller");
        let policies = rendered.iter().filter(|((kind, _), _)| kind == "ValidatingAdmissionPolicy");
        assert!(policies.into_iter().any(|(_, policy)| policy.to_string().contains(&account)), "{account}");
        let registration = &rendered[&("MutatingWebhookConfiguration".to_owned(), "model-webhook".to_owned())];
        let webhook = &registration["webhooks"][0];
        assert_eq!(webhook["clientConfig"]["service"]["namespace"], namespace);
        assert_eq!(webhook["namespaceSelector"]["matchExpressions"][0]["values"], json!([namespace]));
    }
}

#[test]
fn helm_leaves_the_models_when_it_goes() {
    let rendered = render("models", &json!({})).unwrap();
    let crds: Vec<_> = rendered.iter().filter(|((kind, _), _)| kind == "CustomResourceDefinition").collect();
    assert!(!crds.is_empty());
    for (key, crd) in crds {
        assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep", "{key:?}");
    }
}
