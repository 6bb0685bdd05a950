//! OCI artifacts: what the layers of a manifest are called as files.

use model_core::reason::Reason;

use super::{
    PlannedFile,
    registry::{Descriptor, Manifest, naming::Naming},
};
use crate::{Error, name::FileName};

/// Where a layer's file name stands: `ModelPack` writes the first, `oras` and most others the second.
const NAMES: [&str; 2] = ["org.cncf.model.filepath", "org.opencontainers.image.title"];
/// Marks a directory that `oras` has packed.
const UNPACK: &str = "io.deis.oras.content.unpack";
/// The layer of artifacts that have none.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// What the media types of container images begin with. `oras` takes them for files of no type too.
const IMAGE_LAYERS: [&str; 2] = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
/// Docker's models, whose layers have no names, and what they are called. Weights in several files are numbered as their
/// readers want it.
const DOCKER_MODELS: [(&str, &str); 5] = [
    ("application/vnd.docker.ai.gguf.v3", "model.gguf"),
    ("application/vnd.docker.ai.safetensors", "model.safetensors"),
    ("application/vnd.docker.ai.mmproj", "mmproj.gguf"),
    ("application/vnd.docker.ai.license", "license"),
    ("application/vnd.docker.ai.chat.template.jinja", "chat_template.jinja"),
];
/// How many of [`DOCKER_MODELS`] are weights.
const DOCKER_WEIGHTS: usize = 2;

/// The files of an artifact.
pub(super) fn files(manifest: &Manifest, shown: &str) -> Result<Vec<PlannedFile>, Error> {
    let layers: Vec<&Descriptor> = manifest.layers.iter().filter(|layer| layer.media_type() != EMPTY).collect();
    let refused = |layer: &Descriptor, why: &str| {
        Error::new(Reason::SourceInvalid, format!("{shown}: cannot make a file of {}: {why}", layer.shown()))
    };
    let mut naming = Naming::default();
    for name in layers.iter().filter_map(|layer| given(layer)) {
        naming.take(name);
    }
    let mut files = Vec::with_capacity(layers.len());
    for layer in &layers {
        if is_archive(layer) {
            let why = "it is a tar archive, which is not unpacked; push its files one by one, each with its name";
            return Err(refused(layer, why));
        }
        let name = match (given(layer), docker_name(layer, &layers, &mut naming)) {
            (Some(name), _) => name.to_owned(),
            (None, Some(name)) => name,
            (None, None) if is_image_layer(layer) => {
                let why = "it is a container image, no model of files; push the files with oras, or as a ModelPack of raw layers";
                return Err(refused(layer, why));
            }
            (None, None) => {
                let why = format!("it has no file name; push it with an annotation {} or {}", NAMES[1], NAMES[0]);
                return Err(refused(layer, &why));
            }
        };
        let digest = Some(layer.digest()?);
        files.push(PlannedFile { path: FileName::parse(&name)?, size: Some(layer.size), digest, etag: None });
    }
    if files.is_empty() {
        return Err(Error::new(Reason::SourceInvalid, format!("{shown}: the artifact holds no files")));
    }
    Ok(files)
}

fn given(layer: &Descriptor) -> Option<&str> {
    NAMES.iter().find_map(|name| layer.annotation(name))
}

/// Whether the layer stands for other files than itself.
fn is_archive(layer: &Descriptor) -> bool {
    let media_type = layer.media_type();
    let by_models = ["application/vnd.cncf.model.", "application/vnd.kitops.", "application/vnd.docker.ai."];
    let is_tar = media_type.split(['.', '+']).any(|part| part == "tar");
    layer.annotation(UNPACK) == Some("true") || (is_tar && by_models.iter().any(|start| media_type.starts_with(start)))
}

fn is_image_layer(layer: &Descriptor) -> bool {
    IMAGE_LAYERS.iter().any(|start| layer.media_type().starts_with(start))
}

