//! What opens a registry: nothing, a password, or a token that is fetched with it and renewed before it ends.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};
use model_core::reason::Reason;
use reqwest::RequestBuilder;
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use super::challenge::{Challenge, challenges};
use crate::{
    Error, RegistryCredentials,
    http::{Dialect, Http},
    source::without_secrets,
};

/// How long a token is valid where its server does not say.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// Longest life that is believed.
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Writes `Authorization` headers for one repository.
pub(super) struct Authority {
    credentials: Option<RegistryCredentials>,
    wanted: Wanted,
    /// The token of now. Whoever renews it lets the others wait, so that one is fetched for all.
    token: Mutex<Option<Token>>,
}

/// What the registry asks for.
enum Wanted {
    Nothing,
    Password,
    Token(Realm),
}

/// Who gives tokens, and for what.
struct Realm {
    url: Url,
    service: Option<String>,
    scope: String,
}

struct Token {
    header: HeaderValue,
    renew_at: Instant,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Authority {
    pub(super) fn new(credentials: Option<RegistryCredentials>) -> Self {
        Self { credentials, wanted: Wanted::Nothing, token: Mutex::default() }
    }

    pub(super) fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    /// Does from now on what the registry's answer asks for.
    pub(super) fn follow(
        &mut self,
        headers: &HeaderMap,
        registry: &Url,
        repository: &str,
        shown: &str,
    ) -> Result<(), Error> {
        let challenges = challenges(headers);
        let by = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        self.wanted = match (by("bearer"), by("basic")) {
            (Some(bearer), _) => Wanted::Token(realm(bearer, registry, repository, shown)?),
            (None, Some(_)) if self.has_credentials() => Wanted::Password,
            // Without credentials the refusal of the next request says what is missing.
            _ => Wanted::Nothing,
        };
        Ok(())
    }

    /// The request with what opens the registry now.
    pub(super) async fn authorize(
        &self,
        request: RequestBuilder,
        http: &Http,
        shown: &str,
    ) -> Result<RequestBuilder, Error> {
        Ok(match self.header(http, shown).await? {
            Some(value) => request.header(header::AUTHORIZATION, value),
            None => request,
        })
    }

    /// The header alone, if one is needed.
    pub(super) async fn header(&self, http: &Http, shown: &str) -> Result<Option<HeaderValue>, Error> {
        match (&self.wanted, &self.credentials) {
            (Wanted::Password, Some(credentials)) => Ok(Some(basic(credentials))),
            (Wanted::Nothing | Wanted::Password, _) => Ok(None),
            (Wanted::Token(realm), credentials) => {
                let mut token = self.token.lock().await;
                if let Some(token) = token.as_ref().filter(|token| Instant::now() < token.renew_at) {
                    return Ok(Some(token.header.clone()));
                }
                let fresh = fetch(realm, credentials.as_ref(), http, shown).await?;
                Ok(Some(token.insert(fresh).header.clone()))
            }
        }
    }
}

/// Reads who gives tokens. Credentials that came to the registry over TLS go on over TLS.
fn realm(challenge: &Challenge, registry: &Url, repository: &str, shown: &str) -> Result<Realm, Error> {
    let parameter = |name: &str| challenge.parameters.get(name).filter(|value| !value.is_empty()).cloned();
    let url = parameter("realm").and_then(|realm| Url::parse(&realm).ok());
    let usable = |url: &Url| url.scheme() == "https" || (url.scheme() == "http" && registry.scheme() == "http");
    let Some(url) = url.filter(usable) else {
        let message = format!("{shown}: the registry asks for a token and names no safe place to get it from");
        return Err(Error::new(Reason::SourceInvalid, message));
    };
    let scope = parameter("scope").unwrap_or_else(|| format!("repository:{repository}:pull"));
    Ok(Realm { url, service: parameter("service"), scope })
}

async fn fetch(
    realm: &Realm,
    credentials: Option<&RegistryCredentials>,
    http: &Http,
    shown: &str,
) -> Result<Token, Error> {
    let mut url = realm.url.clone();
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = &realm.service {
            query.append_pair("service", service);
        }
        query.append_pair("scope", &realm.scope);
    }
    let what = format!("{shown}: token from {}", without_secrets(&realm.url));
    let asked = Instant::now();
    let request = || {
        let request = http.client().get(url.clone());
        match credentials {
            Some(credentials) => request.header(header::AUTHORIZATION, basic(credentials)),
            None => request,
        }
    };
    let answer = http.small(request, Dialect::Plain, &what).await?;
    let odd = || Error::new(Reason::SourceInvalid, format!("{what}: there is no token in the answer"));
    // The parser's own words may quote the token.
    let answer: Answer = serde_json::from_slice(&answer.body).map_err(|_| odd())?;
    let text = answer.token.or(answer.access_token).filter(|text| !text.is_empty()).ok_or_else(odd)?;
    let mut header = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| odd())?;
    header.set_sensitive(true);
    Ok(Token { header, renew_at: asked + renewed_after(answer.expires_in) })
}

/// A token is renewed after three quarters of its life, so that none ends on the way.
fn renewed_after(expires_in: Option<u64>) -> Duration {
    expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs).min(LONGEST_LIFETIME).mul_f64(0.75)
}

fn basic(credentials: &RegistryCredentials) -> HeaderValue {
    let RegistryCredentials { username, password } = credentials;
    let encoded = STANDARD.encode(format!("{username}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).unwrap_or(HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_fetched_from_safe_places_only() {
        let challenge = |realm: &str| Challenge {
            scheme: "bearer".to_owned(),
            parameters: [("realm".to_owned(), realm.to_owned())].into(),
        };
        for (registry, at, accepted) in [
            ("https://ghcr.io", "https://ghcr.io/token", true),
            ("https://registry-1.docker.io", "https://auth.docker.io/token", true),
            ("https://ghcr.io", "http://ghcr.io/token", false),
            ("http://localhost:5000", "http://localhost:5001/token", true),
            ("https://ghcr.io", "/token", false),
            ("https://ghcr.io", "file:///etc/passwd", false),
            ("https://ghcr.io", "", false),
        ] {
            let read = realm(&challenge(at), &Url::parse(registry).unwrap(), "org/m", "oci://…");
            assert_eq!(read.is_ok(), accepted, "{registry} {at}");
            assert!(read.ok().is_none_or(|realm| realm.scope == "repository:org/m:pull"));
        }
    }

    #[test]
    fn tokens_are_renewed_before_they_end() {
        for (expires_in, seconds) in [(Some(300), 225), (None, 45), (Some(0), 0), (Some(u64::MAX), 64_800)] {
            assert_eq!(renewed_after(expires_in), Duration::from_secs(seconds), "{expires_in:?}");
        }
    }
}
