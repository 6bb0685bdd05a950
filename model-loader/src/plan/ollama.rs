//! Ollama models: what the layers of a manifest are called as files.

use model_core::reason::Reason;

use super::{
    PlannedFile,
    registry::{Descriptor, Manifest, naming::Naming},
};
use crate::{Error, name::FileName};

/// What the media types of all layers begin with. The kind comes after it.
const LAYER: &str = "application/vnd.ollama.image.";
/// Name of the configuration, which holds family, size and quantization of the model.
const CONFIG: &str = "config.json";
/// The kinds of layer that hold weights in the GGUF form. Files of all other kinds are called as their kind.
const WEIGHTS: [&str; 3] = ["model", "adapter", "projector"];

/// The files of a model: layers that have a name under it, the others under their kind.
pub(super) fn files(manifest: &Manifest, shown: &str) -> Result<Vec<PlannedFile>, Error> {
    let mut naming = Naming::default();
    for name in manifest.layers.iter().filter_map(given) {
        naming.take(name);
    }
    let mut files = Vec::with_capacity(manifest.layers.len() + 1);
    for layer in &manifest.layers {
        let kind = kind(layer).ok_or_else(|| {
            let message = format!("{shown}: it is no Ollama model, as it has {}; try oci:// for it", layer.shown());
            Error::new(Reason::SourceInvalid, message)
        })?;
        let name = match given(layer) {
            Some(name) => name.to_owned(),
            None if WEIGHTS.contains(&kind) => naming.next(&format!("{kind}.gguf")),
            None => naming.next(kind),
        };
        files.push(planned(&name, layer)?);
    }
    if files.is_empty() {
        return Err(Error::new(Reason::SourceInvalid, format!("{shown}: the model has no layers")));
    }
    if let Some(config) = &manifest.config {
        files.push(planned(&naming.next(CONFIG), config)?);
    }
    Ok(files)
}

/// The name that a layer brings with it: those of models in many files do.
fn given(layer: &Descriptor) -> Option<&str> {
    layer.name.as_deref().or_else(|| layer.parameter("name")).filter(|name| !name.is_empty())
}

fn kind(layer: &Descriptor) -> Option<&str> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    layer.media_type().strip_prefix(LAYER).filter(|kind| !kind.is_empty() && kind.chars().all(fits))
}

fn planned(name: &str, blob: &Descriptor) -> Result<PlannedFile, Error> {
    Ok(PlannedFile { path: FileName::parse(name)?, size: Some(blob.size), digest: Some(blob.digest()?), etag: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn layer(kind: &str, name: Option<&str>) -> Value {
        let digest = format!("sha256:{:064}", kind.len());
        json!({"mediaType": format!("{LAYER}{kind}"), "digest": digest, "size": 7, "name": name})
    }

    fn names(layers: &[Value]) -> Result<Vec<String>, Error> {
        let config = layer("x", None);
        let read = |json: &Value| serde_json::from_value(json.clone()).unwrap();
        let manifest = Manifest { config: Some(read(&config)), layers: layers.iter().map(read).collect() };
        Ok(files(&manifest, "ollama://library/m:latest")?.into_iter().map(|file| file.path.into()).collect())
    }

    #[test]
    fn layers_are_named_by_kind() {
        let plain = ["model", "template", "license", "license", "params", "system", "projector", "messages", "adapter"];
        let layers: Vec<_> = plain.iter().map(|kind| layer(kind, None)).collect();
        assert_eq!(
            names(&layers).unwrap(),
            [
                "model.gguf",
                "template",
                "license",
                "license-2",
                "params",
                "system",
                "projector.gguf",
                "messages",
                "adapter.gguf",
                "config.json"
            ]
        );
    }

    #[test]
    fn names_that_layers_bring_are_kept() {
        let layers = [
            layer("json", Some("config.json")),
            layer("tensor", Some("text/blk.0.weight")),
            layer("tensor; name=text/blk.1.weight; dtype=F16", None),
            layer("license", None),
        ];
        let want = ["config.json", "text/blk.0.weight", "text/blk.1.weight", "license", "config-2.json"];
        assert_eq!(names(&layers).unwrap(), want);
    }

    #[test]
    fn what_is_no_model_is_refused() {
        let other =
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "sha256:00", "size": 1});
        for (layers, want) in [
            (vec![layer("json", Some("../../etc/passwd"))], Reason::UnsafeFileName),
            (vec![layer("tensor", Some("/etc/passwd"))], Reason::UnsafeFileName),
            (vec![layer("../x", None)], Reason::SourceInvalid),
            (vec![layer("..", None)], Reason::UnsafeFileName),
            (vec![layer("", None)], Reason::SourceInvalid),
            (vec![layer("model", None), other], Reason::SourceInvalid),
            (
                vec![json!({"mediaType": format!("{LAYER}model"), "digest": "sha256:00", "size": 1})],
                Reason::SourceInvalid,
            ),
            (vec![], Reason::SourceInvalid),
        ] {
            assert_eq!(names(&layers).unwrap_err().reason(), want, "{layers:?}");
        }
    }
}
