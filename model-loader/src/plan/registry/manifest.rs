//! Manifests as registries send them, which are hostile until read.

use std::collections::BTreeMap;

use model_core::reason::Reason;
use serde::Deserialize;

use crate::{
    Error,
    digest::{Algorithm, Digest},
};

/// Marks manifests in an index that say something about the others.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// How many entries of an index a message names.
const SHOWN_ENTRIES: usize = 8;

/// A manifest or an index: which one, its fields tell.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// What an artifact consists of.
#[derive(Debug)]
pub(in crate::plan) struct Manifest {
    pub(in crate::plan) config: Option<Descriptor>,
    pub(in crate::plan) layers: Vec<Descriptor>,
}

/// One blob, or one manifest of an index.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::plan) struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    /// Length in bytes.
    pub(in crate::plan) size: u64,
    annotations: Option<BTreeMap<String, String>>,
    platform: Option<Platform>,
    /// Ollama's own.
    pub(in crate::plan) name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

impl Document {
    pub(super) fn parse(json: &[u8], shown: &str) -> Result<Self, Error> {
        serde_json::from_slice(json).map_err(|error| {
            let message = format!("{shown}: the registry's answer is no manifest");
            Error::new(Reason::SourceInvalid, message).caused_by(error)
        })
    }

    /// The one manifest of an index. `None` where this is none.
    ///
    /// An index has one for each platform. A model is the same on all of them, so a choice is for the user to make.
    pub(super) fn only_manifest(&self, shown: &str) -> Result<Option<Digest>, Error> {
        let Some(manifests) = &self.manifests else { return Ok(None) };
        let candidates: Vec<&Descriptor> = manifests.iter().filter(|entry| !entry.is_attestation()).collect();
        if let [only] = *candidates {
            return only.digest().map(Some);
        }
        let name = |entry: &&Descriptor| format!("{} ({})", printable(&entry.digest), entry.platform());
        let names: Vec<String> = candidates.iter().take(SHOWN_ENTRIES).map(name).collect();
        let message = format!(
            "{shown}: it is an index of {} artifacts; name one of them with @sha256:…: {}",
            candidates.len(),
            names.join(", ")
        );
        Err(Error::new(Reason::SourceInvalid, message))
    }

    pub(super) fn into_manifest(self, shown: &str) -> Result<Manifest, Error> {
        if let Self { layers: Some(layers), config, manifests: None } = self {
            return Ok(Manifest { config, layers });
        }
        let message = format!("{shown}: it is no manifest of OCI or of Docker's version 2");
        Err(Error::new(Reason::SourceInvalid, message))
    }
}

impl Descriptor {
    /// The kind of content, without parameters.
    pub(in crate::plan) fn media_type(&self) -> &str {
        self.media_type.split(';').next().unwrap_or_default().trim()
    }

    /// A parameter of the media type: `b` of `t; a=b`.
    pub(in crate::plan) fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.media_type.split(';').skip(1).filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    pub(in crate::plan) fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// What the content is verified against.
    pub(in crate::plan) fn digest(&self) -> Result<Digest, Error> {
        let digest = self.digest.parse::<Digest>().ok().filter(|digest| digest.algorithm() == Algorithm::Sha256);
        digest.ok_or_else(|| {
            let message = format!("the registry names content by {}, which is no sha256", printable(&self.digest));
            Error::new(Reason::SourceInvalid, message)
        })
    }

    /// For messages.
    pub(in crate::plan) fn shown(&self) -> String {
        format!("{} of type {}", printable(&self.digest), printable(&self.media_type))
    }

    fn is_attestation(&self) -> bool {
        let nowhere = |platform: &Platform| platform.os == "unknown" && platform.architecture == "unknown";
        self.annotation(REFERENCE_TYPE).is_some() || self.platform.as_ref().is_some_and(nowhere)
    }

    fn platform(&self) -> String {
        match &self.platform {
            Some(platform) => format!("{}/{}", printable(&platform.os), printable(&platform.architecture)),
            None => "any platform".to_owned(),
        }
    }
}

/// A text of the registry, of a safe form and length.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const A: &str = "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
    const B: &str = "sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d";

    fn document(json: &serde_json::Value) -> Document {
        Document::parse(json.to_string().as_bytes(), "oci://r/m:latest").unwrap()
    }

    #[test]
    fn an_index_is_followed_only_without_a_choice() {
        let entry =
            |digest: &str, os: &str| json!({"digest": digest, "size": 1, "platform": {"os": os, "architecture": os}});
        let about =
            json!({"digest": B, "size": 1, "annotations": {"vnd.docker.reference.type": "attestation-manifest"}});
        for (name, manifests, want) in [
            ("one", json!([entry(A, "linux")]), Some(A)),
            ("one and what is said of it", json!([about, entry(A, "linux"), entry(B, "unknown")]), Some(A)),
            ("one without a platform", json!([{"digest": A, "size": 1}]), Some(A)),
            ("two", json!([entry(A, "linux"), entry(B, "darwin")]), None),
            ("none", json!([]), None),
            ("one of a digest that is none", json!([entry("sha512:00", "linux")]), None),
        ] {
            let found =
                document(&json!({"schemaVersion": 2, "manifests": manifests})).only_manifest("oci://r/m:latest");
            match (found, want) {
                (Ok(found), Some(want)) => assert_eq!(found.unwrap().to_string(), want, "{name}"),
                (Err(error), None) => assert_eq!(error.reason(), Reason::SourceInvalid, "{name}"),
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
        let two = document(&json!({"manifests": [entry(A, "linux"), entry(B, "darwin")]}));
        let message = two.only_manifest("oci://r/m:latest").unwrap_err().to_string();
        assert!(message.contains(A) && message.contains("darwin/darwin"), "{message}");
    }

    #[test]
    fn what_is_no_manifest_is_told() {
        let layer = json!({"digest": A, "size": 1, "mediaType": "t; name=a"});
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        for text in [
            "",
            "<html>sign in</html>",
            "[]",
            "null",
            &deep,
            &format!("{{\"layers\": {deep}}}"),
            &json!({"layers": [{"digest": A, "size": -1}]}).to_string(),
            &json!({"layers": [{"digest": A, "size": 1.5}]}).to_string(),
            &json!({"layers": [{"digest": A, "size": "1"}]}).to_string(),
            &format!("{{\"layers\": [{{\"digest\": \"{A}\", \"size\": 18446744073709551616}}]}}"),
            &json!({"layers": [{"size": 1}]}).to_string(),
            &json!({"layers": [layer], "manifests": []}).to_string(),
            &json!({"schemaVersion": 1, "fsLayers": []}).to_string(),
            &json!({"errors": [{"code": "DENIED"}]}).to_string(),
        ] {
            let read = Document::parse(text.as_bytes(), "x").and_then(|document| document.into_manifest("x"));
            assert_eq!(read.unwrap_err().reason(), Reason::SourceInvalid, "{text:.60}");
        }
        // What nobody reads may be as odd as it likes.
        let odd = format!("{{\"layers\": [{layer}], \"config\": null, \"subject\": {deep}}}");
        let manifest = Document::parse(odd.as_bytes(), "x").and_then(|document| document.into_manifest("x")).unwrap();
        assert_eq!(manifest.layers[0].media_type(), "t");
        assert_eq!(manifest.layers[0].parameter("name"), Some("a"));
    }
}
