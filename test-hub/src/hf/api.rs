//! `GET /api/models/…`: what a repository is and holds.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::access::{revision, visible};
use super::refusal::Refusal;
use crate::digest::lfs_pointer;
use crate::repository::{Repository, Revision};
use crate::shared::Shared;

pub(crate) async fn model(
    state: State<Arc<Shared>>,
    Path((org, name)): Path<(String, String)>,
    query: Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    model_at(state, Path((org, name, "main".to_owned())), query, headers).await
}

pub(crate) async fn model_at(
    State(shared): State<Arc<Shared>>,
    Path((org, name, wanted)): Path<(String, String, String)>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let (_, repository) = visible(&shared, &headers, org, name).await?;
    let revision = revision(&repository, &wanted)?;
    let blobs = query.get("blobs").is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
    Ok(Json(described(&repository, &revision, blobs)))
}

fn described(repository: &Repository, revision: &Revision, blobs: bool) -> Value {
    let siblings: Vec<Value> = revision
        .entries
        .iter()
        .map(|(path, entry)| {
            let mut sibling = json!({"rfilename": path});
            if blobs {
                sibling["size"] = entry.size.into();
                sibling["blobId"] = entry.oid.clone().into();
                if let Some(sha256) = &entry.lfs {
                    let pointer = lfs_pointer(sha256, entry.size).len();
                    sibling["lfs"] = json!({"sha256": sha256, "size": entry.size, "pointerSize": pointer});
                }
            }
            sibling
        })
        .collect();
    json!({
        "_id": &revision.commit[..24],
        "id": repository.id,
        "modelId": repository.id,
        "author": repository.id.split('/').next(),
        "sha": revision.commit,
        "private": repository.description.private,
        "gated": if repository.description.gated { json!("manual") } else { json!(false) },
        "disabled": false,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "createdAt": "2026-01-01T00:00:00.000Z",
        "lastModified": "2026-01-01T00:00:00.000Z",
        "siblings": siblings,
        "usedStorage": revision.entries.values().map(|entry| entry.size).sum::<u64>(),
    })
}
