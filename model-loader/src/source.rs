//! Where a model comes from, as written on the command line.

mod reference;

use std::{fmt, str::FromStr};

use model_core::reason::Reason;
use url::Url;

use crate::Error;

pub(crate) use reference::endpoint;

/// What a source begins with, for messages.
const KINDS: &str = "hf://, s3://, ollama://, oci://, http:// or https://";
/// The namespace of Ollama's own models, which their names leave out.
const OLLAMA_NAMESPACE: &str = "library";

/// A place that models are downloaded from.
///
/// | written | what is downloaded |
/// |---|---|
/// | `hf://ORG/REPO[@REV]` | the files of a repository of the Hugging Face hub |
/// | `s3://BUCKET/KEY` | one object, or all objects below the prefix |
/// | `ollama://[HOST/][NAMESPACE/]NAME[:TAG]` | the layers of an Ollama model, named by their kind: `model.gguf`, `template`, `params`, `license`, … and `config.json` |
/// | `oci://HOST/REPOSITORY[:TAG]` | the files of an OCI artifact (`ModelPack`, `oras push`, Docker's models) under the names that it gives them |
/// | `http://…`, `https://…` | one file |
///
/// In place of a tag, or after it, `@sha256:…` names one manifest for good. Registries on this machine, and those written
/// `oci+http://`, are spoken to without TLS.
///
/// `Display` writes it without user, password and query, so it can go to logs and to the manifest.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// A repository of the Hugging Face hub: `hf://ORG/REPO[@REV]`.
    HuggingFace {
        /// `ORG/REPO`, or `REPO` alone.
        repo: String,
        /// Branch, tag, reference or commit. `main` where none is given.
        revision: String,
    },
    /// All objects below a prefix, or else the one object of that key: `s3://BUCKET/KEY`.
    S3 {
        /// The bucket.
        bucket: String,
        /// Key of an object or a prefix. Empty means the whole bucket; with `/` at its end only a prefix.
        key: String,
    },
    /// A model of an Ollama registry: `ollama://[HOST/][NAMESPACE/]NAME[:TAG]`.
    Ollama {
        /// `HOST` or `HOST:PORT`. Absent means the one of [`crate::Access::ollama_registry`].
        registry: Option<String>,
        /// `NAMESPACE/NAME`. The namespace is `library` where none is given.
        repository: String,
        /// A tag, `latest` where none is given, or `sha256:…`.
        reference: String,
    },
    /// An artifact of an OCI registry: `oci://HOST/REPOSITORY[:TAG]` or `oci+http://…`.
    Oci {
        /// `HOST` or `HOST:PORT`.
        registry: String,
        /// Name of the repository on that host.
        repository: String,
        /// A tag, `latest` where none is given, or `sha256:…`.
        reference: String,
        /// Whether the user asked for http without TLS.
        plain_http: bool,
    },
    /// One file behind `http://` or `https://`.
    Url(Url),
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::new(Reason::WrongUse, format!("could not read the source: {why}"));
        if text.chars().any(char::is_control) {
            return Err(wrong("it holds a control character"));
        }
        if let Some(rest) = text.strip_prefix("hf://") {
            let (repo, revision) = rest.split_once('@').unwrap_or((rest, "main"));
            if !is_repo(repo) {
                return Err(wrong("after hf:// comes ORG/REPO or REPO, of letters, digits, '-', '_' and '.'"));
            }
            if revision.is_empty() {
                return Err(wrong("no revision after '@'"));
            }
            return Ok(Self::HuggingFace { repo: repo.to_owned(), revision: revision.to_owned() });
        }
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            if bucket.is_empty() || bucket.starts_with('.') || !bucket.chars().all(fits) {
                return Err(wrong("after s3:// comes BUCKET/KEY"));
            }
            return Ok(Self::S3 { bucket: bucket.to_owned(), key: key.to_owned() });
        }
        if let Some(rest) = text.strip_prefix("ollama://") {
            return ollama(rest).map_err(wrong);
        }
        if let Some(rest) = text.strip_prefix("oci://") {
            return oci(rest, false).map_err(wrong);
        }
        if let Some(rest) = text.strip_prefix("oci+http://") {
            return oci(rest, true).map_err(wrong);
        }
        let url = Url::parse(text).map_err(|error| wrong(&format!("it is no {KINDS} address")).caused_by(error))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong(&format!("it must begin with {KINDS}")));
        }
        Ok(Self::Url(url))
    }
}

