//! Where the sources are and what opens them: endpoints, credentials, certificate authorities.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use model_core::reason::Reason;
use url::Url;

use crate::{Error, source::without_secrets};

/// Endpoints and credentials, usually read from the environment of the process.
///
/// `Debug` shows no credential.
#[derive(Clone)]
pub struct Access {
    /// Root of the hub's API and files. `https://huggingface.co` where nothing else is said.
    pub hf_endpoint: Url,
    /// Token for the hub.
    pub hf_token: Option<String>,
    /// Variables whose names begin with `AWS_`, as the tools of AWS read them: keys, session token, region, endpoint,
    /// web identity. Without any of the credentials among them requests are not signed.
    pub aws: BTreeMap<String, String>,
    /// Credentials for `http://` and `https://` sources.
    pub url: Option<UrlCredentials>,
    /// Root of the registry for `ollama://` sources that name no host. `https://registry.ollama.ai` where nothing else is
    /// said.
    pub ollama_registry: Url,
    /// Credentials for the registry of an `oci://` or `ollama://` source. They go before those of `docker_config`.
    pub registry: Option<RegistryCredentials>,
    /// Docker's `config.json`, with credentials by registry. The file may be absent. Its credential helpers are not run.
    pub docker_config: Option<PathBuf>,
    /// File of further certificate authorities in PEM form, trusted beside the public ones that are compiled in.
    pub extra_ca: Option<PathBuf>,
}

/// What a plain web server asks for.
#[derive(Clone)]
pub enum UrlCredentials {
    /// `Authorization: Bearer …`.
    Bearer(String),
    /// `Authorization: Basic …`.
    Basic {
        /// The user.
        username: String,
        /// Its password.
        password: String,
    },
}

/// What a registry asks for.
#[derive(Clone)]
pub struct RegistryCredentials {
    /// The user.
    pub username: String,
    /// Its password, or a token that the registry takes in its place.
    pub password: String,
}

impl Default for Access {
    /// The public hub and registry, public certificate authorities and no credentials.
    fn default() -> Self {
        let constant = |url| Url::parse(url).expect("a constant URL");
        Self {
            hf_endpoint: constant("https://huggingface.co"),
            hf_token: None,
            aws: BTreeMap::new(),
            url: None,
            ollama_registry: constant("https://registry.ollama.ai"),
            registry: None,
            docker_config: None,
            extra_ca: None,
        }
    }
}

impl Access {
    /// Reads `HF_ENDPOINT`, `HF_TOKEN`, `AWS_…`, `TOKEN`, `USERNAME` with `PASSWORD`, `OLLAMA_REGISTRY`, `OCI_USERNAME`
    /// with `OCI_PASSWORD`, `REGISTRY_AUTH_FILE` (a file in the form of Docker's `config.json`), `DOCKER_CONFIG` (the
    /// directory of that file) and `SSL_CERT_FILE`.
    ///
    /// Empty values count as absent. `USERNAME` alone, which many shells set, is not used.
    ///
    /// # Errors
    /// [`Reason::WrongUse`] where `HF_ENDPOINT` or `OLLAMA_REGISTRY` is no `http` or `https` URL.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Self, Error> {
        // Secrets made from files often end in a line break, which no header can carry.
        let trimmed = vars.into_iter().map(|(name, value)| (name, value.trim_end_matches(['\r', '\n']).to_owned()));
        let mut vars: BTreeMap<_, _> = trimmed.filter(|(_, value)| !value.is_empty()).collect();
        let mut access = Self::default();
        if let Some(text) = vars.remove("HF_ENDPOINT") {
            access.hf_endpoint = root("HF_ENDPOINT", &text)?;
        }
        if let Some(text) = vars.remove("OLLAMA_REGISTRY") {
            access.ollama_registry = root("OLLAMA_REGISTRY", &text)?;
        }
        let registry = (vars.remove("OCI_USERNAME"), vars.remove("OCI_PASSWORD"));
        if let (Some(username), Some(password)) = registry {
            access.registry = Some(RegistryCredentials { username, password });
        }
        let docker_config = |dir| PathBuf::from(dir).join("config.json");
        access.docker_config = vars
            .remove("REGISTRY_AUTH_FILE")
            .map(PathBuf::from)
            .or_else(|| vars.remove("DOCKER_CONFIG").map(docker_config));
        access.hf_token = vars.remove("HF_TOKEN");
        access.extra_ca = vars.remove("SSL_CERT_FILE").map(PathBuf::from);
        access.url = match (vars.remove("TOKEN"), vars.remove("USERNAME"), vars.remove("PASSWORD")) {
            (Some(token), _, _) => Some(UrlCredentials::Bearer(token)),
            (None, Some(username), Some(password)) => Some(UrlCredentials::Basic { username, password }),
            _ => None,
        };
        access.aws = vars.into_iter().filter(|(name, _)| name.starts_with("AWS_")).collect();
        Ok(access)
    }

    /// Reads the environment of this process.
    ///
    /// # Errors
    /// As [`Access::from_vars`].
    pub fn from_env() -> Result<Self, Error> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::from_vars(std::env::vars_os().filter_map(text))
    }
}