/// The name of a layer of Docker's models.
fn docker_name(layer: &Descriptor, all: &[&Descriptor], naming: &mut Naming) -> Option<String> {
    let kind = DOCKER_MODELS.iter().position(|(media_type, _)| *media_type == layer.media_type())?;
    let (media_type, plain) = DOCKER_MODELS[kind];
    let same = || all.iter().filter(|other| other.media_type() == media_type);
    if kind >= DOCKER_WEIGHTS || same().count() < 2 {
        return Some(naming.next(plain));
    }
    let number = 1 + same().position(|other| std::ptr::eq(*other, layer))?;
    let (stem, extension) = plain.split_once('.')?;
    Some(format!("{stem}-{number:05}-of-{:05}.{extension}", same().count()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const DIGEST: &str = "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";

    fn layer(media_type: &str, annotations: &Value) -> Value {
        json!({"mediaType": media_type, "digest": DIGEST, "size": 7, "annotations": annotations})
    }

    fn titled(name: &str) -> Value {
        layer("application/octet-stream", &json!({"org.opencontainers.image.title": name}))
    }

    fn names(layers: &[Value]) -> Result<Vec<String>, Error> {
        let layers = layers.iter().map(|json| serde_json::from_value(json.clone()).unwrap()).collect();
        let manifest = Manifest { config: None, layers };
        Ok(files(&manifest, "oci://r/m:latest")?.into_iter().map(|file| file.path.into()).collect())
    }

    #[test]
    fn each_way_of_naming_is_understood() {
        let gguf = layer("application/vnd.docker.ai.gguf.v3", &Value::Null);
        let license = layer("application/vnd.docker.ai.license", &Value::Null);
        let raw = "application/vnd.cncf.model.weight.v1.raw";
        for (layers, want) in [
            (vec![titled("a/b.bin"), titled("c")], &["a/b.bin", "c"][..]),
            // A file that oras was given no type for.
            (
                vec![layer(
                    "application/vnd.oci.image.layer.v1.tar",
                    &json!({"org.opencontainers.image.title": "a.txt"}),
                )],
                &["a.txt"],
            ),
            (
                vec![layer(raw, &json!({"org.cncf.model.filepath": "x/m", "org.opencontainers.image.title": "m"}))],
                &["x/m"],
            ),
            (vec![layer(EMPTY, &Value::Null), titled("a")], &["a"]),
            (vec![gguf.clone(), license.clone(), license.clone()], &["model.gguf", "license", "license-2"]),
            (
                vec![gguf.clone(), gguf.clone(), license],
                &["model-00001-of-00002.gguf", "model-00002-of-00002.gguf", "license"],
            ),
            (vec![gguf, titled("model.gguf")], &["model-2.gguf", "model.gguf"]),
        ] {
            assert_eq!(names(&layers).unwrap(), want);
        }
    }

    #[test]
    fn what_is_no_file_is_refused_with_advice() {
        let path = json!({"org.cncf.model.filepath": "m"});
        let packed = json!({"org.opencontainers.image.title": "dir", "io.deis.oras.content.unpack": "true"});
        for (bad, want, word) in [
            (layer("application/vnd.cncf.model.weight.v1.tar", &path), Reason::SourceInvalid, "tar archive"),
            (layer("application/vnd.cncf.model.weight.v1.tar+gzip", &path), Reason::SourceInvalid, "tar archive"),
            (layer("application/vnd.kitops.modelkit.model.v1.tar+gzip", &Value::Null), Reason::SourceInvalid, "tar"),
            (layer("application/vnd.docker.ai.dir.tar", &path), Reason::SourceInvalid, "tar archive"),
            (layer("application/vnd.oci.image.layer.v1.tar+gzip", &packed), Reason::SourceInvalid, "tar archive"),
            (
                layer("application/vnd.oci.image.layer.v1.tar+gzip", &Value::Null),
                Reason::SourceInvalid,
                "container image",
            ),
            (
                layer("application/vnd.docker.image.rootfs.diff.tar.gzip", &json!({})),
                Reason::SourceInvalid,
                "container image",
            ),
            (layer("application/octet-stream", &json!({})), Reason::SourceInvalid, "no file name"),
            (titled("../escape"), Reason::UnsafeFileName, ".."),
            (titled("/etc/passwd"), Reason::UnsafeFileName, "absolute"),
            (titled(""), Reason::UnsafeFileName, "empty"),
            (titled(".model-loader/manifest.json"), Reason::UnsafeFileName, "own"),
            (layer(EMPTY, &Value::Null), Reason::SourceInvalid, "no files"),
        ] {
            let layers = if want == Reason::UnsafeFileName { vec![titled("ok"), bad] } else { vec![bad] };
            let error = names(&layers).unwrap_err();
            assert_eq!(error.reason(), want, "{layers:?}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
