//! The CDN: large files by signed URL, without any other credentials.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use percent_encoding::utf8_percent_encode;
use ring::hmac;
use serde::Deserialize;

use crate::config::Cdn;
use crate::digest::{hex, sha256};
use crate::serve::Served;
use crate::shared::{SEGMENT, Scheme, Shared, base_url};

/// Where the CDN's files are on the hub itself, for redirects that stay on the origin.
pub(crate) const SAME_ORIGIN: &str = "/_cdn";

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new().route("/{org}/{name}/{commit}/{*path}", get(file))
}

/// Refuses requests with credentials, as a signed URL's store does: so a leak does not go unnoticed.
pub(crate) async fn no_credentials(request: Request, next: Next) -> Response {
    if request.headers().contains_key(AUTHORIZATION) {
        return denied(StatusCode::BAD_REQUEST, "InvalidArgument", "Only one auth mechanism allowed");
    }
    next.run(request).await
}

/// The URL that the client is redirected to.
pub(crate) fn signed_url(
    shared: &Shared,
    headers: &HeaderMap,
    scheme: Scheme,
    id: &str,
    commit: &str,
    path: &str,
) -> String {
    let base = match &shared.config.cdn {
        Cdn::Port => base_url(headers, scheme, Some(shared.cdn_port(scheme))),
        Cdn::Same => SAME_ORIGIN.to_owned(),
        Cdn::Url(url) => url.clone(),
    };
    let name = path.rsplit('/').next().unwrap_or(path);
    let encode = |text: &str| utf8_percent_encode(text, SEGMENT).to_string();
    let encoded = path.split('/').map(encode).collect::<Vec<_>>().join("/");
    let disposition = encode(&format!("inline; filename*=UTF-8''{name}"));
    let expires = now() + shared.config.signed_url_seconds;
    let signature = hex(hmac::sign(&shared.signing_key, signed_text(id, commit, path, expires).as_bytes()));
    format!(
        "{base}/{id}/{commit}/{encoded}?response-content-disposition={disposition}&Expires={expires}\
         &Signature={signature}"
    )
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Signed {
    #[serde(default)]
    expires: u64,
    #[serde(default)]
    signature: String,
}

async fn file(
    State(shared): State<Arc<Shared>>,
    Path((org, name, commit, path)): Path<(String, String, String, String)>,
    Query(signed): Query<Signed>,
    headers: HeaderMap,
) -> Response {
    let text = signed_text(&format!("{org}/{name}"), &commit, &path, signed.expires);
    let valid = hex(hmac::sign(&shared.signing_key, text.as_bytes())) == signed.signature;
    if !valid || signed.expires < now() {
        return denied(StatusCode::FORBIDDEN, "AccessDenied", "Access denied");
    }
    let finder = shared.clone();
    let repository = tokio::task::spawn_blocking(move || finder.repositories.find(&org, &name)).await;
    let Ok(Ok(Some(repository))) = repository else {
        return denied(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.");
    };
    let entry = repository.revision(&commit).and_then(|revision| revision.entries.get(&path).cloned());
    match entry.and_then(|entry| Some((entry.file?, entry.size, entry.lfs?))) {
        // The real CDN's own tag looks like a digest and is not the file's: only `X-Linked-ETag` is.
        Some((file, size, digest)) => {
            Served { path: file, size, etag: sha256(format!("cdn:{digest}").as_bytes()) }.respond(&headers)
        }
        None => denied(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist."),
    }
}

fn signed_text(id: &str, commit: &str, path: &str, expires: u64) -> String {
    format!("{id}\n{commit}\n{path}\n{expires}")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn denied(status: StatusCode, code: &str, message: &str) -> Response {
    let page = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    (status, [(CONTENT_TYPE, "application/xml")], page).into_response()
}
