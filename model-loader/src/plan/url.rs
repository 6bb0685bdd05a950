//! One file behind a URL.

use http::{HeaderMap, StatusCode, header};
use percent_encoding::percent_decode_str;
use reqwest::RequestBuilder;
use url::Url;

use super::{PlannedFile, etag, weak_mark};
use crate::{
    Access, Error, UrlCredentials,
    http::{Again, Dialect, Http},
    name::FileName,
    source::without_secrets,
};

/// The name of a file whose URL has none.
const DEFAULT_NAME: &str = "model";

/// A URL and what opens it.
pub(crate) struct Page {
    url: Url,
    credentials: Option<UrlCredentials>,
}

impl Page {
    /// Asks for the first byte, to learn whether the file is there, and its size.
    ///
    /// No HEAD: signed URLs and many small servers answer none. A server that knows no ranges sends everything, and is
    /// given up after its headers.
    ///
    /// Beside the file it gives what changes with it where the file has no strong tag.
    pub(super) async fn look(
        url: &Url,
        access: &Access,
        http: &Http,
    ) -> Result<(Self, PlannedFile, Option<String>), Error> {
        let path = file_name(url)?;
        let page = Self { url: url.clone(), credentials: access.url.clone() };
        let mut budget = http.budget();
        let mut first_byte = true;
        let response = loop {
            let request = page.get(http);
            let request = if first_byte { request.header(header::RANGE, "bytes=0-0") } else { request };
            match http.once(request, Dialect::Plain, &without_secrets(url)).await {
                Ok(response) => break response,
                // An empty file has no first byte.
                Err(trouble) if trouble.again == Again::NoSuchRange && first_byte => first_byte = false,
                Err(trouble) => budget.spend(trouble).await?,
            }
        };
        let size = size(response.status(), response.headers());
        let file = PlannedFile { path, size, digest: None, etag: etag(response.headers()) };
        Ok((page, file, weak_mark(response.headers())))
    }

    pub(super) fn get(&self, http: &Http) -> RequestBuilder {
        let request = http.client().get(self.url.clone()).header(header::ACCEPT_ENCODING, "identity");
        match &self.credentials {
            Some(UrlCredentials::Bearer(token)) => request.bearer_auth(token),
            Some(UrlCredentials::Basic { username, password }) => request.basic_auth(username, Some(password)),
            None => request,
        }
    }
}

/// Length of the whole file, as the headers tell it.
fn size(status: StatusCode, headers: &HeaderMap) -> Option<u64> {
    let text = |name| headers.get(name)?.to_str().ok();
    if status == StatusCode::PARTIAL_CONTENT {
        let (_, whole) = text(header::CONTENT_RANGE)?.rsplit_once('/')?;
        return whole.trim().parse().ok();
    }
    // From the header: the length of the body itself is what is left of it.
    text(header::CONTENT_LENGTH)?.parse().ok()
}

/// The file behind a URL.
#[cfg(fuzzing)]
pub(super) fn named(url: &str) -> Result<PlannedFile, Error> {
    let url = Url::parse(url)
        .map_err(|error| Error::new(model_core::reason::Reason::WrongUse, "no URL".to_owned()).caused_by(error))?;
    Ok(PlannedFile { path: file_name(&url)?, size: None, digest: None, etag: None })
}

/// The last segment of the path, decoded and checked.
fn file_name(url: &Url) -> Result<FileName, Error> {
    let segment = url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default();
    let decoded = percent_decode_str(segment).decode_utf8_lossy();
    if decoded.is_empty() {
        return FileName::parse(DEFAULT_NAME);
    }
    let name = FileName::parse(&decoded)?;
    // A slash that was encoded is no separator for the server, so it cannot be one here.
    if name.parents().next().is_some() {
        return Err(crate::name::unsafe_name(&decoded, "it has a slash inside of a segment"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model_core::reason::Reason;

    #[test]
    fn a_file_is_named_after_the_last_segment() {
        for (url, name) in [
            ("https://host/a/model.gguf?sig=x", "model.gguf"),
            ("https://host/a%20b.bin", "a b.bin"),
            ("https://host/%C3%BC", "ü"),
            ("https://host", "model"),
            ("https://host/dir/", "model"),
            ("https://host/a/%2e%2e", "model"),
        ] {
            assert_eq!(file_name(&Url::parse(url).unwrap()).unwrap().as_str(), name, "{url}");
        }
        for url in [
            "https://h/..%2fetc",
            "https://h/a%2fb",
            "https://h/%00",
            "https://h/a%5cb",
            "https://h/.model-loader",
            "https://h/%2fetc",
        ] {
            let error = file_name(&Url::parse(url).unwrap()).unwrap_err();
            assert_eq!(error.reason(), Reason::UnsafeFileName, "{url}");
        }
    }
}
