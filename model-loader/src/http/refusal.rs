//! What an answer without success means, in the words of each kind of source.

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use model_core::reason::Reason;

use super::{Again, Trouble, asked};
use crate::Error;

/// Who answers, which decides where the reason is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The hub: `X-Error-Code` and `X-Error-Message`. `token` tells whether the request carried one.
    Hub { token: bool },
    /// S3: `<Code>` in an XML body.
    S3,
    /// Any web server: the status alone.
    Plain,
}

/// Turns an answer into the reason, a sentence and whether another try can help.
pub(super) fn refusal(dialect: Dialect, status: StatusCode, headers: &HeaderMap, body: &str, what: &str) -> Trouble {
    let said = said(dialect, headers, body);
    let (reason, meaning) = meaning(dialect, status, &said);
    let shown = if said.is_empty() { String::new() } else { format!(" ({said})") };
    let error = Error::new(reason, format!("{what}: {meaning}: the source answered {status}{shown}"));
    let again = match status.as_u16() {
        408 | 425 | 429 | 500..=599 => asked::asked_wait(headers, Timestamp::now()).map_or(Again::Soon, Again::After),
        // S3 calls a request that came too slowly a bad one.
        400 if said == "RequestTimeout" => Again::Soon,
        416 => Again::NoSuchRange,
        _ => Again::Never,
    };
    Trouble { error, again }
}

fn meaning(dialect: Dialect, status: StatusCode, said: &str) -> (Reason, &'static str) {
    if let Dialect::Hub { token } = dialect
        && let Some(known) = hub_meaning(status, said, token)
    {
        return known;
    }
    match status.as_u16() {
        401 => (Reason::AccessDenied, "credentials are missing or wrong"),
        403 => (Reason::AccessDenied, "access denied"),
        404 | 410 => (Reason::SourceNotFound, "not found"),
        429 => (Reason::RateLimited, "too many requests"),
        300..=399 if dialect == Dialect::S3 => {
            (Reason::SourceInvalid, "the bucket is in another region: set AWS_REGION")
        }
        407 | 408 | 425 | 500..=599 => (Reason::NetworkError, "the source or a proxy is in trouble"),
        _ => (Reason::SourceInvalid, "unexpected answer"),
    }
}

/// What the hub's own codes mean. `token` tells whether the request carried one.
fn hub_meaning(status: StatusCode, said: &str, token: bool) -> Option<(Reason, &'static str)> {
    let code = said.split(' ').next().unwrap_or_default();
    Some(match (code, token) {
        ("RepoNotFound", true) => (Reason::SourceNotFound, "no such repository, or the token may not read it"),
        ("RevisionNotFound", _) => (Reason::SourceNotFound, "no such revision"),
        ("EntryNotFound", _) => (Reason::SourceNotFound, "no such file"),
        ("GatedRepo", true) => {
            (Reason::GatedRepository, "the repository is gated and the token's account has not accepted its terms")
        }
        ("GatedRepo", false) => (
            Reason::GatedRepository,
            "the repository is gated and needs the token of an account that accepted its terms",
        ),
        // Whoever asks without a token gets one answer for what is private and for what is not there.
        ("RepoNotFound", false) => (Reason::SourceNotFound, "no such repository, or it is private and needs a token"),
        (_, false) if status == StatusCode::UNAUTHORIZED => {
            (Reason::SourceNotFound, "no such repository, or it is private and needs a token")
        }
        (_, true) if status == StatusCode::UNAUTHORIZED => (Reason::AccessDenied, "the token is not valid"),
        _ => return None,
    })
}

/// The source's own words for it, of a safe form and length.
fn said(dialect: Dialect, headers: &HeaderMap, body: &str) -> String {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let words = match dialect {
        Dialect::Hub { .. } => [header("x-error-code"), header("x-error-message")].join(" "),
        Dialect::S3 => between(body, "<Code>", "</Code>").unwrap_or_default().to_owned(),
        Dialect::Plain => String::new(),
    };
    words.trim().chars().filter(|c| !c.is_control()).take(200).collect()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = &text[text.find(start)? + start.len()..];
    Some(&rest[..rest.find(end)?])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn each_answer_has_its_reason() {
        let anonymous = Dialect::Hub { token: false };
        let known = Dialect::Hub { token: true };
        let xml = "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>";
        for (dialect, status, code, body, reason, again) in [
            (anonymous, 401, "RepoNotFound", "", Reason::SourceNotFound, Again::Never),
            (known, 404, "RepoNotFound", "", Reason::SourceNotFound, Again::Never),
            (known, 404, "RevisionNotFound", "", Reason::SourceNotFound, Again::Never),
            (known, 404, "EntryNotFound", "", Reason::SourceNotFound, Again::Never),
            (anonymous, 401, "GatedRepo", "", Reason::GatedRepository, Again::Never),
            (known, 403, "GatedRepo", "", Reason::GatedRepository, Again::Never),
            (anonymous, 401, "", "", Reason::SourceNotFound, Again::Never),
            (known, 401, "", "", Reason::AccessDenied, Again::Never),
            (known, 403, "", "", Reason::AccessDenied, Again::Never),
            (known, 429, "", "", Reason::RateLimited, Again::Soon),
            (Dialect::S3, 404, "", xml, Reason::SourceNotFound, Again::Never),
            (Dialect::S3, 301, "", "", Reason::SourceInvalid, Again::Never),
            (Dialect::S3, 503, "", "<Code>SlowDown</Code>", Reason::NetworkError, Again::Soon),
            (Dialect::S3, 400, "", "<Code>RequestTimeout</Code>", Reason::SourceInvalid, Again::Soon),
            (Dialect::Plain, 401, "", "", Reason::AccessDenied, Again::Never),
            (Dialect::Plain, 410, "", "", Reason::SourceNotFound, Again::Never),
            (Dialect::Plain, 408, "", "", Reason::NetworkError, Again::Soon),
            (Dialect::Plain, 500, "", "", Reason::NetworkError, Again::Soon),
            (Dialect::Plain, 416, "", "", Reason::SourceInvalid, Again::NoSuchRange),
            (Dialect::Plain, 400, "", "", Reason::SourceInvalid, Again::Never),
            (Dialect::Plain, 304, "", "", Reason::SourceInvalid, Again::Never),
        ] {
            let headers = if code.is_empty() { HeaderMap::new() } else { headers(&[("x-error-code", code)]) };
            let trouble = refusal(dialect, StatusCode::from_u16(status).unwrap(), &headers, body, "hf://o/r");
            assert_eq!((trouble.error.reason(), trouble.again), (reason, again), "{dialect:?} {status} {code}");
            assert!(trouble.error.to_string().starts_with("hf://o/r: "), "{}", trouble.error);
        }
    }

    #[test]
    fn only_an_answer_that_may_change_is_asked_for_again_when_the_source_says() {
        let spent = headers(&[("ratelimit", "\"resolvers\";r=0;t=55"), ("retry-after", "7")]);
        for (status, again) in [
            (429, Again::After(Duration::from_secs(55))),
            (503, Again::After(Duration::from_secs(55))),
            (404, Again::Never),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let trouble = refusal(Dialect::Hub { token: true }, status, &spent, "", "hf://o/r");
            assert_eq!(trouble.again, again, "{status}");
        }
    }
}
