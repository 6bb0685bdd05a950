//! `WWW-Authenticate`: how a server wants to be asked (RFC 9110, section 11.6.1).

use std::collections::BTreeMap;

use http::{HeaderMap, header};

/// One challenge of a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// In lower case: `basic`, `bearer`.
    pub(super) scheme: String,
    /// By name in lower case.
    pub(super) parameters: BTreeMap<String, String>,
}

/// All challenges of an answer, in their order. What is not understood is left out.
pub(super) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(header::WWW_AUTHENTICATE).into_iter().filter_map(|value| value.to_str().ok());
    let mut found: Vec<Challenge> = Vec::new();
    for item in values.flat_map(items) {
        let (name, value) = match item.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
            None => (item.trim(), None),
        };
        // A scheme stands before its first parameter, with a space in between.
        let (scheme, name) = match (name.split_once(char::is_whitespace), value.is_some()) {
            (Some((scheme, name)), true) => (Some(scheme), name.trim()),
            (_, true) => (None, name),
            (_, false) => (Some(name), ""),
        };
        if let Some(scheme) = scheme {
            found.push(Challenge { scheme: scheme.to_ascii_lowercase(), parameters: BTreeMap::new() });
        }
        if let (Some(challenge), Some(value)) = (found.last_mut(), value) {
            challenge.parameters.insert(name.to_ascii_lowercase(), value);
        }
    }
    found
}

/// The parts between commas that are not inside of quotes.
fn items(value: &str) -> Vec<&str> {
    let (mut items, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                items.push(&value[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&value[start..]);
    items.retain(|item| !item.trim().is_empty());
    items
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return value.to_owned() };
    let (mut text, mut escaped) = (String::with_capacity(inner.len()), false);
    for c in inner.chars() {
        escaped = c == '\\' && !escaped;
        if !escaped {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(values: &[&str]) -> Vec<(String, Vec<(String, String)>)> {
        let headers = values.iter().map(|value| (header::WWW_AUTHENTICATE, value.parse().unwrap())).collect();
        challenges(&headers).into_iter().map(|found| (found.scheme, found.parameters.into_iter().collect())).collect()
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let hub = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull,push\"";
        let parameters = own(&[
            ("realm", "https://auth.docker.io/token"),
            ("scope", "repository:a/b:pull,push"),
            ("service", "registry.docker.io"),
        ]);
        for (values, want) in [
            (&[hub][..], vec![("bearer".to_owned(), parameters.clone())]),
            (&["Basic realm=\"a \\\"b\\\" c\""], vec![("basic".to_owned(), own(&[("realm", "a \"b\" c")]))]),
            (&["BASIC"], vec![("basic".to_owned(), vec![])]),
            (
                &["Basic realm=x, Bearer realm = \"https://h/t\" , service=s"],
                vec![
                    ("basic".to_owned(), own(&[("realm", "x")])),
                    ("bearer".to_owned(), own(&[("realm", "https://h/t"), ("service", "s")])),
                ],
            ),
            (
                &["Negotiate", "Basic realm=\"r\""],
                vec![("negotiate".to_owned(), vec![]), ("basic".to_owned(), own(&[("realm", "r")]))],
            ),
            (&["realm=\"nobody's\""], vec![]),
            (&["", ","], vec![]),
        ] {
            assert_eq!(read(values), want, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(value in "[ -~]{0,80}|(Bearer|Basic|[ ,=\"\\\\]|realm){0,12}") {
            let _ = read(&[&value]);
        }

        #[test]
        fn what_is_quoted_stays_as_it_is(first in "[ -~]{0,20}", second in "[ -~]{0,20}") {
            let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let value = format!("Basic realm=\"{}\", Bearer realm=\"{}\",service=s", quoted(&first), quoted(&second));
            let found = read(&[&value]);
            prop_assert_eq!(&found[0].1, &[("realm".to_owned(), first)]);
            prop_assert_eq!(&found[1].1, &[("realm".to_owned(), second), ("service".to_owned(), "s".to_owned())]);
        }
    }
}
