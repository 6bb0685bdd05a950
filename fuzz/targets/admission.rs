//! Bodies that reach the webhook, answered as the binary answers them.
#![no_main]

use std::sync::LazyLock;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use fuzz::pods::patched;
use k8s_openapi::ByteString;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store;
use kube::runtime::watcher::Event;
use libfuzzer_sys::fuzz_target;
use model_webhook::{Defaults, Guarded, ModelCache, PATH, router};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().enable_time().build().unwrap());
static ROUTER: LazyLock<Router> = LazyLock::new(|| router(cache(), Defaults::default()));

fuzz_target!(|body: &[u8]| {
    let (status, answer) = post(body);
    if status == StatusCode::BAD_REQUEST {
        return;
    }
    assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&answer));
    // Of fields that nobody reads only the outline is looked at: a string there may be none.
    let Ok(asked) = serde_json::from_slice::<Value>(body) else { return };
    let answer: Value = serde_json::from_slice(&answer).expect("the answer is JSON");
    let (request, response) = (&asked["request"], &answer["response"]);
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(response["uid"], request["uid"], "the API server matches answers by this");
    if response["allowed"] != true {
        let message = response["status"]["message"].as_str().unwrap_or_default();
        assert!(creates_pod(request), "only new pods are denied");
        assert!(!message.is_empty(), "a denial says why");
    } else if let Some(patch) = response.get("patch") {
        let ByteString(patch) = serde_json::from_value(patch.clone()).expect("the patch is in base64");
        assert!(creates_pod(request), "only new pods are changed");
        patched(&request["object"], &serde_json::from_slice(&patch).expect("the patch is one"));
    }
});

fn creates_pod(request: &Value) -> bool {
    request["operation"] == "CREATE" && request["kind"]["kind"] == "Pod"
}

fn post(body: &[u8]) -> (StatusCode, Vec<u8>) {
    let request = Request::post(PATH).body(Body::from(body.to_vec())).unwrap();
    RUNTIME.block_on(async {
        let response = ROUTER.clone().oneshot(request).await.unwrap();
        (response.status(), to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec())
    })
}

/// A Model that is Ready, one that is not, and one that this version cannot read.
fn cache() -> ModelCache {
    let source = json!({ "huggingFace": { "repoId": "acme/tiny" } });
    let content = json!({ "id": "0123456789abcdef0123", "path": "revisions/0123456789abcdef0123", "source": source });
    let model = |name: &str, status: Value| {
        json!({
            "apiVersion": "models.main-currents.news/v1alpha1",
            "kind": "Model",
            "metadata": { "name": name, "namespace": "team", "uid": name, "generation": 1 },
            "spec": { "source": source, "storage": { "size": "1Gi" } },
            "status": status
        })
    };
    let models = [
        model("a", json!({ "phase": "Ready", "content": content })),
        model("b", json!({ "phase": "Downloading", "progress": 7 })),
        model("c", json!({ "phase": "Nonsense" })),
    ];
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
