//! The source of a Model as written on the command line, and the name that it suggests.

use model_core::api::{HuggingFaceSource, S3Source, Source, UrlSource};
use model_core::names::{MAX_MODEL_NAME, is_model_name};

use crate::error::Error;
use crate::wish::Part;

const FORMS: &str = "write hf://ORG/REPO[@REVISION], s3://BUCKET/KEY, or an http:// or https:// address";

/// Reads `hf://ORG/REPO[@REVISION]`, `s3://BUCKET/KEY`, `http://…` or `https://…`.
///
/// `part` says more of it; a revision there stands in for one behind `@`. What exactly a repository, a bucket or an address
/// may hold is for the API server to say.
///
/// # Errors
/// When it is none of these, when it holds a password, or when `part` says what another kind of source has.
pub(crate) fn parse(text: &str, part: &Part) -> Result<Source, Error> {
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Error::wrong_use("the source holds white space or a control character", FORMS));
    }
    if let Some(rest) = text.strip_prefix("hf://") {
        belongs("hf://", part)?;
        return hugging_face(rest, part);
    }
    if let Some(rest) = text.strip_prefix("s3://") {
        belongs("s3://", part)?;
        return match rest.split_once('/') {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => Ok(Source::S3(S3Source {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                endpoint: part.endpoint.clone(),
                region: part.region.clone(),
            })),
            Some(_) | None => {
                Err(Error::wrong_use("the source names no object or prefix of a bucket", "write s3://BUCKET/KEY"))
            }
        };
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
        // It is not repeated: it may hold a password.
        return Err(Error::wrong_use("the source is of no known form", FORMS));
    };
    belongs("https://", part)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        let advice = "put USERNAME and PASSWORD, or TOKEN, into a secret and name it with --secret";
        return Err(Error::wrong_use("the source holds a user or a password, which everybody could read", advice));
    }
    Ok(Source::Url(UrlSource { url: text.to_owned(), sha256: part.sha256.clone() }))
}

/// Whether all that is said is for this kind of source.
fn belongs(kind: &str, part: &Part) -> Result<(), Error> {
    for (flag, given, its) in [
        ("--revision", part.revision.is_some(), "hf://"),
        ("--include", !part.include.is_empty(), "hf://"),
        ("--exclude", !part.exclude.is_empty(), "hf://"),
        ("--endpoint", part.endpoint.is_some(), "s3://"),
        ("--region", part.region.is_some(), "s3://"),
        ("--sha256", part.sha256.is_some(), "https://"),
    ] {
        if given && kind != its {
            let advice = format!("leave it out: sources of {kind} have none");
            return Err(Error::wrong_use(format!("{flag} is for {its} alone"), advice));
        }
    }
    Ok(())
}

fn hugging_face(rest: &str, part: &Part) -> Result<Source, Error> {
    let revision = part.revision.as_deref();
    let (repo_id, written) = match rest.split_once('@') {
        Some((repo_id, written)) => (repo_id, Some(written)),
        None => (rest, None),
    };
    if repo_id.is_empty() || repo_id.split('/').count() > 2 || written == Some("") || revision == Some("") {
        return Err(Error::wrong_use(
            "the source names no repository, or an empty revision",
            "write hf://ORG/REPO[@REVISION]",
        ));
    }
    if let (Some(written), Some(revision)) = (written, revision)
        && written != revision
    {
        let what = format!("the source says revision {written:?} and --revision says {revision:?}");
        return Err(Error::wrong_use(what, "say it once"));
    }
    Ok(Source::HuggingFace(HuggingFaceSource {
        repo_id: repo_id.to_owned(),
        revision: revision.or(written).unwrap_or("main").to_owned(),
        include: part.include.clone(),
        exclude: part.exclude.clone(),
    }))
}

/// The source as people write it, without user and query.
#[must_use]
pub fn shown(source: &Source) -> String {
    let address = match source {
        Source::HuggingFace(source) => format!("hf://{}@{}", source.repo_id, source.revision),
        Source::S3(source) => format!("s3://{}/{}", source.bucket, source.key),
        Source::Url(source) => source.url.clone(),
    };
    crate::text::line(&address)
}

