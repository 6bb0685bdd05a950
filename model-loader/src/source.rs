//! Where a model comes from, as written on the command line.

use std::{fmt, str::FromStr};

use model_core::reason::Reason;
use url::Url;

use crate::Error;

/// A place that models are downloaded from.
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
        let url = Url::parse(text)
            .map_err(|error| wrong("it is no hf://, s3://, http:// or https:// address").caused_by(error))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong("it must begin with hf://, s3://, http:// or https://"));
        }
        Ok(Self::Url(url))
    }
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
        fn any_text_is_a_source_or_an_error(text in "\\PC{0,60}") {
            if let Ok(source) = Source::from_str(&text) {
                let again = Source::from_str(&source.to_string());
                prop_assert!(again.is_ok());
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
