//! `POST /embed` and `GET /health`, in the shape of Hugging Face's text-embeddings-inference.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::Embedder;

/// Most texts of a request.
pub const MOST_TEXTS: usize = 32;

/// Largest body of a request, in bytes. [`MOST_TEXTS`] as long as models read them are a quarter of it.
pub const LARGEST_BODY: usize = 256 << 10;

/// Most requests at a time, the one that is computed and those that wait for it. More are told to come back.
pub const MOST_REQUESTS: usize = 64;

/// What requests share.
struct Shared {
    embedder: Embedder,
    /// Held by a request from its first byte of work to its answer.
    seats: Semaphore,
    /// Held while computing: one request uses every processor by itself.
    turn: Semaphore,
}

/// The body of a request. What else clients send (`normalize`, `truncate`) is what this server does anyway.
#[derive(Deserialize)]
struct Request {
    inputs: Inputs,
}

/// One text or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Inputs {
    One(String),
    Several(Vec<String>),
}

/// The routes. `/health` answers 200: a server that has no model yet does not listen.
pub fn router(embedder: Embedder) -> Router {
    let shared = Shared { embedder, seats: Semaphore::new(MOST_REQUESTS), turn: Semaphore::new(1) };
    Router::new()
        .route("/embed", post(embed))
        .route("/health", get(async || StatusCode::OK))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(Arc::new(shared))
}

async fn embed(
    State(shared): State<Arc<Shared>>,
    body: Result<Json<Request>, JsonRejection>,
) -> Result<Json<Vec<Vec<f32>>>, Refusal> {
    let Json(Request { inputs }) = body.map_err(|rejection| Refusal::new(rejection.status(), rejection.body_text()))?;
    let texts = match inputs {
        Inputs::One(text) => vec![text],
        Inputs::Several(texts) => texts,
    };
    if texts.is_empty() {
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "`inputs` is empty"));
    }
    if texts.len() > MOST_TEXTS {
        let text = format!("{} texts are too many for a request: at most {MOST_TEXTS}", texts.len());
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    let _seat = shared.seats.try_acquire().map_err(|_| {
        let text = format!("{MOST_REQUESTS} requests wait already: try again later");
        Refusal { kind: "Overloaded", ..Refusal::new(StatusCode::TOO_MANY_REQUESTS, text) }
    })?;
    let _turn = shared.turn.acquire().await.map_err(Refusal::failed)?;
    let embedder = shared.clone();
    let computed = tokio::task::spawn_blocking(move || embedder.embedder.embed(&texts)).await;
    computed.map_err(Refusal::failed)?.map(Json).map_err(Refusal::failed)
}

/// An answer without embeddings: `{"error": …, "error_type": …}`.
struct Refusal {
    status: StatusCode,
    kind: &'static str,
    text: String,
}

impl Refusal {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, kind: "Validation", text: text.into() }
    }

    fn failed(error: impl std::error::Error) -> Self {
        // The asker can do nothing about it; whoever runs the server can.
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        eprintln!("{}", causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")));
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "Backend", text: error.to_string() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.text, "error_type": self.kind }))).into_response()
    }
}