/// The name that a source suggests for its Model: its last part, in the letters that names may have.
///
/// # Errors
/// When nothing is left of it.
pub fn suggested_name(source: &Source) -> Result<String, Error> {
    let path = match source {
        Source::HuggingFace(source) => source.repo_id.as_str(),
        Source::S3(source) => source.key.as_str(),
        Source::Url(source) => source.url.split(['?', '#']).next().unwrap_or_default(),
    };
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let fitting = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let words: String = last.chars().map(fitting).collect();
    let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
    let name: String = words.join("-").chars().take(MAX_MODEL_NAME).collect();
    let name = name.trim_end_matches('-');
    if is_model_name(name) {
        return Ok(name.to_owned());
    }
    Err(Error::wrong_use("the source suggests no name for the Model", "give one with --name"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(revision: Option<&str>) -> Part {
        Part { revision: revision.map(str::to_owned), ..Part::default() }
    }

    #[test]
    fn sources_are_read_as_written_and_suggest_a_name() {
        for (text, revision, want, name) in [
            (
                "hf://meta-llama/Llama-3.1-8B-Instruct",
                None,
                "hf://meta-llama/Llama-3.1-8B-Instruct@main",
                "llama-3-1-8b-instruct",
            ),
            ("hf://gpt2@v1", None, "hf://gpt2@v1", "gpt2"),
            ("hf://gpt2", Some("refs/pr/7"), "hf://gpt2@refs/pr/7", "gpt2"),
            ("hf://gpt2@v1", Some("v1"), "hf://gpt2@v1", "gpt2"),
            ("s3://models/llama/3-8b/", None, "s3://models/llama/3-8b/", "3-8b"),
            ("https://host/a/Tiny_Model.gguf?sig=s3cret", None, "https://host/a/Tiny_Model.gguf?…", "tiny-model-gguf"),
            ("http://host:8080/--x--", None, "http://host:8080/--x--", "x"),
        ] {
            let source = parse(text, &of(revision)).unwrap();
            assert_eq!(shown(&source), want);
            assert_eq!(suggested_name(&source).unwrap(), name);
        }
    }

    #[test]
    fn what_is_no_source_is_wrong_use_and_its_password_is_not_repeated() {
        for (text, revision) in [
            ("", None),
            ("gpt2", None),
            ("hf://", None),
            ("hf://a/b/c", None),
            ("hf://gpt2@", None),
            ("hf://gpt2@v1", Some("v2")),
            ("hf://gpt2", Some("")),
            ("s3://bucket", None),
            ("s3://bucket/", None),
            ("s3://bucket/key", Some("v1")),
            ("https://", None),
            ("https://user:s3cret@host/a", None),
            ("ftp://user:s3cret@host/a", None),
            ("https://host/a b", None),
        ] {
            let error = parse(text, &of(revision)).unwrap_err();
            assert!(matches!(error, Error::WrongUse { .. }), "{text}");
            assert!(!error.to_string().contains("s3cret") && !error.advice().is_empty(), "{error}");
        }
    }

    #[test]
    fn what_another_kind_of_source_has_is_wrong_use() {
        let text = || Some("x".to_owned());
        let list = || vec!["x".to_owned()];
        for (own, part) in [
            ("hf://a/b", Part { include: list(), exclude: list(), revision: text(), ..Part::default() }),
            ("s3://bucket/key", Part { endpoint: text(), region: text(), ..Part::default() }),
            ("https://host/a", Part { sha256: text(), ..Part::default() }),
        ] {
            assert!(parse(own, &part).is_ok(), "{own}");
            for other in ["hf://a/b", "s3://bucket/key", "https://host/a"].iter().filter(|other| **other != own) {
                let error = parse(other, &part).unwrap_err();
                assert!(error.to_string().contains(" alone"), "{other}: {error}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_suggested_name_is_a_models_name(path in "\\PC{1,80}") {
            let source = Source::Url(UrlSource { url: format!("https://host/{path}"), sha256: None });
            if let Ok(name) = suggested_name(&source) {
                prop_assert!(is_model_name(&name), "{}", name);
            }
        }
    }
}
