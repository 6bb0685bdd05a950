//! What every client sees, whatever the pod: malformed requests, limits, health, figures.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use kube::runtime::reflector::store;
use model_webhook::{
    Defaults, Guarded, Metrics, ModelCache, PATH, Readiness, counted_router, health_router, metrics_router, router,
};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::{answer, asking, cache, llama, model, pod, post, ready, review};

#[tokio::test]
async fn before_the_first_list_no_model_is_called_missing() {
    let (reader, _writer) = store::<Guarded>();
    let models = ModelCache::new(reader);
    let denied = answer(models.clone(), &review(&asking("llama-3-8b"))).await;
    assert_eq!(denied["allowed"], false);
    assert_eq!(denied["status"]["code"], 503);
    let message = denied["status"]["message"].as_str().unwrap();
    assert!(message.contains("has not read the Models yet: try again"), "{message}");
    assert!(!message.contains("not found"));
    // What needs no Model is answered at once.
    assert_eq!(answer(models, &review(&pod(json!({})))).await["allowed"], true);
}

#[tokio::test]
async fn what_is_no_review_is_refused_in_words() {
    let pod = asking("llama-3-8b");
    let changed = |key: &str, value: Value| {
        let mut review = review(&pod);
        review[key] = value;
        review.to_string()
    };
    for (body, says) in [
        ("{".to_owned(), "could not read the body as an AdmissionReview: EOF"),
        ("[]".to_owned(), "could not read the body"),
        (String::new(), "could not read the body"),
        (changed("request", Value::Null), "no request"),
        (changed("request", json!({ "uid": 7 })), "could not read the body"),
        (changed("apiVersion", json!("admission.k8s.io/v1beta1")), "send AdmissionReview of admission.k8s.io/v1"),
        (changed("kind", json!("ConversionReview")), "send AdmissionReview"),
    ] {
        let (status, answer) = post(llama(), body.clone()).await;
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer.contains(says), "{answer}");
    }
}

#[tokio::test]
async fn the_largest_object_of_the_api_server_fits_and_no_more() {
    let mut pod = asking("llama-3-8b");
    pod["metadata"]["annotations"]["filler"] = json!("x".repeat(3 * 1024 * 1024));
    assert_eq!(post(llama(), review(&pod).to_string()).await.0, StatusCode::OK);
    assert_eq!(post(llama(), "x".repeat(4 * 1024 * 1024 + 1)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn only_posts_to_the_path_are_answered() {
    for (request, status) in [
        (Request::get(PATH), StatusCode::METHOD_NOT_ALLOWED),
        (Request::post("/"), StatusCode::NOT_FOUND),
        (Request::post("/mutate"), StatusCode::NOT_FOUND),
    ] {
        let response =
            router(llama(), Defaults::default()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status);
    }
}

#[tokio::test]
async fn readiness_follows_the_cache_and_the_wish_to_stop() {
    async fn get(readiness: &Readiness, path: &str) -> StatusCode {
        let request = Request::get(path).body(Body::empty()).unwrap();
        health_router(readiness.clone()).oneshot(request).await.unwrap().status()
    }
    let (reader, _writer) = store::<Guarded>();
    let models = ModelCache::new(reader);
    let readiness = Readiness::new(models.clone());
    assert_eq!(get(&readiness, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        get(&readiness, "/healthz").await,
        StatusCode::OK,
        "a cache that is still filling is no reason to restart"
    );
    models.mark_filled();
    assert_eq!(get(&readiness, "/readyz").await, StatusCode::OK);
    readiness.end();
    assert_eq!(get(&readiness, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(&readiness, "/healthz").await, StatusCode::OK);
}

/// What a scrape reads after some answers.
#[tokio::test]
async fn answers_are_counted_by_outcome_and_reason() {
    let metrics = Metrics::default();
    let plain = pod(json!({}));
    let invalid = pod(json!({ "models.main-currents.news/inject": "" }));
    let waits =
        pod(json!({ "models.main-currents.news/inject": "new", "models.main-currents.news/when-not-ready": "wait" }));
    let models = || cache([model("llama-3-8b", ready()), model("new", Value::Null)]);
    let bodies = [plain, asking("llama-3-8b"), asking("llama-3-8b"), asking("absent"), invalid, waits]
        .map(|pod| review(&pod).to_string());
    for body in bodies.into_iter().chain(["no review".to_owned()]) {
        let request = Request::post(PATH).body(Body::from(body)).unwrap();
        counted_router(models(), Defaults::default(), metrics.clone()).oneshot(request).await.unwrap();
    }
    let scrape = Request::get("/metrics").body(Body::empty()).unwrap();
    let response = metrics_router(metrics).oneshot(scrape).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap();
    for line in [
        r#"model_webhook_admissions_total{outcome="untouched",reason=""} 1"#,
        r#"model_webhook_admissions_total{outcome="injected",reason=""} 2"#,
        r#"model_webhook_admissions_total{outcome="gated",reason=""} 1"#,
        r#"model_webhook_admissions_total{outcome="denied",reason="ModelNotFound"} 1"#,
        r#"model_webhook_admissions_total{outcome="denied",reason="AnnotationInvalid"} 1"#,
        r#"model_webhook_admissions_total{outcome="malformed",reason=""} 1"#,
        "model_webhook_admission_duration_seconds_count 7",
    ] {
        assert!(text.lines().any(|seen| seen == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("absent"), "no name that a user chose is in\n{text}");
}
