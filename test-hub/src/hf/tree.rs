//! `GET /api/models/…/tree/…`: the listing with sizes and digests, in pages.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Extension, Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::LINK;
use axum::response::{IntoResponse, Response};
use axum::{Json, http::HeaderValue};
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::{revision, visible};
use super::refusal::Refusal;
use crate::digest::{lfs_pointer, sha1};
use crate::repository::{Entry, Revision};
use crate::shared::{SEGMENT, Scheme, Shared, base_url};

#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    // huggingface_hub sends Python's `True`.
    #[serde(default)]
    recursive: String,
    #[serde(default)]
    cursor: usize,
    limit: Option<usize>,
}

pub(crate) async fn root(
    state: State<Arc<Shared>>,
    scheme: Extension<Scheme>,
    Path((org, name, wanted)): Path<(String, String, String)>,
    query: Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    folder(state, scheme, Path((org, name, wanted, String::new())), query, headers).await
}

pub(crate) async fn folder(
    State(shared): State<Arc<Shared>>,
    Extension(scheme): Extension<Scheme>,
    Path((org, name, wanted, folder)): Path<(String, String, String, String)>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (_, repository) = visible(&shared, &headers, org, name).await?;
    let revision = revision(&repository, &wanted)?;
    let recursive = asked.recursive.eq_ignore_ascii_case("true") || asked.recursive == "1";
    let hashes = repository.description.xet.as_ref().map(|xet| xet.hashes.clone()).unwrap_or_default();
    let listing = listing(&revision, &hashes, folder.trim_end_matches('/'), recursive);
    if listing.is_empty() && !folder.is_empty() {
        return Err(Refusal::EntryNotFound { commit: revision.commit.clone() });
    }
    let page = asked.limit.unwrap_or(usize::MAX).clamp(1, shared.config.tree_page.max(1));
    let start = asked.cursor.min(listing.len());
    let end = (start + page).min(listing.len());
    let mut response = Json(&listing[start..end]).into_response();
    if end < listing.len() {
        let encoded = |text: &str| utf8_percent_encode(text, SEGMENT).to_string();
        let folder = if folder.is_empty() { String::new() } else { format!("/{}", encoded(&folder)) };
        let next = format!(
            "<{}/api/models/{}/tree/{}{folder}?recursive={recursive}&limit={page}&cursor={end}>; rel=\"next\"",
            base_url(&headers, scheme, None),
            repository.id,
            encoded(&wanted),
        );
        response.headers_mut().extend(HeaderValue::from_str(&next).ok().map(|next| (LINK, next)));
    }
    Ok(response)
}

/// What Xet storage calls files, by SHA-256.
type Hashes = BTreeMap<String, String>;

/// The entries below `folder` (empty for all), with the folders between, as the hub lists them.
fn listing(revision: &Revision, hashes: &Hashes, folder: &str, recursive: bool) -> Vec<Value> {
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let mut items: BTreeMap<&str, Value> = BTreeMap::new();
    for (path, entry) in revision.entries.iter().filter(|(path, _)| path.starts_with(&prefix)) {
        let inner = path.match_indices('/').map(|(at, _)| at).filter(|at| *at >= prefix.len() && *at > 0);
        let mut nested = false;
        for at in inner {
            if recursive || !nested {
                items.entry(&path[..at]).or_insert_with(|| directory(&path[..at]));
            }
            nested = true;
        }
        if recursive || !nested {
            items.insert(path, file(path, entry, hashes));
        }
    }
    items.into_values().collect()
}

fn directory(path: &str) -> Value {
    json!({"type": "directory", "oid": sha1(path.as_bytes()), "size": 0, "path": path})
}

fn file(path: &str, entry: &Entry, hashes: &Hashes) -> Value {
    let mut item = json!({"type": "file", "oid": entry.oid, "size": entry.size, "path": path});
    if let Some(sha256) = &entry.lfs {
        let pointer = lfs_pointer(sha256, entry.size).len();
        item["lfs"] = json!({"oid": sha256, "size": entry.size, "pointerSize": pointer});
        if let Some(hash) = hashes.get(sha256) {
            item["xetHash"] = hash.as_str().into();
        }
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_listed_once_and_opened_only_when_asked() {
        let entry = Entry { file: None, size: 1, oid: "o".to_owned(), lfs: None };
        let paths = ["a.json", "sub/b.json", "sub/deep/c.json", "sub2/d.json"];
        let revision = Revision {
            commit: "c".to_owned(),
            entries: paths.iter().map(|path| ((*path).to_owned(), entry.clone())).collect(),
        };
        let names = |folder, recursive| -> Vec<String> {
            let items = listing(&revision, &Hashes::new(), folder, recursive);
            items.iter().map(|item| item["path"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(
            names("", true),
            ["a.json", "sub", "sub/b.json", "sub/deep", "sub/deep/c.json", "sub2", "sub2/d.json"]
        );
        assert_eq!(names("", false), ["a.json", "sub", "sub2"]);
        assert_eq!(names("sub", false), ["sub/b.json", "sub/deep"]);
        assert_eq!(names("sub", true), ["sub/b.json", "sub/deep", "sub/deep/c.json"]);
    }
}