/// Reads what comes after `ollama://`, by the rules of `ollama pull`.
fn ollama(rest: &str) -> Result<Source, &'static str> {
    let (name, reference) = reference::split(rest)?;
    let parts: Vec<&str> = name.split('/').collect();
    let (registry, repository) = match *parts {
        [name] => (None, format!("{OLLAMA_NAMESPACE}/{name}")),
        [namespace, name] => (None, format!("{namespace}/{name}")),
        [host, namespace, name] if reference::is_host(host) => (Some(host.to_owned()), format!("{namespace}/{name}")),
        _ => return Err("after ollama:// comes NAME[:TAG], NAMESPACE/NAME[:TAG] or HOST/NAMESPACE/NAME[:TAG]"),
    };
    if !reference::is_repository(&repository, true) {
        return Err(
            "a name on ollama:// is of letters, digits, '-', '_' and '.'; with a host in front it has a namespace too",
        );
    }
    Ok(Source::Ollama { registry, repository, reference })
}

/// Reads what comes after `oci://`.
fn oci(rest: &str, plain_http: bool) -> Result<Source, &'static str> {
    let (name, reference) = reference::split(rest)?;
    let Some((host, repository)) = name.split_once('/').filter(|(host, _)| reference::is_host(host)) else {
        return Err("after oci:// comes HOST/REPOSITORY[:TAG] or HOST/REPOSITORY@sha256:…");
    };
    if !reference::is_repository(repository, false) {
        return Err("a repository is of lower-case letters, digits, '-', '_' and '.', with '/' between its parts");
    }
    Ok(Source::Oci { registry: host.to_owned(), repository: repository.to_owned(), reference, plain_http })
}

/// Whether the hub could know a repository of this name.
fn is_repo(repo: &str) -> bool {
    let part = |part: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        !part.is_empty() && part.len() <= 96 && !part.contains("..") && !part.starts_with('.') && part.chars().all(fits)
    };
    match repo.split_once('/') {
        Some((org, name)) => part(org) && part(name),
        None => part(repo),
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HuggingFace { repo, revision } => write!(f, "hf://{repo}@{revision}"),
            Self::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Self::Ollama { registry, repository, reference } => {
                let host = registry.as_ref().map(|host| format!("{host}/")).unwrap_or_default();
                write!(f, "ollama://{host}{repository}{}", reference::suffix(reference))
            }
            Self::Oci { registry, repository, reference, plain_http } => {
                let scheme = if *plain_http { "oci+http" } else { "oci" };
                write!(f, "{scheme}://{registry}/{repository}{}", reference::suffix(reference))
            }
            Self::Url(url) => f.write_str(&without_secrets(url)),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({self})")
    }
}

