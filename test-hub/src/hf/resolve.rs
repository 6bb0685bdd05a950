//! `GET|HEAD /ORG/NAME/resolve/REVISION/PATH`: where a file is.
//!
//! As the hub does it (huggingface/swift-transformers#209 shows the 307, `get_hf_file_metadata` of
//! `huggingface_hub` 2.4 what is read of both): 302 to a signed CDN URL for a large file, 307 to `/api/resolve-cache/…` on the
//! same origin for a small one. Digest and size of the file are headers of the redirect itself.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::header::{ACCEPT_RANGES, HeaderValue, LOCATION};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use percent_encoding::utf8_percent_encode;

use super::access::{may_read, revision, visible};
use super::cdn;
use super::refusal::{REPO_COMMIT, Refusal};
use crate::faults::layer::LINKED_ETAG;
use crate::repository::{Entry, Revision};
use crate::serve::Served;
use crate::shared::{SEGMENT, Scheme, Shared};

const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");

pub(crate) async fn resolve(
    State(shared): State<Arc<Shared>>,
    Extension(scheme): Extension<Scheme>,
    Path((org, name, wanted, path)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (revision, entry, id) = found(&shared, &headers, org, name, &wanted, &path).await?;
    let (status, location, tag) = if let Some(sha256) = &entry.lfs {
        let location = cdn::signed_url(&shared, &headers, scheme, &id, &revision.commit, &path);
        (StatusCode::FOUND, location, sha256)
    } else {
        let asked = format!("/{id}/resolve/{wanted}/{path}");
        let location = cached_url(&id, &revision.commit, &path, &asked, &entry.oid);
        (StatusCode::TEMPORARY_REDIRECT, location, &entry.oid)
    };
    let mut response = (status, [(LOCATION, location)]).into_response();
    let answer = response.headers_mut();
    answer.insert(LINKED_SIZE, HeaderValue::from(entry.size));
    answer.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.extend(HeaderValue::from_str(&format!("\"{tag}\"")).ok().map(|tag| (LINKED_ETAG, tag)));
    answer.extend(HeaderValue::from_str(&revision.commit).ok().map(|commit| (REPO_COMMIT, commit)));
    Ok(response)
}

pub(crate) async fn cached(
    State(shared): State<Arc<Shared>>,
    Path((org, name, commit, path)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (revision, entry, _) = found(&shared, &headers, org, name, &commit, &path).await?;
    let Some(file) = entry.file else { return Err(Refusal::EntryNotFound { commit }) };
    let mut response = Served { path: file, size: entry.size, etag: entry.oid }.respond(&headers);
    let commit = HeaderValue::from_str(&revision.commit);
    response.headers_mut().extend(commit.ok().map(|commit| (REPO_COMMIT, commit)));
    Ok(response)
}

/// Where the hub itself serves a small file. The query is as the hub writes it; nothing reads it.
fn cached_url(id: &str, commit: &str, path: &str, asked: &str, oid: &str) -> String {
    let encode = |text: &str| utf8_percent_encode(text, SEGMENT).to_string();
    let encoded = path.split('/').map(encode).collect::<Vec<_>>().join("/");
    format!("/api/resolve-cache/models/{id}/{commit}/{encoded}?{}=&etag=%22{oid}%22", encode(asked))
}

async fn found(
    shared: &Arc<Shared>,
    headers: &HeaderMap,
    org: String,
    name: String,
    wanted: &str,
    path: &str,
) -> Result<(Arc<Revision>, Entry, String), Refusal> {
    let (caller, repository) = visible(shared, headers, org, name).await?;
    may_read(caller, &repository)?;
    let revision = revision(&repository, wanted)?;
    match revision.entries.get(path).filter(|entry| entry.file.is_some()) {
        Some(entry) => Ok((revision.clone(), entry.clone(), repository.id.clone())),
        None => Err(Refusal::EntryNotFound { commit: revision.commit.clone() }),
    }
}
