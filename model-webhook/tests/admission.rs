//! Every answer of the webhook, without a socket.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![allow(clippy::needless_pass_by_value, reason = "tables read better with json! in place")]

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use json_patch::{Patch, patch};
use k8s_openapi::ByteString;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store;
use kube::runtime::watcher::Event;
use model_resources::inject::{ContentPlace, WhenNotReady};
use model_webhook::{
    Defaults, Guarded, Metrics, ModelCache, PATH, Readiness, counted_router, health_router, metrics_router, router,
};
use serde_json::{Value, json};
use tower::ServiceExt;

/// A Model of namespace `team` with this status.
fn model(name: &str, status: Value) -> Value {
    json!({
        "apiVersion": "models.main-currents.news/v1alpha1",
        "kind": "Model",
        "metadata": { "name": name, "namespace": "team", "uid": format!("uid-{name}"), "generation": 1 },
        "spec": {
            "source": { "huggingFace": { "repoId": "meta-llama/Llama-3.1-8B-Instruct" } },
            "storage": { "size": "20Gi" }
        },
        "status": status
    })
}

/// The status of a Model whose files are published.
fn ready() -> Value {
    json!({
        "phase": "Ready",
        "progress": 100,
        "content": {
            "id": "0123456789abcdef0123",
            "path": "revisions/0123456789abcdef0123",
            "version": "3.1",
            "source": { "huggingFace": { "repoId": "meta-llama/Llama-3.1-8B-Instruct" } },
            "verified": true
        }
    })
}

/// A cache that holds these Models, as a watch would have read them.
fn cache(models: impl IntoIterator<Item = Value>) -> ModelCache {
    let (reader, mut writer) = store::<Guarded>();
    writer.apply_watcher_event(&Event::Init);
    for model in models {
        let model: DeserializeGuard<_> = serde_json::from_value(model).unwrap();
        writer.apply_watcher_event(&Event::InitApply(model));
    }
    writer.apply_watcher_event(&Event::InitDone);
    let cache = ModelCache::new(reader);
    cache.mark_filled();
    cache
}

/// A pod as the API server sends it at admission: without namespace.
fn pod(annotations: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "app", "annotations": annotations },
        "spec": { "containers": [{ "name": "app", "image": "myapp:latest" }] }
    })
}

fn asking(models: &str) -> Value {
    pod(json!({ "models.main-currents.news/inject": models }))
}

fn review(pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": "team",
            "operation": "CREATE",
            "userInfo": { "username": "system:serviceaccount:kube-system:replicaset-controller" },
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": { "apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions" }
        }
    })
}

async fn post(models: ModelCache, body: impl Into<Body>) -> (StatusCode, Vec<u8>) {
    post_with(models, Defaults::default(), body).await
}

async fn post_with(models: ModelCache, defaults: Defaults, body: impl Into<Body>) -> (StatusCode, Vec<u8>) {
    let request = Request::post(PATH).header("content-type", "application/json").body(body.into()).unwrap();
    let response = router(models, defaults).oneshot(request).await.unwrap();
    (response.status(), to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec())
}

/// The `response` of the answer to a review.
async fn answer(models: ModelCache, review: &Value) -> Value {
    answer_with(models, Defaults::default(), review).await
}

async fn answer_with(models: ModelCache, defaults: Defaults, review: &Value) -> Value {
    let (status, body) = post_with(models, defaults, review.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["response"]["uid"], review["request"]["uid"], "the API server matches answers by this");
    answer["response"].clone()
}

/// The pod as the API server would store it.
fn patched(pod: &Value, response: &Value) -> Value {
    assert_eq!(response["allowed"], true, "{response}");
    assert_eq!(response["patchType"], "JSONPatch");
    let ByteString(operations) = serde_json::from_value(response["patch"].clone()).unwrap();
    let operations: Patch = serde_json::from_slice(&operations).unwrap();
    let mut pod = pod.clone();
    patch(&mut pod, &operations).unwrap();
    pod
}

