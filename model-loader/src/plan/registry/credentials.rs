//! User and password for a registry: from the environment, or from Docker's `config.json`.

use std::{collections::BTreeMap, fs, io, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use model_core::reason::Reason;
use serde::Deserialize;

use crate::{Access, Error, RegistryCredentials};

/// The names that Docker Hub has in references and in `config.json`.
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// The part of Docker's `config.json` that holds credentials. Helpers, which are programs, are not run.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

/// The credentials for a repository, if there are any.
pub(super) fn find(access: &Access, host: &str, repository: &str) -> Result<Option<RegistryCredentials>, Error> {
    match (&access.registry, &access.docker_config) {
        (Some(own), _) => Ok(Some(own.clone())),
        (None, Some(path)) => read(path, host, repository),
        (None, None) => Ok(None),
    }
}

fn read(path: &Path, host: &str, repository: &str) -> Result<Option<RegistryCredentials>, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        // DOCKER_CONFIG names a directory, which other things lie in as well.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let message = format!("could not read registry credentials from {}", path.display());
            return Err(Error::new(Reason::WrongUse, message).caused_by(error));
        }
    };
    let config: Config = serde_json::from_str(&text).map_err(|error| {
        // The parser's own words may quote a secret.
        let place = format!("line {}, column {}", error.line(), error.column());
        let message = format!("{} is no config.json of Docker: wrong at {place}", path.display());
        Error::new(Reason::WrongUse, message)
    })?;
    Ok(choose(&config, host, repository))
}

/// The entry for the repository, or else for a part of its path, or else for the registry.
fn choose(config: &Config, host: &str, repository: &str) -> Option<RegistryCredentials> {
    let place = format!("{}/{repository}/", known_as(host));
    let fits = |key: &str| {
        let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let bare = bare.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
        let (entry_host, path) = bare.split_once('/').unwrap_or((bare, ""));
        let entry = if path.is_empty() { known_as(entry_host) } else { format!("{}/{path}", known_as(entry_host)) };
        place.starts_with(&format!("{entry}/")).then_some(entry.len())
    };
    let candidates = config.auths.iter().filter_map(|(key, entry)| Some((fits(key)?, entry.credentials()?)));
    candidates.max_by_key(|(length, _)| *length).map(|(_, credentials)| credentials)
}

fn known_as(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if DOCKER_HUB.contains(&&*host) { DOCKER_HUB[0].to_owned() } else { host }
}

impl Entry {
    fn credentials(&self) -> Option<RegistryCredentials> {
        if !self.username.is_empty() {
            return Some(RegistryCredentials { username: self.username.clone(), password: self.password.clone() });
        }
        let decoded = String::from_utf8(STANDARD.decode(self.auth.trim()).ok()?).ok()?;
        let (username, password) = decoded.split_once(':')?;
        Some(RegistryCredentials { username: username.to_owned(), password: password.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_that_fits_best_is_taken() {
        let config: Config = serde_json::from_value(serde_json::json!({
            "auths": {
                "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
                "ghcr.io": {"username": "all", "password": "p:w"},
                "ghcr.io/org/models": {"username": "models", "password": "pw"},
                "https://registry.lan:5000": {"auth": "bGFuOmE6Yg=="},
                "empty.io": {},
                "broken.io": {"auth": "%%%"},
            },
            "credsStore": "desktop",
        }))
        .unwrap();
        for (host, repository, want) in [
            ("docker.io", "ai/smollm2", Some(("hub", "pw"))),
            ("registry-1.docker.io", "ai/smollm2", Some(("hub", "pw"))),
            ("ghcr.io", "org/models/tiny", Some(("models", "pw"))),
            ("ghcr.io", "org/models", Some(("models", "pw"))),
            ("ghcr.io", "org/models-private", Some(("all", "p:w"))),
            ("GHCR.io", "other", Some(("all", "p:w"))),
            ("registry.lan:5000", "m", Some(("lan", "a:b"))),
            ("registry.lan", "m", None),
            ("evil-ghcr.io", "m", None),
            ("ghcr.io.evil.com", "m", None),
            ("empty.io", "m", None),
            ("broken.io", "m", None),
        ] {
            let got = choose(&config, host, repository).map(|found| (found.username, found.password));
            let want = want.map(|(username, password)| (username.to_owned(), password.to_owned()));
            assert_eq!(got, want, "{host}/{repository}");
        }
    }

    #[test]
    fn a_file_that_is_wrong_is_named_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let access = Access { docker_config: Some(path.clone()), ..Access::default() };
        assert!(find(&access, "ghcr.io", "m").unwrap().is_none(), "no file, no credentials");
        fs::write(&path, r#"{"auths": {"ghcr.io": "s3cr3t"}}"#).unwrap();
        let failure = find(&access, "ghcr.io", "m").err().unwrap().failure();
        assert_eq!(failure.reason, Reason::WrongUse);
        assert!(failure.message.contains("config.json") && !failure.message.contains("s3cr3t"), "{}", failure.message);
    }
}
