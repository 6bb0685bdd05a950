//! Who asks, and what they may see.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::refusal::Refusal;
use crate::repository::{Repository, Revision};
use crate::shared::Shared;

/// Who sent a request, by its bearer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Anonymous,
    /// May see everything.
    Member,
    /// Logged in, without access to gated and private repositories.
    Outsider,
}

impl Caller {
    pub(crate) fn of(headers: &HeaderMap, shared: &Shared) -> Result<Self, Refusal> {
        let Some(header) = headers.get(AUTHORIZATION) else { return Ok(Self::Anonymous) };
        match header.to_str().ok().and_then(|header| header.strip_prefix("Bearer ")) {
            Some(token) if token == shared.config.token => Ok(Self::Member),
            Some(token) if token == shared.config.outsider_token => Ok(Self::Outsider),
            _ => Err(Refusal::InvalidToken),
        }
    }
}

/// The repository `org/name` if the sender of `headers` may know of it. What the listing says
/// of a gated repository is public; its files are not, see [`may_read`].
pub(crate) async fn visible(
    shared: &Arc<Shared>,
    headers: &HeaderMap,
    org: String,
    name: String,
) -> Result<(Caller, Arc<Repository>), Refusal> {
    let caller = Caller::of(headers, shared)?;
    let finder = shared.clone();
    let found = tokio::task::spawn_blocking(move || finder.repositories.find(&org, &name)).await;
    let found = found.map_err(|error| Refusal::Internal { reason: error.to_string() })?;
    let found = found.map_err(|error| Refusal::Internal { reason: error.to_string() })?;
    match (found, caller) {
        (Some(repository), Caller::Member) => Ok((caller, repository)),
        (Some(repository), _) if !repository.description.private => Ok((caller, repository)),
        (_, Caller::Anonymous) => Err(Refusal::LogIn),
        (_, Caller::Outsider | Caller::Member) => Err(Refusal::RepoNotFound),
    }
}

/// Refuses callers that may know of the repository but not read its files.
pub(crate) fn may_read(caller: Caller, repository: &Repository) -> Result<(), Refusal> {
    match caller {
        _ if !repository.description.gated => Ok(()),
        Caller::Member => Ok(()),
        Caller::Anonymous => Err(Refusal::GatedLogIn { repository: repository.id.clone() }),
        Caller::Outsider => Err(Refusal::GatedNotAuthorized { repository: repository.id.clone() }),
    }
}

/// The revision by branch, tag or commit.
pub(crate) fn revision(repository: &Repository, revision: &str) -> Result<Arc<Revision>, Refusal> {
    let found = repository.revision(revision).cloned();
    found.ok_or_else(|| Refusal::RevisionNotFound { revision: revision.to_owned() })
}