fn llama() -> ModelCache {
    cache([model("llama-3-8b", ready())])
}

#[tokio::test]
async fn an_annotated_pod_gets_its_model() {
    let pod = asking("llama-3-8b");
    let injected = patched(&pod, &answer(llama(), &review(&pod)).await);
    let claim = &injected["spec"]["volumes"][0]["persistentVolumeClaim"];
    assert_eq!(*claim, json!({ "claimName": "model-llama-3-8b", "readOnly": true }));
    let mount = &injected["spec"]["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/models/llama-3-8b");
    assert_eq!(mount["subPath"], "revisions/0123456789abcdef0123");
    assert_eq!(mount["readOnly"], true);
    let env = injected["spec"]["containers"][0]["env"].as_array().unwrap();
    assert!(env.contains(&json!({ "name": "MODEL_LLAMA_3_8B_PATH", "value": "/models/llama-3-8b" })));
    assert_eq!(injected["metadata"]["labels"]["models.main-currents.news/injected"], "true");
}

#[tokio::test]
async fn the_prefix_of_the_specification_works_as_well() {
    let pod = pod(json!({ "models.example.com/inject": "llama-3-8b" }));
    let injected = patched(&pod, &answer(llama(), &review(&pod)).await);
    assert_eq!(injected["metadata"]["labels"]["models.example.com/injected"], "true");
}

#[tokio::test]
async fn a_second_pass_changes_nothing() {
    let pod = asking("llama-3-8b");
    let injected = patched(&pod, &answer(llama(), &review(&pod)).await);
    let second = answer(llama(), &review(&injected)).await;
    assert_eq!(second, json!({ "uid": second["uid"], "allowed": true }));
}

#[tokio::test]
async fn what_is_not_the_creation_of_an_asking_pod_is_let_through() {
    let asking = review(&asking("missing"));
    let with = |path: &str, value: Value| {
        let mut review = asking.clone();
        *review.pointer_mut(path).unwrap() = value;
        review
    };
    let mut binding = asking.clone();
    binding["request"]["subResource"] = json!("binding");
    for (name, review) in [
        ("a pod without annotations", review(&json!({ "metadata": { "name": "app" }, "spec": { "containers": [] } }))),
        ("a pod with other annotations", review(&pod(json!({ "models.main-currents.news/mount-path": "/m" })))),
        ("an update", with("/request/operation", json!("UPDATE"))),
        ("a deletion", with("/request/operation", json!("DELETE"))),
        ("a deletion has no object", {
            let mut review = with("/request/operation", json!("DELETE"));
            review["request"]["object"] = Value::Null;
            review
        }),
        ("another kind", with("/request/kind", json!({ "group": "apps", "version": "v1", "kind": "Deployment" }))),
        ("a Pod of another group", with("/request/kind", json!({ "group": "x", "version": "v1", "kind": "Pod" }))),
        ("a subresource", binding),
    ] {
        let answer = answer(llama(), &review).await;
        assert_eq!(answer, json!({ "uid": answer["uid"], "allowed": true }), "{name}");
    }
}

