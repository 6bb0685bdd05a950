//! The answer to one request: look the wanted Models up, let `model-resources` compute the patch, say what was done.

use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::post;
use json_patch::Patch;
use kube::core::DeserializeGuard;
use model_core::pod_reason::PodReason;
use model_resources::inject::{
    ContentPlace, Denial, ReadyModel, WhenNotReady, Wish, awaited_model, inject, inject_and_gate, parse, ready_model,
};
use model_watch::with_causes;
use serde_json::Value;

use crate::cache::ModelCache;
use crate::limits::bounded;
use crate::metrics::Metrics;
use crate::review::{Malformed, Request, Response};

/// Where the API server asks about pods.
pub const PATH: &str = "/mutate-v1-pod";

/// What holds for pods that do not say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Defaults {
    /// What becomes of a pod while a Model is not Ready. Default: it is denied.
    pub when_not_ready: WhenNotReady,
    /// Where the files of a Model that is not Ready will lie. Default: where stock images put them.
    ///
    /// A pod that was told the wrong place is never scheduled without its files: the controller finds that its content
    /// will not come, and treats the pod as one whose content was superseded.
    pub content_place: ContentPlace,
}

impl Defaults {
    /// These, and no others.
    #[must_use]
    pub const fn new(when_not_ready: WhenNotReady, content_place: ContentPlace) -> Self {
        Self { when_not_ready, content_place }
    }
}

/// Answers `AdmissionReview`s about pods at [`PATH`] from the cache, without calling out.
pub fn router(models: ModelCache, defaults: Defaults) -> Router {
    counted_router(models, defaults, Metrics::default())
}

/// The same, with every answer counted in `metrics`.
pub fn counted_router(models: ModelCache, defaults: Defaults, metrics: Metrics) -> Router {
    let state = (models, defaults, metrics);
    bounded(Router::new().route(PATH, post(answer))).with_state(state)
}

/// What becomes of a pod.
enum Outcome {
    /// It asks for no model, or has all of it already.
    Untouched,
    Injected(Patch),
    /// It is injected, and waits for a Model.
    Gated(Patch),
    Denied(Denial),
    /// The Models have not been read yet, so nothing is known about any of them.
    NotYet,
}

impl Outcome {
    /// What logs and metrics call it, and why it is a denial.
    const fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::Untouched => ("untouched", ""),
            Self::Injected(_) => ("injected", ""),
            Self::Gated(_) => ("gated", ""),
            Self::Denied(denial) => ("denied", denial.reason().as_str()),
            Self::NotYet => ("denied", NOT_YET_REASON),
        }
    }
}

