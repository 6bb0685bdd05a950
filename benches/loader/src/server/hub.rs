//! The Hugging Face hub: revision, tree, and files by redirect, as the real one does it.
//!
//! A large file is a 302 to another origin, a small one a 307 to a relative URL. Digest and
//! size are headers of the redirect. There are no Xet headers, so that all clients use plain HTTP.

use serde_json::{Value, json};

use super::answer::{Answer, Status};
use super::request::Request;
use super::{ORGANISATION, routes};
use crate::model::{Identity, Model, ModelFile, lfs_pointer};

/// Entries on a page of the tree.
const PAGE: usize = 1000;
const JSON: &str = "application/json";

/// `/api/models/ORG/NAME/…`: what the revision is and what it holds. Every revision is the same commit.
pub fn api(model: &Model, rest: &[&str], request: &Request) -> Option<Answer> {
    match rest {
        [] | ["revision", _] => Some(Answer::new(Status::Ok).text(JSON, described(model).to_string())),
        ["tree", revision] => Some(tree(model, revision, request)),
        _ => None,
    }
}

fn described(model: &Model) -> Value {
    let siblings: Vec<Value> = model.files.iter().map(|file| json!({"rfilename": file.path})).collect();
    json!({
        "_id": &model.commit[..24],
        "id": format!("{ORGANISATION}/{}", model.name),
        "modelId": format!("{ORGANISATION}/{}", model.name),
        "author": ORGANISATION,
        "sha": model.commit,
        "private": false,
        "gated": false,
        "disabled": false,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "createdAt": "2026-01-01T00:00:00.000Z",
        "lastModified": "2026-01-01T00:00:00.000Z",
        "siblings": siblings,
    })
}

fn tree(model: &Model, revision: &str, request: &Request) -> Answer {
    let cursor = request.parameter("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let page: Vec<Value> = model.files.iter().skip(cursor).take(PAGE).map(listed).collect();
    let next = cursor + page.len();
    let mut answer = Answer::new(Status::Ok);
    if next < model.files.len() {
        let path = format!("/api/models/{ORGANISATION}/{}/tree/{revision}", model.name);
        let link = format!("<http://{}{path}?recursive=true&cursor={next}>; rel=\"next\"", request.host);
        answer = answer.with("Link", link);
    }
    answer.text(JSON, Value::Array(page).to_string())
}

fn listed(file: &ModelFile) -> Value {
    let (path, size) = (&file.path, file.size);
    match &file.identity {
        Identity::Small { blob } => json!({"type": "file", "oid": blob, "size": size, "path": path}),
        Identity::Large { sha256, pointer } => {
            let lfs = json!({"oid": sha256, "size": size, "pointerSize": lfs_pointer(sha256, size).len()});
            json!({"type": "file", "oid": pointer, "size": size, "path": path, "lfs": lfs})
        }
    }
}

/// `/ORG/NAME/resolve/REVISION/PATH`: where the file is.
pub fn resolve(model: &Model, path: &str, cdn: &str) -> Option<Answer> {
    let file = model.file(path)?;
    let place = format!("{ORGANISATION}/{}/{}/{path}", model.name, model.commit);
    let (status, location) = match &file.identity {
        Identity::Large { .. } => (Status::Found, format!("{cdn}/cdn/{place}")),
        Identity::Small { .. } => (Status::TemporaryRedirect, format!("/api/resolve-cache/models/{place}")),
    };
    let answer = Answer::new(status).with("Location", location).with("Accept-Ranges", "bytes");
    let answer = answer.with("X-Repo-Commit", &model.commit).with("X-Linked-Size", file.size);
    Some(answer.with("X-Linked-ETag", format!("\"{}\"", file.identity.digest())))
}

/// `/api/resolve-cache/…`: a small file.
pub fn cached(model: &Model, path: &str, request: &Request) -> Option<Answer> {
    let file = model.file(path).filter(|file| matches!(file.identity, Identity::Small { .. }))?;
    let answer = routes::content(model, file, request, &format!("\"{}\"", file.identity.digest()));
    Some(answer.with("X-Repo-Commit", &model.commit))
}

/// `/cdn/…`: a large file. Its tag is not the digest, as on the real CDN.
pub fn cdn(model: &Model, path: &str, request: &Request) -> Option<Answer> {
    let file = model.file(path).filter(|file| matches!(file.identity, Identity::Large { .. }))?;
    Some(routes::content(model, file, request, &format!("\"cdn-{}\"", &file.identity.digest()[..32])))
}