#[tokio::test]
async fn denials_say_what_is_wrong_and_what_to_do() {
    let models = || {
        cache([
            model("llama-3-8b", ready()),
            model("new", Value::Null),
            model("loading", json!({ "phase": "Downloading", "progress": 42 })),
            model("broken", json!({ "phase": "Failed", "message": "the repository x/y does not exist" })),
            json!({
                "metadata": { "name": "future", "namespace": "team" },
                "spec": { "source": { "carrierPigeon": {} }, "storage": { "size": "1Gi" } }
            }),
        ])
    };
    for (pod, code, reason, starts, says) in [
        (
            asking("llama-3-8b,gpt-x"),
            403,
            "ModelNotFound",
            "model not found: gpt-x; namespace team has no Model of that name",
            "create it first",
        ),
        (asking("new"), 403, "ModelNotReady", "model not ready: new is Pending; ", "kubectl wait"),
        (
            asking("loading"),
            403,
            "ModelNotReady",
            "model not ready: loading is Downloading, 42 %; ",
            "kubectl wait --for=condition=Ready",
        ),
        (
            asking("broken"),
            403,
            "ModelNotReady",
            "model not ready: broken is Failed: the repository x/y does not exist; ",
            "kubectl describe --namespace team model/broken",
        ),
        (
            asking("future"),
            403,
            "ModelNotReady",
            "model not ready: future cannot be read by this version of the operator (",
            "apply the operator's CRD",
        ),
        (
            pod(
                json!({ "models.main-currents.news/inject": "llama-3-8b", "models.main-currents.news/read-only": "no" }),
            ),
            422,
            "AnnotationInvalid",
            "annotation models.main-currents.news/read-only has the value \"no\"",
            "write \"true\" or \"false\"",
        ),
        (
            pod(json!({ "models.main-currents.news/inject": "llama-3-8b", "models.example.com/inject": "new" })),
            422,
            "AnnotationsDiffer",
            "annotations models.main-currents.news/inject and models.example.com/inject have different values",
            "keep one of them",
        ),
        (
            pod(
                json!({ "models.main-currents.news/inject": "llama-3-8b", "models.main-currents.news/container": "gpu" }),
            ),
            422,
            "ContainerNotFound",
            "annotation models.main-currents.news/container names the container \"gpu\"",
            "it has app",
        ),
    ] {
        let answer = answer(models(), &review(&pod)).await;
        assert_eq!(answer["allowed"], false, "{starts}");
        assert_eq!(answer["status"]["code"], code, "{starts}");
        assert_eq!(answer["status"]["reason"], reason, "{starts}");
        assert!(answer.get("patch").is_none());
        let message = answer["status"]["message"].as_str().unwrap();
        assert!(message.starts_with(starts), "{message}");
        assert!(message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn models_are_looked_up_in_the_namespace_of_the_request() {
    let mut review = review(&asking("llama-3-8b"));
    review["request"]["namespace"] = json!("other");
    let answer = answer(llama(), &review).await;
    assert_eq!(answer["allowed"], false);
    assert!(answer["status"]["message"].as_str().unwrap().contains("namespace other"), "{answer}");
}

#[tokio::test]
async fn a_pod_without_a_name_of_its_own_is_injected() {
    let mut pod = asking("llama-3-8b");
    pod["metadata"].as_object_mut().unwrap().remove("name");
    pod["metadata"]["generateName"] = json!("app-7d4b9c-");
    let injected = patched(&pod, &answer(llama(), &review(&pod)).await);
    assert_eq!(injected["spec"]["volumes"][0]["name"], "model-llama-3-8b");
}

#[tokio::test]
async fn a_dry_run_gets_the_same_answer() {
    let pod = asking("llama-3-8b");
    let mut dry = review(&pod);
    dry["request"]["dryRun"] = json!(true);
    assert_eq!(answer(llama(), &dry).await, answer(llama(), &review(&pod)).await);
}

#[tokio::test]
async fn fields_that_nobody_knows_yet_survive() {
    let mut pod = asking("llama-3-8b");
    pod["metadata"]["futureField"] = json!({ "deep": [1, 2] });
    pod["spec"]["futureField"] = json!("kept");
    pod["spec"]["containers"][0]["futureField"] = json!({ "kept": true });
    let injected = patched(&pod, &answer(llama(), &review(&pod)).await);
    assert_eq!(injected["metadata"]["futureField"], pod["metadata"]["futureField"]);
    assert_eq!(injected["spec"]["futureField"], "kept");
    assert_eq!(injected["spec"]["containers"][0]["futureField"], json!({ "kept": true }));
}

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

/// What `config/` has: a loader.
fn waiting_by_default() -> Defaults {
    Defaults { when_not_ready: WhenNotReady::Wait, content_place: ContentPlace::Revisions }
}

#[tokio::test]
async fn a_pod_that_may_wait_is_admitted_behind_a_gate() {
    let models = || {
        cache([
            model("llama-3-8b", ready()),
            model("new", Value::Null),
            model("loading", json!({ "phase": "Downloading", "progress": 42 })),
            model("broken", json!({ "phase": "Failed", "message": "the repository x/y does not exist" })),
        ])
    };
    let annotated = |models: &str, when: &str| {
        pod(json!({ "models.main-currents.news/inject": models, "models.main-currents.news/when-not-ready": when }))
    };
    let loader = |when_not_ready| Defaults { when_not_ready, content_place: ContentPlace::Revisions };
    for (name, pod, default) in [
        ("by annotation", annotated("loading", "wait"), WhenNotReady::Deny),
        ("by flag", asking("loading"), WhenNotReady::Wait),
        ("nothing downloaded yet", asking("new"), WhenNotReady::Wait),
        ("failed, which a retry may cure", asking("broken"), WhenNotReady::Wait),
        ("one of two", asking("llama-3-8b,loading"), WhenNotReady::Wait),
    ] {
        let review = review(&pod);
        let response = answer_with(models(), loader(default), &review).await;
        let gated = patched(&pod, &response);
        let gate = json!([{ "name": "models.main-currents.news/model-not-ready" }]);
        assert_eq!(gated["spec"]["schedulingGates"], gate, "{name}");
        assert_eq!(gated["metadata"]["labels"]["models.main-currents.news/gated"], "true", "{name}");
        let mounts = gated["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
        let starts = |mount: &Value| mount["subPath"].as_str().is_some_and(|path| path.starts_with("revisions/"));
        assert!(!mounts.is_empty() && mounts.iter().all(starts), "{name}: {mounts:?}");
        let mut again = review.clone();
        again["request"]["object"] = gated;
        let again = answer_with(models(), loader(default), &again).await;
        assert_eq!(again, json!({ "uid": again["uid"], "allowed": true }), "{name}: a second pass");
        let mut dry = review;
        dry["request"]["dryRun"] = json!(true);
        assert_eq!(answer_with(models(), loader(default), &dry).await, response, "{name}: a dry run");
    }

    // The mounts of the Model that is Ready are those of a pod that need not wait.
    let pod = asking("llama-3-8b");
    let free = patched(&pod, &answer_with(models(), waiting_by_default(), &review(&pod)).await);
    assert_eq!(free["spec"].get("schedulingGates"), None);
    assert_eq!(free, patched(&pod, &answer(models(), &review(&pod)).await));
}

#[tokio::test]
async fn what_cannot_wait_is_denied_all_the_same() {
    let models = || {
        let mut leaving = model("leaving", ready());
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        cache([model("loading", json!({ "phase": "Downloading", "progress": 42 })), leaving])
    };
    let mut placed = asking("loading");
    placed["spec"]["nodeName"] = json!("node-7");
    let with =
        |when: &str| pod(json!({ "models.example.com/inject": "loading", "models.example.com/when-not-ready": when }));
    for (pod, code, reason, says) in [
        (asking("missing"), 403, "ModelNotFound", "create it first"),
        (asking("leaving"), 403, "ModelNotReady", "is being deleted"),
        (asking("loading,missing"), 403, "ModelNotFound", "missing"),
        (with("deny"), 403, "ModelNotReady", "loading is Downloading, 42 %"),
        (placed, 422, "CannotWait", "spec.nodeName \"node-7\""),
        (with("later"), 422, "AnnotationInvalid", "write \"deny\" or \"wait\""),
    ] {
        let answer = answer_with(models(), waiting_by_default(), &review(&pod)).await;
        assert_eq!(answer["allowed"], false, "{pod}");
        assert_eq!((&answer["status"]["code"], &answer["status"]["reason"]), (&json!(code), &json!(reason)), "{pod}");
        let message = answer["status"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{says:?} is not in {message:?}");
    }
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
