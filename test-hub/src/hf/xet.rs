//! `GET /api/models/ORG/NAME/xet-read-token/REVISION`: opens Xet storage to whoever may read the repository.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::access::{may_read, revision, visible};
use super::refusal::Refusal;
use crate::shared::Shared;

/// Seconds for which a token is good.
const VALID: u64 = 3600;

pub(crate) async fn read_token(
    State(shared): State<Arc<Shared>>,
    Path((org, name, wanted)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let (caller, repository) = visible(&shared, &headers, org, name).await?;
    may_read(caller, &repository)?;
    let revision = revision(&repository, &wanted)?;
    let Some(xet) = &repository.description.xet else {
        return Err(Refusal::EntryNotFound { commit: revision.commit.clone() });
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(Json(json!({"casUrl": xet.cas_url, "accessToken": "xet-read", "exp": now + VALID})))
}
