//! Whether a Model may be deleted: not while pods mount it.
//!
//! The claim itself is safe in any case, because Kubernetes keeps it while pods use it. But a pod that starts anew would
//! find neither Model nor files. What is refused is the mistake, not the wish: an annotation on the Model insists.

use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::post;
use model_core::labels::DELETE_WHILE_MOUNTED;
use model_core::pod_reason::PodReason;
use model_watch::with_causes;

use crate::limits::bounded;
use crate::metrics::Metrics;
use crate::mounts::Mounts;
use crate::review::{Request, Response};

/// Where the API server asks about the deletion of Models.
pub const DELETION_PATH: &str = "/validate-model-deletion";

/// Pods that a refusal names. The others it counts.
const NAMED: usize = 3;

const REASON: &str = PodReason::ModelInUse.as_str();

/// Answers `AdmissionReview`s about the deletion of Models at [`DELETION_PATH`] from the cache, without calling out.
///
/// Until the pods have been read, every deletion is allowed, as while no webhook runs at all.
pub fn deletion_router(mounts: Mounts) -> Router {
    counted_deletion_router(mounts, Metrics::default())
}

/// The same, with every answer counted in `metrics`.
pub fn counted_deletion_router(mounts: Mounts, metrics: Metrics) -> Router {
    let state = (mounts, metrics);
    bounded(Router::new().route(DELETION_PATH, post(answer))).with_state(state)
}

async fn answer(State((mounts, metrics)): State<(Mounts, Metrics)>, body: Bytes) -> HttpResponse {
    let begun = Instant::now();
    let request = match Request::parse(&body) {
        Ok(request) => request,
        Err(error) => {
            let error = with_causes(&error);
            tracing::warn!(error, "answered a malformed request");
            metrics.answered_deletion("malformed", "", begun.elapsed());
            return (StatusCode::BAD_REQUEST, error).into_response();
        }
    };
    let (namespace, dry_run) = (request.namespace.as_str(), request.dry_run);
    let model = request.deleted_model().unwrap_or_default();
    let pods = mounts.of(namespace, model);
    let (response, outcome, reason) = if pods.is_empty() || !mounts.is_filled() {
        (Response::allow(&request), "allowed", "")
    } else {
        tracing::info!(namespace, model, pods = pods.len(), dry_run, reason = REASON, "refused a deletion");
        (Response::deny(&request, 409, REASON, refusal(namespace, model, &pods)), "denied", REASON)
    };
    metrics.answered_deletion(outcome, reason, begun.elapsed());
    match response.to_body() {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn refusal(namespace: &str, model: &str, pods: &[String]) -> String {
    let named = pods.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let (word, more) = match pods.len() {
        1 => ("pod", String::new()),
        all if all > NAMED => ("pods", format!(" and {} more", all - NAMED)),
        _ => ("pods", String::new()),
    };
    format!(
        "model {model} is mounted by {word} {named}{more}, which could not start again without it: delete them first, or the workload that makes them; to delete the Model all the same: kubectl annotate --namespace {namespace} model/{model} {DELETE_WHILE_MOUNTED}=true"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_some_pods_and_the_way_out() {
        for (pods, says) in [
            (1, "model llama is mounted by pod p0, which"),
            (3, "model llama is mounted by pods p0, p1, p2, which"),
            (9, "model llama is mounted by pods p0, p1, p2 and 6 more, which"),
        ] {
            let pods: Vec<_> = (0..pods).map(|number| format!("p{number}")).collect();
            let text = refusal("team", "llama", &pods);
            assert!(text.starts_with(says), "{text}");
            let command =
                "kubectl annotate --namespace team model/llama models.main-currents.news/delete-while-mounted=true";
            assert!(text.ends_with(command), "{text}");
        }
    }
}
