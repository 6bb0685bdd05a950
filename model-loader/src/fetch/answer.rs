//! Whether an answer is (a part of) the file that was planned. Pure.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use model_core::reason::Reason;

use crate::{
    Error,
    digest::Algorithm,
    http::{Again, Trouble},
    plan::PlannedFile,
};

/// What the body of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// The bytes that were asked for.
    Range,
    /// The file from its first byte on.
    Whole,
}

/// Whether a SHA-256 tells one version of a file from another. Then tags do not count: the nodes of some sources give each
/// their own.
fn has_sha256(file: &PlannedFile) -> bool {
    file.digest.as_ref().is_some_and(|digest| digest.algorithm() == Algorithm::Sha256)
}

/// What tells one version of the file from another, where its digest does not: a strong `ETag`, or else a date.
pub(super) fn validator(file: &PlannedFile, headers: &HeaderMap) -> Option<HeaderValue> {
    if has_sha256(file) {
        return None;
    }
    let strong = |value: &&HeaderValue| !value.as_bytes().starts_with(b"W/");
    headers.get(header::ETAG).filter(strong).or(headers.get(header::LAST_MODIFIED)).cloned()
}

/// Checks an answer of success to a request for the bytes from `start` on. `known` is the validator of earlier answers.
///
/// # Errors
/// It belongs to other bytes, to another version of the file, or it does not say where it ends.
pub(super) fn check(
    file: &PlannedFile,
    start: u64,
    known: Option<&HeaderValue>,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Body, Trouble> {
    let odd = |message: String, again| Trouble {
        error: Error::new(Reason::SourceInvalid, format!("{}: {message}", file.path)),
        again,
    };
    // What is planned stays what is wanted: another try may meet it again. Without a plan the new version will do.
    let changed = if file.digest.is_some() || file.etag.is_some() { Again::Soon } else { Again::FromStart };
    let length: Option<u64> = text(headers, &header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
    let (body, whole) = match status {
        StatusCode::OK => (Body::Whole, length),
        StatusCode::PARTIAL_CONTENT => {
            let (first, whole) = text(headers, &header::CONTENT_RANGE).and_then(content_range).unzip();
            if first != Some(start) {
                return Err(odd(format!("wanted the bytes from {start} on and got others"), Again::Soon));
            }
            (Body::Range, whole.flatten())
        }
        status => return Err(odd(format!("unexpected answer {status}"), Again::Soon)),
    };
    if let (Some(whole), Some(size)) = (whole, file.size)
        && whole != size
    {
        return Err(odd(format!("{size} bytes were promised and {whole} are sent"), Again::Soon));
    }
    let is_tag = |value: &&HeaderValue| value.as_bytes().starts_with(b"\"");
    if let (Some(known), Some(sent)) = (known.filter(is_tag), headers.get(header::ETAG).filter(is_tag))
        && known != sent
    {
        return Err(odd("it changed while it was downloaded".to_owned(), changed));
    }
    if let (Some(planned), Some(sent)) = (&file.etag, text(headers, &header::ETAG))
        && !has_sha256(file)
        && planned != sent.trim_matches('"')
    {
        return Err(odd("it changes while it is downloaded".to_owned(), changed));
    }
    let chunked = text(headers, &header::TRANSFER_ENCODING).is_some_and(|text| text.contains("chunked"));
    if file.size.is_none() && file.digest.is_none() && length.is_none() && !chunked {
        let message =
            "the source does not say where the file ends, so a part could not be told from the whole: give a sha256";
        return Err(odd(message.to_owned(), Again::Never));
    }
    Ok(body)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// First byte and, where it is known, length of the whole from `bytes FIRST-LAST/WHOLE`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.parse().ok()?, whole.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::FileName;
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn file(size: Option<u64>, etag: Option<&str>) -> PlannedFile {
        PlannedFile { path: FileName::parse("m").unwrap(), size, digest: None, etag: etag.map(str::to_owned) }
    }

    #[test]
    fn each_answer_is_a_part_the_whole_or_a_reason() {
        let known = HeaderValue::from_static("\"v1\"");
        let plain = file(Some(10), None);
        for (name, file, status, pairs, want) in [
            ("the whole", &plain, 200, &[("content-length", "10")][..], Ok(Body::Whole)),
            ("of no said length", &plain, 200, &[], Ok(Body::Whole)),
            ("the range", &plain, 206, &[("content-range", "bytes 5-9/10")], Ok(Body::Range)),
            ("a range of a length unsaid", &plain, 206, &[("content-range", "bytes 5-9/*")], Ok(Body::Range)),
            ("other bytes", &plain, 206, &[("content-range", "bytes 0-9/10")], Err(Again::Soon)),
            ("no range at all", &plain, 206, &[], Err(Again::Soon)),
            ("too short", &plain, 200, &[("content-length", "9")], Err(Again::Soon)),
            ("of a longer file", &plain, 206, &[("content-range", "bytes 5-9/11")], Err(Again::Soon)),
            (
                "of a newer file",
                &plain,
                206,
                &[("content-range", "bytes 5-9/10"), ("etag", "\"v2\"")],
                Err(Again::FromStart),
            ),
            (
                "with a weak tag",
                &plain,
                206,
                &[("content-range", "bytes 5-9/10"), ("etag", "W/\"v2\"")],
                Ok(Body::Range),
            ),
            ("as planned", &file(Some(10), Some("v1")), 200, &[("etag", "\"v1\"")], Ok(Body::Whole)),
            ("other than planned", &file(Some(10), Some("v0")), 200, &[("etag", "\"v1\"")], Err(Again::Soon)),
            ("without an end", &file(None, None), 200, &[], Err(Again::Never)),
            ("in pieces", &file(None, None), 200, &[("transfer-encoding", "chunked")], Ok(Body::Whole)),
            ("something else", &plain, 204, &[], Err(Again::Soon)),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let got = check(file, 5, Some(&known), status, &headers(pairs)).map_err(|trouble| trouble.again);
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn a_weak_tag_is_no_validator() {
        let date = "Tue, 15 Nov 2022 12:45:26 GMT";
        let of = |file: &PlannedFile, pairs: &[(&'static str, &str)]| validator(file, &headers(pairs));
        let plain = file(Some(10), None);
        assert_eq!(of(&plain, &[("etag", "\"a\""), ("last-modified", date)]).unwrap(), "\"a\"");
        assert_eq!(of(&plain, &[("etag", "W/\"a\""), ("last-modified", date)]).unwrap(), date);
        assert_eq!(of(&plain, &[("etag", "W/\"a\"")]), None);
        let digest = Some(format!("sha256:{}", "0".repeat(64)).parse().unwrap());
        assert_eq!(of(&PlannedFile { digest, ..plain }, &[("etag", "\"a\"")]), None);
    }

    #[test]
    fn content_ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for text in ["", "bytes */10", "items 5-9/10", "bytes 5/10", "bytes -9/10"] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_headers_give_an_answer(range in "\\PC{0,40}", length in "\\PC{0,24}", etag in "\\PC{0,12}", status in 100u16..600) {
            let pairs = [(header::CONTENT_RANGE, range), (header::CONTENT_LENGTH, length), (header::ETAG, etag)];
            let headers = pairs.into_iter().filter_map(|(name, text)| Some((name, HeaderValue::from_str(&text).ok()?)));
            let _ = check(&file(Some(10), None), 5, None, StatusCode::from_u16(status).unwrap(), &headers.collect());
        }
    }
}
