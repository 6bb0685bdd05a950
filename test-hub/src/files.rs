//! Plain URLs: `/files/…` for everyone, `/private/…` with bearer token or basic authentication.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::repository::inside;
use crate::serve::Served;
use crate::shared::Shared;

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new().route("/files/{*path}", get(public)).route("/private/{*path}", get(protected))
}

async fn public(State(shared): State<Arc<Shared>>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    file(&shared.config.root.join("files"), &path, &headers)
}

async fn protected(State(shared): State<Arc<Shared>>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    let config = &shared.config;
    let basic = STANDARD.encode(format!("{}:{}", config.username, config.password));
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given.and_then(|given| given.split_once(' ')) {
        Some(("Bearer", token)) if token == config.token => {}
        Some(("Basic", pair)) if pair == basic => {}
        // Known, but not let in.
        Some(("Bearer", token)) if token == config.outsider_token => return StatusCode::FORBIDDEN.into_response(),
        _ => {
            let methods = "Basic realm=\"test-hub\", Bearer";
            return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, methods)]).into_response();
        }
    }
    file(&config.root.join("private"), &path, &headers)
}

fn file(root: &FilePath, path: &str, headers: &HeaderMap) -> Response {
    let Some(path) = inside(root, path) else { return StatusCode::NOT_FOUND.into_response() };
    let metadata = match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => metadata,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    // As nginx makes it: no digest, so it proves nothing about the content.
    let etag = format!("{:x}-{:x}", changed.as_micros(), metadata.len());
    Served { path, size: metadata.len(), etag }.respond(headers)
}
