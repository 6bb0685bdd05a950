//! Refusals in the hub's words: clients go by `X-Error-Code` and `X-Error-Message`
//! (`hf_raise_for_status` of `huggingface_hub`).

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Names the commit that an answer is about.
pub(crate) const REPO_COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");

/// A refusal of the hub.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The token is none that the hub gave out.
    InvalidToken,
    /// No such repository, or one that an anonymous client may not know of.
    LogIn,
    /// No such repository, or one that this account may not know of.
    RepoNotFound,
    /// Files of a gated repository, asked for anonymously.
    GatedLogIn { repository: String },
    /// Files of a gated repository, asked for by an account that has not been let in.
    GatedNotAuthorized { repository: String },
    /// No such branch, tag or commit.
    RevisionNotFound { revision: String },
    /// No such file in that commit.
    EntryNotFound { commit: String },
    /// The hub itself failed, such as on an unreadable file.
    Internal { reason: String },
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, message) = match &self {
            Self::InvalidToken => {
                (StatusCode::UNAUTHORIZED, None, "Invalid credentials in Authorization header".to_owned())
            }
            // No code here: huggingface_hub takes any 401 of the API for a missing repository.
            Self::LogIn => (StatusCode::UNAUTHORIZED, None, "Invalid username or password.".to_owned()),
            Self::RepoNotFound => (StatusCode::NOT_FOUND, Some("RepoNotFound"), "Repository not found".to_owned()),
            Self::GatedLogIn { repository } => (
                StatusCode::UNAUTHORIZED,
                Some("GatedRepo"),
                format!(
                    "Access to model {repository} is restricted. You must have access to it and be authenticated to \
                     access it. Please log in."
                ),
            ),
            Self::GatedNotAuthorized { repository } => (
                StatusCode::FORBIDDEN,
                Some("GatedRepo"),
                format!(
                    "Access to model {repository} is restricted and you are not in the authorized list. Visit \
                     https://huggingface.co/{repository} to ask for access."
                ),
            ),
            Self::RevisionNotFound { revision } => {
                (StatusCode::NOT_FOUND, Some("RevisionNotFound"), format!("Invalid rev id: {revision}"))
            }
            Self::EntryNotFound { .. } => (StatusCode::NOT_FOUND, Some("EntryNotFound"), "Entry not found".to_owned()),
            Self::Internal { reason } => (StatusCode::INTERNAL_SERVER_ERROR, None, reason.clone()),
        };
        let mut response = (status, Json(json!({"error": message}))).into_response();
        let headers = response.headers_mut();
        if let Some(code) = code {
            headers.insert("x-error-code", HeaderValue::from_static(code));
        }
        headers.extend(HeaderValue::from_str(&message).ok().map(|message| (ERROR_MESSAGE, message)));
        if let Self::EntryNotFound { commit } = &self {
            headers.extend(HeaderValue::from_str(commit).ok().map(|commit| (REPO_COMMIT, commit)));
        }
        response
    }
}

const ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-error-message");
