//! Registries of the OCI distribution protocol, Ollama's among them: one manifest, and the blobs that it names.

mod challenge;
mod credentials;
mod grant;
mod manifest;
pub(super) mod naming;

use http::{StatusCode, header};
use model_core::reason::Reason;
use reqwest::RequestBuilder;
use url::Url;

use super::PlannedFile;
use crate::{
    Access, Error,
    digest::{Algorithm, Digest, Hasher},
    http::{Dialect, Http, Trouble},
    source::endpoint,
};

pub(super) use manifest::{Descriptor, Manifest};

use grant::Authority;
use manifest::Document;

/// The kinds of manifest that are understood.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
/// Largest manifest: registries take none that is larger.
const MAX_MANIFEST: usize = 4 << 20;
/// The names of Docker Hub that people write, and of its registry.
const DOCKER_HUB: [&str; 2] = ["docker.io", "index.docker.io"];
const DOCKER_HUB_REGISTRY: &str = "registry-1.docker.io";
/// Where a registry says what a manifest's digest is.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// A repository of a registry.
pub(crate) struct Registry {
    /// Root of the registry, without `v2/`.
    endpoint: Url,
    repository: String,
    authority: Authority,
    /// The source as it is shown.
    shown: String,
}

/// What names a repository and the manifest in it.
pub(super) struct Address {
    endpoint: Url,
    /// `HOST` or `HOST:PORT`, by which credentials are found.
    host: String,
    repository: String,
    /// A tag or a digest.
    reference: String,
    shown: String,
}

impl Address {
    pub(super) fn ollama(
        registry: Option<&str>,
        repository: &str,
        reference: &str,
        access: &Access,
        shown: &str,
    ) -> Result<Self, Error> {
        match registry {
            Some(host) => Self::oci(host, repository, reference, false, shown),
            None => Ok(Self::new(access.ollama_registry.clone(), repository, reference, shown)),
        }
    }

    pub(super) fn oci(
        host: &str,
        repository: &str,
        reference: &str,
        plain_http: bool,
        shown: &str,
    ) -> Result<Self, Error> {
        // Docker Hub's registry is on another host than its name says, and its own images are below `library`.
        let on_hub = DOCKER_HUB.contains(&host);
        let (host, library) = if on_hub { (DOCKER_HUB_REGISTRY, !repository.contains('/')) } else { (host, false) };
        let repository = if library { format!("library/{repository}") } else { repository.to_owned() };
        let endpoint = endpoint(host, plain_http).map_err(|error| {
            Error::new(Reason::WrongUse, format!("{shown}: {host} is no host of a registry")).caused_by(error)
        })?;
        Ok(Self::new(endpoint, &repository, reference, shown))
    }

    fn new(endpoint: Url, repository: &str, reference: &str, shown: &str) -> Self {
        let port = endpoint.port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = format!("{}{port}", endpoint.host_str().unwrap_or_default());
        let (repository, reference) = (repository.to_owned(), reference.to_owned());
        Self { endpoint, host, repository, reference, shown: shown.to_owned() }
    }
}

impl Registry {
    /// Finds the manifest, through an index where that leaves no choice. Gives its digest too, by which the same content
    /// can be had for ever.
    pub(super) async fn resolve(
        address: Address,
        access: &Access,
        http: &Http,
    ) -> Result<(Self, Digest, Manifest), Error> {
        let Address { endpoint, host, repository, reference, shown } = address;
        let credentials = credentials::find(access, &host, &repository)?;
        let mut registry = Self { endpoint, repository, authority: Authority::new(credentials), shown };
        registry.learn_to_authorize(&reference, http).await?;
        let (digest, document) = registry.manifest(&reference, http).await?;
        let (digest, document) = match document.only_manifest(&registry.shown)? {
            None => (digest, document),
            Some(only) => registry.manifest(&only.to_string(), http).await?,
        };
        let manifest = document.into_manifest(&registry.shown)?;
        Ok((registry, digest, manifest))
    }

    /// Writes the request for the blob that holds a file.
    pub(super) async fn get(&self, http: &Http, file: &PlannedFile) -> Result<RequestBuilder, Error> {
        let digest = file.digest.as_ref().map(ToString::to_string).unwrap_or_default();
        let request = http.client().get(self.url("blobs", &digest)).header(header::ACCEPT_ENCODING, "identity");
        self.authority.authorize(request, http, &self.shown).await
    }

