//! The real `helm template`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Objects by kind and name.
pub type Objects = BTreeMap<(String, String), Value>;

pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What Helm renders for a namespace and values, or why it refuses.
pub fn render(namespace: &str, values: &Value) -> Result<Objects, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "{values}").unwrap();
    let output = Command::new(dev_cluster::helm().unwrap())
        .args(["template", "model-operator", "--namespace", namespace, "--values"])
        .arg(file.path())
        .arg(workspace().join("charts/model-operator"))
        .output()
        .unwrap();
    if output.status.success() {
        Ok(parse(&String::from_utf8(output.stdout).unwrap()))
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

/// The objects of a YAML stream.
pub fn parse(text: &str) -> Objects {
    let objects: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let keyed = objects.into_iter().map(|object| ((word(&object["kind"]), word(&object["metadata"]["name"])), object));
    let mut found = Objects::new();
    for (key, object) in keyed.filter(|(_, object)| !object.is_null()) {
        assert!(found.insert(key.clone(), object).is_none(), "{key:?} is there twice");
    }
    found
}