/// The URL that all of a server's addresses begin with.
fn root(variable: &str, text: &str) -> Result<Url, Error> {
    let usable = |url: &Url| matches!(url.scheme(), "http" | "https") && url.host().is_some();
    Url::parse(text)
        .ok()
        .filter(usable)
        .ok_or_else(|| Error::new(Reason::WrongUse, format!("{variable} is not an http:// or https:// URL")))
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("hf_endpoint", &without_secrets(&self.hf_endpoint))
            .field("ollama_registry", &without_secrets(&self.ollama_registry))
            .field("docker_config", &self.docker_config)
            .field("extra_ca", &self.extra_ca)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(vars: &[(&str, &str)]) -> Result<Access, Error> {
        Access::from_vars(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn variables_are_read_as_documented() {
        let read = access(&[
            ("HF_ENDPOINT", "http://hub:8080/mirror"),
            ("HF_TOKEN", "hf_x"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_PROFILE", ""),
            ("USERNAME", "u"),
            ("PASSWORD", "p"),
            ("OLLAMA_REGISTRY", "http://mirror:5000"),
            ("OCI_USERNAME", "oci"),
            ("OCI_PASSWORD", "s3cr3t\n"),
            ("DOCKER_CONFIG", "/docker"),
            ("SSL_CERT_FILE", "/ca.pem"),
            ("PATH", "/bin"),
        ])
        .unwrap();
        assert_eq!(read.hf_endpoint.as_str(), "http://hub:8080/mirror");
        assert_eq!(read.hf_token.as_deref(), Some("hf_x"));
        assert_eq!(read.aws.keys().collect::<Vec<_>>(), ["AWS_REGION"]);
        assert!(matches!(read.url, Some(UrlCredentials::Basic { .. })));
        assert_eq!(read.extra_ca, Some(PathBuf::from("/ca.pem")));
        assert_eq!(read.ollama_registry.as_str(), "http://mirror:5000/");
        assert_eq!(read.registry.as_ref().unwrap().password, "s3cr3t");
        assert_eq!(read.docker_config, Some(PathBuf::from("/docker/config.json")));
        for secret in ["hf_x", "s3cr3t"] {
            assert!(!format!("{read:?}").contains(secret));
        }
        let both = access(&[("REGISTRY_AUTH_FILE", "/auth"), ("DOCKER_CONFIG", "/docker")]).unwrap();
        assert_eq!(both.docker_config, Some(PathBuf::from("/auth")));
        assert!(access(&[("OCI_USERNAME", "me")]).unwrap().registry.is_none());
        assert!(access(&[("USERNAME", "me")]).unwrap().url.is_none());
        assert!(matches!(
            access(&[("TOKEN", "t"), ("USERNAME", "u"), ("PASSWORD", "p")]).unwrap().url,
            Some(UrlCredentials::Bearer(_))
        ));
        for wrong in [("HF_ENDPOINT", "hub.local"), ("OLLAMA_REGISTRY", "mirror:5000")] {
            assert_eq!(access(&[wrong]).unwrap_err().reason(), Reason::WrongUse);
        }
    }
}