async fn answer(
    State((models, defaults, metrics)): State<(ModelCache, Defaults, Metrics)>,
    body: Bytes,
) -> HttpResponse {
    let begun = Instant::now();
    let decided = Request::parse(&body).and_then(|request| {
        let (wish, outcome) = decide(&request, &models, defaults)?;
        Ok((request, wish, outcome))
    });
    let (request, wish, outcome) = match decided {
        Ok(decided) => decided,
        Err(error) => {
            let error = with_causes(&error);
            tracing::warn!(error, "answered a malformed request");
            metrics.answered("malformed", "", begun.elapsed());
            return (StatusCode::BAD_REQUEST, error).into_response();
        }
    };
    log(&request, wish.as_ref(), &outcome);
    let (outcome_word, reason) = outcome.words();
    let response = match outcome {
        Outcome::Untouched => Ok(Response::allow(&request)),
        Outcome::Injected(patch) | Outcome::Gated(patch) => Response::patch(&request, &patch),
        Outcome::Denied(denial) => {
            Ok(Response::deny(&request, code(&denial), denial.reason().as_str(), denial.to_string()))
        }
        Outcome::NotYet => Ok(Response::deny(&request, 503, NOT_YET_REASON, NOT_YET.to_owned())),
    };
    let body = response.and_then(|response| response.to_body());
    metrics.answered(outcome_word, reason, begun.elapsed());
    match body {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

const NOT_YET_REASON: &str = PodReason::ServiceUnavailable.as_str();
const NOT_YET: &str = "the model webhook has just started and has not read the Models yet: try again in a few seconds; if this stays, check its log and that its service account may list and watch models";

/// Pure but for the look-ups in the cache.
fn decide(
    request: &Request<'_>,
    models: &ModelCache,
    defaults: Defaults,
) -> Result<(Option<Wish>, Outcome), Malformed> {
    if !request.creates_pod() {
        return Ok((None, Outcome::Untouched));
    }
    let wish = match parse(&request.named) {
        Ok(Some(wish)) => wish,
        Ok(None) => return Ok((None, Outcome::Untouched)),
        Err(denial) => return Ok((None, Outcome::Denied(denial))),
    };
    if !models.is_filled() {
        return Ok((Some(wish), Outcome::NotYet));
    }
    let found: Result<Vec<_>, _> =
        wish.models.iter().map(|name| look_up(models, defaults, &request.namespace, name, &wish)).collect();
    let found = match found {
        Ok(found) => found,
        Err(denial) => return Ok((Some(wish), Outcome::Denied(denial))),
    };
    let outcome = match patch(&request.object()?, &wish, found) {
        Ok((patch, _)) if patch.0.is_empty() => Outcome::Untouched,
        Ok((patch, false)) => Outcome::Injected(patch),
        Ok((patch, true)) => Outcome::Gated(patch),
        Err(denial) => Outcome::Denied(denial),
    };
    Ok((Some(wish), outcome))
}

/// The patch, and whether the pod has to wait.
fn patch(pod: &Value, wish: &Wish, found: Vec<Found>) -> Result<(Patch, bool), Denial> {
    let waits = found.iter().any(|found| !found.is_ready);
    let models: Vec<_> = found.into_iter().map(|found| found.model).collect();
    let patch = if waits { inject_and_gate } else { inject };
    Ok((patch(pod, wish, &models)?, waits))
}

/// What the pod mounts of one Model.
struct Found {
    model: ReadyModel,
    is_ready: bool,
}

fn look_up(models: &ModelCache, defaults: Defaults, namespace: &str, name: &str, wish: &Wish) -> Result<Found, Denial> {
    let found = models.get(namespace, name);
    let model = match found.as_deref() {
        None => None,
        Some(DeserializeGuard(Ok(model))) => Some(model),
        Some(DeserializeGuard(Err(error))) => {
            return Err(Denial::ModelNotReady {
                name: name.to_owned(),
                state: format!("cannot be read by this version of the operator ({error})"),
                advice: format!(
                    "apply the operator's CRD, then correct the Model with: kubectl edit --namespace {namespace} model/{name}"
                ),
            });
        }
    };
    match (ready_model(name, namespace, model), wish.when_not_ready.unwrap_or(defaults.when_not_ready)) {
        (Ok(model), _) => Ok(Found { model, is_ready: true }),
        (Err(denial), WhenNotReady::Deny) => Err(denial),
        (Err(_), WhenNotReady::Wait) => {
            let model = awaited_model(name, namespace, model, defaults.content_place)?;
            Ok(Found { model, is_ready: false })
        }
    }
}

/// 403 where the pod is in order and only its Model is not, 422 where the pod has to change.
const fn code(denial: &Denial) -> u16 {
    if denial.is_of_the_pod() { 422 } else { 403 }
}

/// One line for each decision. Nothing of the pod but its name is logged: its environment may hold secrets.
fn log(request: &Request<'_>, wish: Option<&Wish>, outcome: &Outcome) {
    let (namespace, pod, dry_run) = (request.namespace.as_str(), request.pod_name(), request.dry_run);
    let models = wish.map(|wish| wish.models.join(",")).unwrap_or_default();
    let (word, reason) = outcome.words();
    match outcome {
        Outcome::Untouched | Outcome::Injected(_) | Outcome::Gated(_) => {
            tracing::info!(namespace, pod, models, dry_run, outcome = word, "admitted");
        }
        Outcome::Denied(denial) => {
            tracing::info!(namespace, pod, models, dry_run, outcome = word, reason, %denial, "denied");
        }
        Outcome::NotYet => tracing::info!(namespace, pod, models, dry_run, outcome = word, reason, "denied"),
    }
}
