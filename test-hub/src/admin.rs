//! The admin port: fault rules and counts while the hub runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::Error;
use crate::faults::rule::Rule;
use crate::faults::set::RuleState;
use crate::shared::Shared;
use crate::stats::Stats;

/// What the admin port works on.
#[derive(Clone)]
pub(crate) struct Admin {
    pub shared: Arc<Shared>,
    pub connections: Arc<AtomicU64>,
}

impl Admin {
    pub(crate) fn stats(&self) -> Stats {
        Stats { connections: self.connections.load(Ordering::Relaxed), ..self.shared.recorder.snapshot() }
    }
}

pub(crate) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/_faults", get(faults).put(replace_faults).post(add_fault).delete(clear_faults))
        .route("/_stats", get(async |State(admin): State<Admin>| Json(admin.stats())).delete(reset_stats))
        .route("/_refresh", post(refresh))
        .with_state(admin)
}

async fn faults(State(admin): State<Admin>) -> Json<Vec<RuleState>> {
    Json(admin.shared.faults.list())
}

async fn replace_faults(State(admin): State<Admin>, Json(rules): Json<Vec<Rule>>) -> Response {
    done(admin.shared.faults.replace(rules))
}

async fn add_fault(State(admin): State<Admin>, Json(rule): Json<Rule>) -> Response {
    done(admin.shared.faults.add(rule))
}

async fn clear_faults(State(admin): State<Admin>) -> Response {
    done(admin.shared.faults.replace(Vec::new()))
}

async fn reset_stats(State(admin): State<Admin>) -> StatusCode {
    admin.shared.recorder.reset();
    StatusCode::NO_CONTENT
}

async fn refresh(State(admin): State<Admin>) -> StatusCode {
    admin.shared.repositories.refresh();
    StatusCode::NO_CONTENT
}

fn done(result: Result<(), Error>) -> Response {
    match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}
