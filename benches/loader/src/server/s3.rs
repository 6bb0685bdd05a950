//! S3, just enough for s5cmd and rclone to download a prefix: `ListObjectsV2`, HEAD and ranged GET of objects, HEAD of
//! the bucket; path style. The narrowest of the three protocols: signatures are not looked at, nothing can be written,
//! errors are a status without S3's XML, and names are not escaped, as the models' names need none.

use std::fmt::Write as _;

use super::answer::{Answer, Status};
use super::request::Request;
use super::{BUCKET, routes};
use crate::model::{Model, ModelFile};

/// Objects on a page of a listing.
const PAGE: usize = 1000;

/// `/BUCKET` and `/BUCKET/KEY`, given what follows the bucket.
pub fn answer(model: &Model, rest: &[&str], request: &Request) -> Option<Answer> {
    match rest {
        [] | [""] if request.parameter("list-type") == Some("2") => Some(list(model, request)),
        [] | [""] if request.query.is_empty() => Some(Answer::new(Status::Ok).with("x-amz-bucket-region", "us-east-1")),
        [name, path @ ..] if *name == model.name => object(model, &path.join("/"), request),
        _ => None,
    }
}

fn object(model: &Model, path: &str, request: &Request) -> Option<Answer> {
    let file = model.file(path)?;
    let answer = routes::content(model, file, request, &etag(file));
    Some(answer.with("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT"))
}

/// As of an upload in parts: no MD5 of the object, so no client compares it with one.
fn etag(file: &ModelFile) -> String {
    format!("\"{}-1\"", &file.identity.digest()[..32])
}

fn list(model: &Model, request: &Request) -> Answer {
    let prefix = request.parameter("prefix").unwrap_or_default();
    let start: usize = request.parameter("continuation-token").and_then(|token| token.parse().ok()).unwrap_or(0);
    let asked = request.parameter("max-keys").and_then(|keys| keys.parse().ok()).unwrap_or(PAGE);
    let key = |file: &ModelFile| format!("{}/{}", model.name, file.path);
    let matching: Vec<&ModelFile> = model.files.iter().filter(|file| key(file).starts_with(prefix)).collect();
    let page = matching.iter().skip(start).take(asked.clamp(1, PAGE));

    let mut contents = String::new();
    let mut count = 0;
    for file in page {
        // Writing to a String cannot fail.
        let _ = write!(
            contents,
            "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>{}</ETag>\
             <Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            key(file),
            etag(file).replace('"', "&quot;"),
            file.size,
        );
        count += 1;
    }
    let next = start + count;
    let more = if next < matching.len() {
        format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>")
    } else {
        "<IsTruncated>false</IsTruncated>".to_owned()
    };
    let page = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Name>{BUCKET}</Name><Prefix>{prefix}</Prefix><KeyCount>{count}</KeyCount><MaxKeys>{PAGE}</MaxKeys>\
         {more}{contents}</ListBucketResult>"
    );
    Answer::new(Status::Ok).text("application/xml", page)
}
