//! The server with a real model, whose folder `MODEL_…_PATH` names here as it does in a pod: `ci/embedding-server` sets it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use embedding_server::service::{LARGEST_BODY, MOST_REQUESTS, MOST_TEXTS, router};
use embedding_server::{Embedder, place};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::ServiceExt;

fn model() -> PathBuf {
    place::model_folder(std::env::vars_os()).unwrap_or_else(|error| panic!("{error} (ci/embedding-server does)"))
}

fn service() -> Router {
    static SERVICE: LazyLock<Router> = LazyLock::new(|| router(Embedder::load(&model()).unwrap()));
    SERVICE.clone()
}

async fn ask(service: Router, body: String) -> (StatusCode, Value) {
    let request = Request::post("/embed").header("Content-Type", "application/json").body(Body::from(body)).unwrap();
    let answer = service.oneshot(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[tokio::test]
async fn answers_are_those_of_sentence_transformers() {
    let reference: Value = serde_json::from_str(include_str!("../reference/reference.json")).unwrap();
    let sentences = reference["sentences"].as_array().unwrap();
    let texts: Vec<_> = sentences.iter().map(|sentence| &sentence["text"]).collect();
    let (status, answer) = ask(service(), json!({ "inputs": texts }).to_string()).await;
    assert_eq!((status, answer.as_array().unwrap().len()), (StatusCode::OK, sentences.len()));
    for (got, sentence) in answer.as_array().unwrap().iter().zip(sentences) {
        let (got, wanted) = (numbers(got), numbers(&sentence["embedding"]));
        assert_eq!((got.len(), wanted.len()), (384, 384));
        let largest = got.iter().zip(&wanted).map(|(got, wanted)| (got - wanted).abs()).fold(0.0, f64::max);
        // Both are of length 1.
        let alike: f64 = got.iter().zip(&wanted).map(|(got, wanted)| got * wanted).sum();
        println!("cosine {alike:.9}, largest difference {largest:.9}: {:.40}", sentence["text"]);
        assert!(largest <= 1e-3 && alike >= 0.9999, "{largest}, {alike} of {}", sentence["text"]);
    }
    // One text may stand without a list.
    let (_, alone) = ask(service(), json!({ "inputs": texts[0] }).to_string()).await;
    assert_eq!(alone, json!([answer[0]]));
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_in_words() {
    let too_many = json!({ "inputs": vec!["a"; MOST_TEXTS + 1] }).to_string();
    let too_large = json!({ "inputs": "a".repeat(LARGEST_BODY) }).to_string();
    for (body, status, words) in [
        ("{".to_owned(), StatusCode::BAD_REQUEST, "Failed to parse"),
        (json!({}).to_string(), StatusCode::UNPROCESSABLE_ENTITY, "missing field `inputs`"),
        (json!({ "inputs": [1] }).to_string(), StatusCode::UNPROCESSABLE_ENTITY, "inputs"),
        (json!({ "inputs": [] }).to_string(), StatusCode::UNPROCESSABLE_ENTITY, "`inputs` is empty"),
        (too_many, StatusCode::PAYLOAD_TOO_LARGE, "33 texts are too many for a request: at most 32"),
        (too_large, StatusCode::PAYLOAD_TOO_LARGE, "length limit exceeded"),
    ] {
        let (got, answer) = ask(service(), body).await;
        let error = answer["error"].as_str().unwrap();
        assert!(got == status && error.contains(words), "{got}: {answer}");
        assert_eq!(answer["error_type"], "Validation");
    }
}

#[tokio::test]
async fn requests_without_a_seat_are_told_to_come_back() {
    // One service of its own: others shall not take its seats.
    let service = router(Embedder::load(&model()).unwrap());
    let mut asking = JoinSet::new();
    for _ in 0..MOST_REQUESTS + 2 {
        asking.spawn(ask(service.clone(), json!({ "inputs": "a" }).to_string()));
    }
    let answers = asking.join_all().await;
    let of = |status| answers.iter().filter(|answer| answer.0 == status).count();
    assert_eq!((of(StatusCode::OK), of(StatusCode::TOO_MANY_REQUESTS)), (MOST_REQUESTS, 2));
    let (status, _) = ask(service, json!({ "inputs": "a" }).to_string()).await;
    assert_eq!(status, StatusCode::OK, "there are seats again");
}

#[tokio::test]
async fn a_server_that_listens_is_healthy() {
    let answer = service().oneshot(Request::get("/health").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[test]
fn a_file_that_does_not_serve_is_named() {
    let good = |name: &str| std::fs::read(model().join(name)).unwrap();
    let cut = good("model.safetensors")[..1_000_000].to_vec();
    let folder = tempfile::tempdir().unwrap();
    let problem = || {
        let error = Embedder::load(folder.path()).err().map(|error| error.to_string());
        error.map(|error| error.replace(&folder.path().display().to_string(), "/models/minilm"))
    };
    let put = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(path, content).unwrap();
    };
    for (name, content, wanted) in [
        ("README.md", b"a".to_vec(), "could not read /models/minilm/config.json: is there a model at this place?"),
        ("config.json", b"{}".to_vec(), "could not use /models/minilm/config.json: missing field `vocab_size`"),
        ("config.json", good("config.json"), "could not read /models/minilm/tokenizer.json"),
        (
            "1_Pooling/config.json",
            br#"{"pooling_mode_mean_tokens": false}"#.to_vec(),
            "1_Pooling/config.json: this server",
        ),
        ("1_Pooling/config.json", good("1_Pooling/config.json"), "could not read /models/minilm/tokenizer.json"),
        ("sentence_bert_config.json", br#"{"max_seq_length": 2}"#.to_vec(), "texts of 2 tokens have no content"),
        (
            "sentence_bert_config.json",
            good("sentence_bert_config.json"),
            "could not read /models/minilm/tokenizer.json",
        ),
        ("tokenizer.json", b"{}".to_vec(), "could not use /models/minilm/tokenizer.json: "),
        ("tokenizer.json", good("tokenizer.json"), "could not read /models/minilm/model.safetensors"),
        ("model.safetensors", cut, "could not use /models/minilm/model.safetensors: "),
    ] {
        put(name, &content);
        let problem = problem().unwrap();
        assert!(problem.contains(wanted), "{problem}");
    }
    put("model.safetensors", &good("model.safetensors"));
    assert_eq!(problem(), None);
}