    /// Asks for the manifest without credentials, to learn how the registry wants to be asked.
    async fn learn_to_authorize(&mut self, reference: &str, http: &Http) -> Result<(), Error> {
        let url = self.url("manifests", reference);
        let mut budget = http.budget();
        let answer = loop {
            let request = http.client().head(url.clone()).header(header::ACCEPT, ACCEPT);
            match http.answer(request, &self.shown).await {
                Ok(answer) if !is_passing(answer.status()) => break answer,
                Ok(answer) => {
                    let message = format!("{}: the registry answered {}", self.shown, answer.status());
                    budget.spend(Trouble::passing(Error::new(Reason::NetworkError, message))).await?;
                }
                Err(trouble) => budget.spend(trouble).await?,
            }
        };
        // Whoever a registry redirects to has no say in where credentials go.
        if answer.status() == StatusCode::UNAUTHORIZED && answer.url().origin() == self.endpoint.origin() {
            self.authority.follow(answer.headers(), &self.endpoint, &self.repository, &self.shown)?;
        }
        Ok(())
    }

    /// Fetches one manifest and checks its digest.
    async fn manifest(&self, reference: &str, http: &Http) -> Result<(Digest, Document), Error> {
        let url = self.url("manifests", reference);
        let authorization = self.authority.header(http, &self.shown).await.map_err(|error| self.advised(error))?;
        let request = || {
            let request = http.client().get(url.clone()).header(header::ACCEPT, ACCEPT);
            match &authorization {
                Some(value) => request.header(header::AUTHORIZATION, value.clone()),
                None => request,
            }
        };
        let answer = http.small(request, Dialect::Plain, &self.shown).await.map_err(|error| self.advised(error))?;
        if answer.body.len() > MAX_MANIFEST {
            let message = format!("{}: the manifest is longer than {MAX_MANIFEST} bytes", self.shown);
            return Err(Error::new(Reason::SourceInvalid, message));
        }
        let mut hasher = Hasher::new(Algorithm::Sha256, 0);
        hasher.update(&answer.body);
        let digest = hasher.finish();
        let said = answer.headers.get(CONTENT_DIGEST).and_then(|value| value.to_str().ok());
        check(&digest, reference, said, &self.shown)?;
        Ok((digest, Document::parse(&answer.body, &self.shown)?))
    }

    /// `{endpoint}/v2/{repository}/{kind}/{name}`.
    fn url(&self, kind: &str, name: &str) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v2").extend(self.repository.split('/')).extend([kind, name]);
        }
        url
    }

    /// Says what a user can do about a refusal.
    fn advised(&self, error: Error) -> Error {
        let advice = match (error.reason(), self.authority.has_credentials()) {
            (Reason::SourceNotFound, _) => "check the name, and the tag, which is 'latest' where none is given",
            (Reason::AccessDenied, true) => "the registry does not let these credentials read it",
            (Reason::AccessDenied, false) => {
                "there is no such repository, or it needs credentials: OCI_USERNAME with OCI_PASSWORD, or DOCKER_CONFIG"
            }
            _ => return error,
        };
        Error::new(error.reason(), format!("{}: {advice}", error.failure().message))
    }
}

/// The manifest that an answer holds.
#[cfg(fuzzing)]
pub(super) fn answered(body: &[u8]) -> Result<Manifest, Error> {
    let document = Document::parse(body, "fuzz")?;
    document.only_manifest("fuzz")?;
    document.into_manifest("fuzz")
}

/// Checks that a manifest is the one that was asked for. `said` is what the registry says its digest is.
fn check(digest: &Digest, reference: &str, said: Option<&str>, shown: &str) -> Result<(), Error> {
    let named = [Some(reference), said].into_iter().flatten().filter_map(|text| text.parse::<Digest>().ok());
    let other = named.filter(|named| named.algorithm() == Algorithm::Sha256).find(|named| named != digest);
    other.map_or(Ok(()), |other| {
        let message = format!("{shown}: the manifest's digest should be {other} and is {digest}");
        Err(Error::new(Reason::ChecksumMismatch, message))
    })
}

fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502..=504)
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::{collection::vec, option, prelude::*};
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::{Wanted, oci, ollama, select};

    fn address(source: &str) -> Address {
        match source.parse().unwrap() {
            crate::Source::Ollama { registry, repository, reference } => {
                Address::ollama(registry.as_deref(), &repository, &reference, &Access::default(), source).unwrap()
            }
            crate::Source::Oci { registry, repository, reference, plain_http } => {
                Address::oci(&registry, &repository, &reference, plain_http, source).unwrap()
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn each_source_leads_to_its_registry() {
        for (source, host, manifest) in [
            ("ollama://tiny", "registry.ollama.ai", "https://registry.ollama.ai/v2/library/tiny/manifests/latest"),
            ("ollama://hf.co/a/B:Q4_0", "hf.co", "https://hf.co/v2/a/B/manifests/Q4_0"),
            ("oci://ghcr.io/a/b:v1", "ghcr.io", "https://ghcr.io/v2/a/b/manifests/v1"),
            (
                "oci://docker.io/ai/smollm2",
                "registry-1.docker.io",
                "https://registry-1.docker.io/v2/ai/smollm2/manifests/latest",
            ),
            (
                "oci://docker.io/tiny",
                "registry-1.docker.io",
                "https://registry-1.docker.io/v2/library/tiny/manifests/latest",
            ),
            ("oci://localhost:5000/t", "localhost:5000", "http://localhost:5000/v2/t/manifests/latest"),
            ("oci+http://lan/t", "lan", "http://lan/v2/t/manifests/latest"),
        ] {
            let Address { endpoint, host: found, repository, reference, shown } = address(source);
            let registry = Registry { endpoint, repository, authority: Authority::new(None), shown };
            assert_eq!(found, host);
            assert_eq!(registry.url("manifests", &reference).as_str(), manifest);
        }
    }

    #[test]
    fn a_manifest_is_the_one_that_was_asked_for() {
        let (own, other) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
        for (reference, said, passes) in [
            ("v1", None, true),
            ("v1", Some(&*own), true),
            ("v1", Some(&other), false),
            (&own, None, true),
            (&own, Some(&own), true),
            (&own, Some(&other), false),
            (&other, None, false),
            (&other, Some(&own), false),
            ("v1", Some("sha512:00"), true),
        ] {
            let checked = check(&own.parse().unwrap(), reference, said, "oci://r/m");
            let reason = checked.as_ref().err().map(Error::reason);
            assert_eq!(reason, (!passes).then_some(Reason::ChecksumMismatch), "{reference} {said:?}");
        }
    }

    fn hostile_name() -> impl Strategy<Value = String> {
        prop_oneof![
            "[./a\\\\\u{0}\n-]{0,12}",
            "(\\.\\./|a/|/){0,4}[a.]{0,3}",
            "\\PC{0,20}",
            Just("model.gguf".to_owned())
        ]
    }

    fn blob() -> impl Strategy<Value = Value> {
        let kind = prop_oneof![
            "application/vnd\\.ollama\\.image\\.(model|license|json|[./a-z]{0,6})(; name=[./a]{0,6})?",
            "application/vnd\\.docker\\.ai\\.(gguf\\.v3|license|safetensors)",
            "application/vnd\\.(cncf\\.model\\.weight\\.v1|oci\\.image\\.layer\\.v1)\\.(raw|tar)",
            "\\PC{0,12}",
        ];
        let digest = prop_oneof![8 => "sha256:[0-9a-f]{64}", 1 => "sha512:[0-9a-f]{0,3}", 1 => "\\PC{0,9}"];
        let size = prop_oneof![1 => Just(json!(u64::MAX)), 1 => any::<i64>().prop_map(Value::from), 9 => (0u64..9).prop_map(Value::from)];
        (kind, digest, size, option::of(hostile_name()), option::of(hostile_name()), option::of(hostile_name()))
            .prop_map(|(kind, digest, size, name, title, path)| {
                let annotations = json!({"org.opencontainers.image.title": title, "org.cncf.model.filepath": path});
                let mut annotations = annotations;
                annotations.as_object_mut().unwrap().retain(|_, value| !value.is_null());
                json!({"mediaType": kind, "digest": digest, "size": size, "name": name, "annotations": annotations})
            })
    }

    proptest! {
        #[test]
        fn no_answer_leads_outside_of_the_directory_or_to_a_panic(answer in prop_oneof![
            (option::of(blob()), vec(blob(), 0..5)).prop_map(|(config, layers)| json!({"config": config, "layers": layers})),
            vec(blob(), 0..4).prop_map(|manifests| json!({"manifests": manifests})),
            "\\PC{0,40}".prop_map(Value::from),
        ], cut in option::of(0usize..400)) {
            let mut text = answer.to_string().into_bytes();
            text.truncate(cut.unwrap_or(usize::MAX));
            let Ok(document) = Document::parse(&text, "oci://r/m") else { return Ok(()) };
            let _ = document.only_manifest("oci://r/m");
            let Ok(manifest) = document.into_manifest("oci://r/m") else { return Ok(()) };
            let wanted = Wanted::all_of("oci://r/m".parse().unwrap());
            for files in [ollama::files(&manifest, "ollama://m"), oci::files(&manifest, "oci://r/m")] {
                let Ok(files) = files.and_then(|files| select(files, &wanted)) else { continue };
                prop_assert!(files.iter().map(|file| file.size.unwrap()).sum::<u64>() < 1 << 63);
                for file in files {
                    let path = file.path.below(Path::new("/models/m"));
                    let mut inside = path.strip_prefix("/models/m").unwrap().components();
                    prop_assert!(inside.all(|part| matches!(part, Component::Normal(_))), "{path:?}");
                    prop_assert!(file.digest.is_some());
                }
            }
        }
    }
}
