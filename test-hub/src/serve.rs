//! Answers with a file: whole or one range, conditional, streamed from disk.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE,
    RANGE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, stream};
use s3s::dto;

/// Bytes read and sent at a time. Large, so that the hub is not what a download waits for.
const CHUNK: u64 = 512 * 1024;

/// A file to send and what is said about it.
pub(crate) struct Served {
    pub path: PathBuf,
    pub size: u64,
    /// Without quotes.
    pub etag: String,
}

impl Served {
    /// Answers a GET or HEAD with these headers.
    pub(crate) fn respond(self, asked: &HeaderMap) -> Response {
        let quoted = format!("\"{}\"", self.etag);
        let Ok(etag) = HeaderValue::from_str(&quoted) else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let names = |name| asked.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if names(IF_MATCH).is_some_and(|tags| !matches(tags, &quoted)) {
            return (StatusCode::PRECONDITION_FAILED, [(ETAG, etag)]).into_response();
        }
        if names(IF_NONE_MATCH).is_some_and(|tags| matches(tags, &quoted)) {
            return (StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response();
        }
        // A range of another version is worth nothing: `If-Range` then asks for the whole file.
        let wanted = names(RANGE).filter(|_| names(IF_RANGE).is_none_or(|tag| tag == quoted));
        // A header that is no single byte range is ignored, as RFC 9110 section 14.2 allows.
        let range = wanted.and_then(|wanted| dto::Range::parse(wanted).ok()).map(|range| range.check(self.size));
        let (status, range) = match range {
            None => (StatusCode::OK, 0..self.size),
            Some(Ok(range)) => (StatusCode::PARTIAL_CONTENT, range),
            Some(Err(_)) => {
                let size = format!("bytes */{}", self.size);
                return (StatusCode::RANGE_NOT_SATISFIABLE, [(CONTENT_RANGE, size)]).into_response();
            }
        };
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "could not open a file to serve");
                return StatusCode::NOT_FOUND.into_response();
            }
        };
        let mut response = Response::new(Body::from_stream(contents(file, range.clone())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(ETAG, etag);
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
        if status == StatusCode::PARTIAL_CONTENT {
            let value = format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), self.size);
            headers.extend(HeaderValue::from_str(&value).ok().map(|value| (CONTENT_RANGE, value)));
        }
        response
    }
}

/// Whether a list of entity tags names `quoted`.
fn matches(tags: &str, quoted: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag == quoted)
}

/// Reads a range of a file, a chunk at a time.
pub(crate) fn contents(file: File, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {
    stream::unfold((Some(file), range), |(file, rest)| async move {
        let mut file = file?;
        let length = (rest.end - rest.start).min(CHUNK);
        if length == 0 {
            return None;
        }
        let read = tokio::task::spawn_blocking(move || {
            file.seek(SeekFrom::Start(rest.start))?;
            let mut chunk = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
            let read = file.by_ref().take(length).read_to_end(&mut chunk)? as u64;
            if read < length {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a served file became shorter"));
            }
            Ok((file, Bytes::from(chunk)))
        });
        // After an error the connection is given up, so nothing is left to read.
        match read.await.map_err(io::Error::other).flatten() {
            Ok((file, chunk)) => Some((Ok(chunk), (Some(file), rest.start + length..rest.end))),
            Err(error) => Some((Err(error), (None, 0..0))),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_and_ranges_follow_rfc_9110() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, b"0123456789").unwrap();
        for (name, headers, status, range) in [
            ("whole", vec![], 200, None),
            ("first bytes", vec![(RANGE, "bytes=0-3")], 206, Some("bytes 0-3/10")),
            ("to the end", vec![(RANGE, "bytes=4-")], 206, Some("bytes 4-9/10")),
            ("past the end", vec![(RANGE, "bytes=8-99")], 206, Some("bytes 8-9/10")),
            ("last bytes", vec![(RANGE, "bytes=-3")], 206, Some("bytes 7-9/10")),
            ("behind the end", vec![(RANGE, "bytes=10-")], 416, Some("bytes */10")),
            ("two ranges", vec![(RANGE, "bytes=0-1,3-4")], 200, None),
            ("same version", vec![(RANGE, "bytes=0-3"), (IF_RANGE, "\"tag\"")], 206, Some("bytes 0-3/10")),
            ("other version", vec![(RANGE, "bytes=0-3"), (IF_RANGE, "\"old\"")], 200, None),
            ("known", vec![(IF_NONE_MATCH, "\"old\", \"tag\"")], 304, None),
            ("changed", vec![(IF_MATCH, "\"old\"")], 412, None),
        ] {
            let asked: HeaderMap =
                headers.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
            let served = Served { path: path.clone(), size: 10, etag: "tag".to_owned() };
            let response = served.respond(&asked);
            assert_eq!(response.status().as_u16(), status, "{name}");
            let got = response.headers().get(CONTENT_RANGE).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(got.as_deref(), range, "{name}");
        }
    }
}
