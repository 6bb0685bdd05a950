//! Which protocol a request belongs to, and what all have in common: a file or a part of it.

use super::answer::{Answer, Status};
use super::range::{self, Part};
use super::request::Request;
use super::{BUCKET, FILES, ORGANISATION, hub, s3};
use crate::model::{Model, ModelFile};

/// Answers a request. A path that no protocol knows is 404. `cdn` is the address that large files of the hub come from.
pub fn answer(model: &Model, cdn: &str, request: &Request) -> Answer {
    let parts: Vec<&str> = request.path.split('/').skip(1).collect();
    let found = match parts.as_slice() {
        [FILES, path @ ..] => model.file(&path.join("/")).map(|file| plain(model, file, request)),
        [BUCKET, rest @ ..] => s3::answer(model, rest, request),
        ["api", "models", ORGANISATION, name, rest @ ..] if *name == model.name => hub::api(model, rest, request),
        ["api", "resolve-cache", "models", ORGANISATION, name, _, path @ ..] if *name == model.name => {
            hub::cached(model, &path.join("/"), request)
        }
        ["cdn", ORGANISATION, name, _, path @ ..] if *name == model.name => hub::cdn(model, &path.join("/"), request),
        [ORGANISATION, name, "resolve", _, path @ ..] if *name == model.name => {
            hub::resolve(model, &path.join("/"), cdn)
        }
        _ => None,
    };
    found.unwrap_or_else(|| Answer::new(Status::NotFound))
}

fn plain(model: &Model, file: &ModelFile, request: &Request) -> Answer {
    content(model, file, request, &format!("\"{}\"", file.identity.digest()))
}

/// The file or the part that the request's range names.
pub fn content(model: &Model, file: &ModelFile, request: &Request, etag: &str) -> Answer {
    let (status, bytes) = match range::part(request.range.as_deref(), file.size) {
        Part::Whole => (Status::Ok, 0..file.size),
        Part::Bytes(range) => (Status::PartialContent, range),
        Part::Unsatisfiable => {
            return Answer::new(Status::RangeNotSatisfiable).with("Content-Range", format!("bytes */{}", file.size));
        }
    };
    let mut answer = Answer::new(status).with("ETag", etag).with("Accept-Ranges", "bytes");
    if status == Status::PartialContent {
        let last = bytes.end.saturating_sub(1);
        answer = answer.with("Content-Range", format!("bytes {}-{last}/{}", bytes.start, file.size));
    }
    answer.file(model.folder.join(&file.path), bytes)
}
