//! How long the source asks to be left alone: `Retry-After`, `RateLimit`, `RateLimit-Reset`.
//!
//! `RateLimit` is read as the hub writes it, after version 9 of draft-ietf-httpapi-ratelimit-headers: `"api";r=0;t=55`,
//! nothing remaining in a window that ends in 55 seconds. `RateLimit-Reset`, in seconds too, is of earlier versions.

use std::time::Duration;

use http::{HeaderMap, header};
use jiff::Timestamp;

/// The longest of all waits that the headers ask for, from `now` on. It is as long as the source likes: the caller has
/// to bound it.
pub(super) fn asked_wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let texts = |name: &str| headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let after = texts(header::RETRY_AFTER.as_str()).filter_map(|text| retry_after(text, now));
    let windows = texts("ratelimit").filter_map(exhausted_window);
    let reset = texts("ratelimit-reset").filter_map(seconds);
    after.chain(windows).chain(reset).max()
}

/// `Retry-After` in its two forms, seconds or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    seconds(text).or_else(|| {
        let when = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
        Some(when.duration_since(now).try_into().unwrap_or_default())
    })
}

/// The longest time to the end of a window that nothing remains of. A window with requests left asks for no wait.
fn exhausted_window(text: &str) -> Option<Duration> {
    let text = without_quoted(text);
    let waits = text.split(',').filter_map(|window| {
        let parameter = |name: &str| {
            let parameters = window.split(';').filter_map(|parameter| parameter.split_once('='));
            parameters.filter(|(found, _)| found.trim() == name).map(|(_, value)| value).next_back()
        };
        let exhausted = parameter("r").is_none_or(|remaining| remaining.trim() == "0");
        parameter("t").filter(|_| exhausted).and_then(seconds)
    });
    waits.max()
}

/// Names of windows are quoted and may hold any separator.
fn without_quoted(text: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    let outside = |c: &char| {
        let was_quoted = quoted;
        match *c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        !was_quoted && *c != '"'
    };
    text.chars().filter(outside).collect()
}

fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    /// 2015-10-21 07:28:00 UTC.
    const NOW: i64 = 1_445_412_480;

    fn asked(pairs: &[(&'static str, &[u8])]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        asked_wait(&headers, Timestamp::from_second(NOW).unwrap())
    }

    #[test]
    fn every_form_of_asking_for_a_wait_is_read() {
        for (name, text, want) in [
            ("retry-after", "7", Some(7)),
            ("retry-after", " 7 ", Some(7)),
            ("retry-after", "Wed, 21 Oct 2015 07:30:00 GMT", Some(120)),
            ("retry-after", "Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("retry-after", "18446744073709551615", Some(u64::MAX)),
            ("retry-after", "18446744073709551616", None),
            ("retry-after", "-1", None),
            ("retry-after", "soon", None),
            ("ratelimit", "\"api\";r=0;t=55", Some(55)),
            ("ratelimit", "\"resolvers\"; r=0; t=280", Some(280)),
            ("ratelimit", "\"resolvers\";r=2999;t=300", None),
            ("ratelimit", "\"a\";r=0;t=5, \"b\";r=0;t=60, \"c\";r=9;t=600", Some(60)),
            ("ratelimit", "\"a;r=0;t=9,\";r=0;t=5", Some(5)),
            ("ratelimit", "\"a\\\";r=0;t=9\";r=0;t=5", Some(5)),
            ("ratelimit", "\"a\";t=5", Some(5)),
            ("ratelimit", "\"a\";r=0", None),
            ("ratelimit", "\"a\";r=0;t=x", None),
            ("ratelimit", "", None),
            ("ratelimit-reset", "50", Some(50)),
            ("ratelimit-reset", "never", None),
            ("x-unknown", "50", None),
        ] {
            assert_eq!(asked(&[(name, text.as_bytes())]), want.map(Duration::from_secs), "{name}: {text}");
        }
    }

    #[test]
    fn the_longest_wait_wins() {
        let window = "\"api\";r=0;t=55".as_bytes();
        assert_eq!(asked(&[("retry-after", b"2"), ("ratelimit", window)]), Some(Duration::from_secs(55)));
        assert_eq!(asked(&[("retry-after", b"80"), ("ratelimit", window)]), Some(Duration::from_secs(80)));
        assert_eq!(
            asked(&[("ratelimit-reset", b"90"), ("retry-after", b"80"), ("ratelimit", window)]),
            Some(Duration::from_secs(90))
        );
        assert_eq!(asked(&[("ratelimit", b"x"), ("ratelimit", window)]), Some(Duration::from_secs(55)));
    }

    proptest! {
        #[test]
        fn no_header_is_too_odd(
            name in prop::sample::select(vec!["retry-after", "ratelimit", "ratelimit-reset"]),
            value in prop::collection::vec(prop_oneof![Just(b'\t'), 32u8..127, 128u8..=255], 0..200),
        ) {
            asked(&[(name, &value)]);
        }

        #[test]
        fn nothing_like_the_hubs_header_is_too_odd(text in "[\"\\\\;,=rt0-9 a]{0,60}") {
            asked(&[("ratelimit", text.as_bytes()), ("retry-after", text.as_bytes())]);
        }

        #[test]
        fn the_hubs_header_is_read_whatever_the_window_is_called(name in "[a-z ;,=]{0,20}", reset in 0..u64::MAX) {
            let text = format!("\"{name}\";r=0;t={reset}");
            prop_assert_eq!(asked(&[("ratelimit", text.as_bytes())]), Some(Duration::from_secs(reset)));
        }
    }
}
