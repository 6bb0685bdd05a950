//! Where the sources are and what opens them: endpoints, credentials, certificate authorities.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use model_core::reason::Reason;
use url::Url;

use crate::Error;

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

impl Default for Access {
    /// The public hub, public certificate authorities and no credentials.
    fn default() -> Self {
        let hf_endpoint = Url::parse("https://huggingface.co").expect("a constant URL");
        Self { hf_endpoint, hf_token: None, aws: BTreeMap::new(), url: None, extra_ca: None }
    }
}

impl Access {
    /// Reads `HF_ENDPOINT`, `HF_TOKEN`, `AWS_…`, `TOKEN`, `USERNAME` with `PASSWORD`, and `SSL_CERT_FILE`.
    ///
    /// Empty values count as absent. `USERNAME` alone, which many shells set, is not used.
    ///
    /// # Errors
    /// [`Reason::WrongUse`] where `HF_ENDPOINT` is no `http` or `https` URL.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Self, Error> {
        // Secrets made from files often end in a line break, which no header can carry.
        let trimmed = vars.into_iter().map(|(name, value)| (name, value.trim_end_matches(['\r', '\n']).to_owned()));
        let mut vars: BTreeMap<_, _> = trimmed.filter(|(_, value)| !value.is_empty()).collect();
        let mut access = Self::default();
        if let Some(text) = vars.remove("HF_ENDPOINT") {
            access.hf_endpoint = Url::parse(&text)
                .ok()
                .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
                .ok_or_else(|| Error::new(Reason::WrongUse, "HF_ENDPOINT is not an http:// or https:// URL"))?;
        }
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

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = crate::source::without_secrets(&self.hf_endpoint);
        f.debug_struct("Access")
            .field("hf_endpoint", &endpoint)
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
            ("SSL_CERT_FILE", "/ca.pem"),
            ("PATH", "/bin"),
        ])
        .unwrap();
        assert_eq!(read.hf_endpoint.as_str(), "http://hub:8080/mirror");
        assert_eq!(read.hf_token.as_deref(), Some("hf_x"));
        assert_eq!(read.aws.keys().collect::<Vec<_>>(), ["AWS_REGION"]);
        assert!(matches!(read.url, Some(UrlCredentials::Basic { .. })));
        assert_eq!(read.extra_ca, Some(PathBuf::from("/ca.pem")));
        assert!(!format!("{read:?}").contains("hf_x"));
        assert!(access(&[("USERNAME", "me")]).unwrap().url.is_none());
        assert!(matches!(
            access(&[("TOKEN", "t"), ("USERNAME", "u"), ("PASSWORD", "p")]).unwrap().url,
            Some(UrlCredentials::Bearer(_))
        ));
        assert_eq!(access(&[("HF_ENDPOINT", "hub.local")]).unwrap_err().reason(), Reason::WrongUse);
    }
}