/// The URL without user, password, query and fragment: what may be printed of it.
#[must_use]
pub fn without_secrets(url: &Url) -> String {
    let mut url = url.clone();
    // These two fail only for URLs that cannot hold a user, which then hold none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sources_are_read_as_written() {
        for (text, shown) in [
            ("hf://meta-llama/Llama-3.1-8B", "hf://meta-llama/Llama-3.1-8B@main"),
            ("hf://gpt2", "hf://gpt2@main"),
            ("hf://org/repo@refs/pr/7", "hf://org/repo@refs/pr/7"),
            ("hf://org/repo@a@b", "hf://org/repo@a@b"),
            ("s3://bucket", "s3://bucket/"),
            ("s3://bucket/a/b/", "s3://bucket/a/b/"),
            ("s3://my.bucket/a b/ü", "s3://my.bucket/a b/ü"),
            ("ollama://llama3.2", "ollama://library/llama3.2:latest"),
            ("ollama://llama3.2:1b-q4_K_M", "ollama://library/llama3.2:1b-q4_K_M"),
            ("ollama://me/my-model:v1", "ollama://me/my-model:v1"),
            ("ollama://hf.co/bartowski/Llama-3.2-1B-GGUF:Q4_K_M", "ollama://hf.co/bartowski/Llama-3.2-1B-GGUF:Q4_K_M"),
            ("ollama://127.0.0.1:5000/library/tiny", "ollama://127.0.0.1:5000/library/tiny:latest"),
            ("oci://ghcr.io/org/models/tiny:v1", "oci://ghcr.io/org/models/tiny:v1"),
            ("oci://registry:5000/tiny", "oci://registry:5000/tiny:latest"),
            ("oci://[::1]:5000/tiny", "oci://[::1]:5000/tiny:latest"),
            ("oci+http://registry.lan/tiny", "oci+http://registry.lan/tiny:latest"),
            (
                "oci://ghcr.io/tiny:v1@sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
                "oci://ghcr.io/tiny@sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
            ),
            ("https://user:secret@host/a/b?token=secret#x", "https://host/a/b"),
            ("http://127.0.0.1:8080/f", "http://127.0.0.1:8080/f"),
        ] {
            assert_eq!(Source::from_str(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_source_is_wrong_use() {
        for text in [
            "",
            "org/repo",
            "hf://",
            "hf:///repo",
            "hf://org/",
            "hf://a/b/c",
            "hf://org/..",
            "hf://../x",
            "hf://org/repo@",
            "hf://org/re po",
            "s3://",
            "s3:///key",
            "s3://buc ket/key",
            "ollama://",
            "ollama://:tag",
            "ollama://name:",
            "ollama://name:a:b",
            "ollama://../name",
            "ollama://a b",
            "ollama://localhost:5000/name",
            "ollama://h/a/b/c",
            "ollama://user@host/a/b",
            "oci://",
            "oci://ghcr.io",
            "oci://ghcr.io/",
            "oci://ghcr.io:5000",
            "oci:///repo",
            "oci://ghcr.io/Org/Repo",
            "oci://ghcr.io/a/../b",
            "oci://ghcr.io/a//b",
            "oci://ghcr.io/a:",
            "oci://ghcr.io/a:.tag",
            "oci://ghcr.io/a@sha256:00",
            "oci://ghcr.io/a@md5:25f9e794323b453885f5181f1b624d0b",
            "oci://user:secret@host/a",
            "oci://host:port/a",
            "oci://host:0/a",
            "oci://h/a?x=1",
            "oci://h/a#x",
            "oci+https://h/a",
            "ftp://host/f",
            "file:///etc/passwd",
            "https://",
            "hf://org/repo@ma\nin",
            "s3://b/k\0",
        ] {
            assert_eq!(Source::from_str(text).unwrap_err().reason(), Reason::WrongUse, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_source_or_an_error(text in prop_oneof![
            "\\PC{0,60}", "(hf|s3|ollama|oci|oci\\+http)://[a-z0-9.:/@_-]{0,30}",
        ]) {
            if let Ok(source) = Source::from_str(&text) {
                let shown = source.to_string();
                prop_assert_eq!(Source::from_str(&shown).unwrap().to_string(), shown);
            }
        }

        #[test]
        fn no_secret_of_a_url_is_ever_shown(secret in "[a-z]{12}", path in "[A-Z/]{0,12}") {
            let text = format!("https://u:{secret}@host/{path}?sig={secret}#{secret}");
            let source = Source::from_str(&text).unwrap();
            let shown = format!("{source} {source:?}");
            prop_assert!(!shown.contains(&secret), "{shown}");
        }
    }
}
