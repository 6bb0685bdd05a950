//! The S3 endpoint: `s3s` speaks the protocol, `s3s-fs` keeps the buckets as folders.
//!
//! Reading objects is done here: `s3s-fs` 0.14 digests the whole object at every read, sends it in
//! pages of 4 KiB and ignores `If-Match`, all of which large models would feel.

mod sts;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use axum::Router;
use axum::error_handling::HandleError;
use axum::http::StatusCode;
use axum::routing::post;
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
    CreateBucketInput, CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput,
    DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, ETag, ETagCondition, GetBucketLocationInput,
    GetBucketLocationOutput, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput,
    HeadObjectOutput, ListBucketsInput, ListBucketsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
    ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput, StreamingBlob, UploadPartInput, UploadPartOutput,
};
use s3s::service::S3ServiceBuilder;
use s3s::{HttpError, S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;

use crate::repository::inside;
use crate::serve::contents;
use crate::{Error, HubConfig};
use sts::Session;

pub use sts::WEB_IDENTITY_TOKEN;

/// The endpoint over the folder of buckets, or one without buckets if there is no such folder.
pub(crate) fn router(config: &HubConfig) -> Result<Router, Error> {
    let root = config.root.join("s3");
    if !root.is_dir() {
        return Ok(Router::new().fallback(async || (StatusCode::NOT_FOUND, "no bucket folder: create ROOT/s3\n")));
    }
    let files =
        FileSystem::new(&root).map_err(|error| Error::S3 { path: root.clone(), reason: format!("{error:?}") })?;
    let session = Session { access: format!("{}-session", config.access_key), secret: config.secret_key.clone() };
    let mut builder = S3ServiceBuilder::new(Buckets { files, root, known: Mutex::default() });
    let (access, secret) = (config.access_key.clone(), config.secret_key.clone());
    builder.set_auth(Keys { access, secret, session: session.clone() });
    let failed = async |error: HttpError| {
        tracing::warn!(?error, "s3 request failed");
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let files = Router::new().fallback_service(HandleError::new(builder.build(), failed));
    Ok(files.route(sts::PATH, post(sts::assume_role).with_state(session)))
}

/// The configured key pair and that of the session that STS gives. Other keys are refused with the code that S3 itself
/// uses.
struct Keys {
    access: String,
    secret: String,
    session: Session,
}

#[async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.access {
            return Ok(SecretKey::from(self.secret.clone()));
        }
        if access_key == self.session.access {
            return Ok(SecretKey::from(self.session.secret.clone()));
        }
        Err(s3_error!(InvalidAccessKeyId, "The AWS Access Key Id you provided does not exist in our records."))
    }
}

struct Buckets {
    files: FileSystem,
    root: PathBuf,
    /// What was said of an object, by its file's path, size and time of change.
    known: Mutex<HashMap<(PathBuf, u64, SystemTime), HeadObjectOutput>>,
}

impl Buckets {
    fn path(&self, bucket: &str, key: &str) -> S3Result<PathBuf> {
        inside(&self.root, bucket).and_then(|bucket| inside(&bucket, key)).ok_or_else(|| s3_error!(NoSuchKey))
    }

    /// What there is to say of an object. Its digest is computed once for each version.
    async fn described(&self, bucket: &str, key: &str) -> S3Result<HeadObjectOutput> {
        let path = self.path(bucket, key)?;
        if path.is_dir() {
            // `s3s-fs` calls a folder an object and fails to read it.
            return Err(s3_error!(NoSuchKey));
        }
        let stamp = stamp(&path);
        let known = stamp.as_ref().and_then(|stamp| self.lock().get(stamp).cloned());
        if let Some(known) = known {
            return Ok(known);
        }
        let input = HeadObjectInput { bucket: bucket.to_owned(), key: key.to_owned(), ..HeadObjectInput::default() };
        let said = self.files.head_object(request(input)).await?.output;
        if let Some(stamp) = stamp {
            self.lock().insert(stamp, said.clone());
        }
        Ok(said)
    }

    async fn tag(&self, bucket: &str, objects: Option<&mut Vec<Object>>) -> S3Result<()> {
        for object in objects.into_iter().flatten() {
            if let Some(key) = &object.key {
                object.e_tag = self.described(bucket, key).await?.e_tag;
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(PathBuf, u64, SystemTime), HeadObjectOutput>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp(path: &Path) -> Option<(PathBuf, u64, SystemTime)> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some((path.to_owned(), metadata.len(), metadata.modified().ok()?))
}

/// A request from within, which needs no authentication.
fn request<T>(input: T) -> S3Request<T> {
    S3Request {
        input,
        method: axum::http::Method::GET,
        uri: axum::http::Uri::default(),
        headers: axum::http::HeaderMap::default(),
        extensions: axum::http::Extensions::default(),
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    }
}

fn matches(condition: &ETagCondition, tag: Option<&ETag>) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(wanted) => tag.is_some_and(|tag| tag.value() == wanted.value()),
    }
}

#[async_trait]
impl S3 for Buckets {
    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        let said = self.described(&input.bucket, &input.key).await?;
        let tag = said.e_tag.as_ref();
        if input.if_match.as_ref().is_some_and(|condition| !matches(condition, tag)) {
            return Err(s3_error!(PreconditionFailed));
        }
        if input.if_none_match.as_ref().is_some_and(|condition| matches(condition, tag)) {
            return Err(s3_error!(NotModified));
        }
        let path = self.path(&input.bucket, &input.key)?;
        let file = File::open(&path).map_err(|error| s3_error!(error, NoSuchKey))?;
        let size = file.metadata().map_err(|error| s3_error!(error, InternalError))?.len();
        let range = input.range.map(|range| range.check(size)).transpose()?;
        let stated = range.as_ref().map(|range| format!("bytes {}-{}/{size}", range.start, range.end - 1));
        let whole = range.is_none();
        let range = range.unwrap_or(0..size);
        let length = i64::try_from(range.end - range.start).map_err(|error| s3_error!(error, InternalError))?;
        // As S3 does: a digest of the object says nothing about a part of it.
        let checksum = |checksum: Option<String>| checksum.filter(|_| whole);
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(StreamingBlob::wrap(contents(file, range))),
            content_length: Some(length),
            content_range: stated,
            content_type: said.content_type,
            e_tag: said.e_tag,
            last_modified: said.last_modified,
            metadata: said.metadata,
            checksum_crc32: checksum(said.checksum_crc32),
            checksum_crc32c: checksum(said.checksum_crc32c),
            checksum_crc64nvme: checksum(said.checksum_crc64nvme),
            checksum_sha1: checksum(said.checksum_sha1),
            checksum_sha256: checksum(said.checksum_sha256),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        Ok(S3Response::new(self.described(&req.input.bucket, &req.input.key).await?))
    }

    async fn list_objects(&self, req: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
        let bucket = req.input.bucket.clone();
        let mut listed = self.files.list_objects(req).await?;
        self.tag(&bucket, listed.output.contents.as_mut()).await?;
        Ok(listed)
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let bucket = req.input.bucket.clone();
        let mut listed = self.files.list_objects_v2(req).await?;
        self.tag(&bucket, listed.output.contents.as_mut()).await?;
        Ok(listed)
    }

    async fn list_buckets(&self, req: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        self.files.list_buckets(req).await
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.files.head_bucket(req).await
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.files.get_bucket_location(req).await
    }

    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        self.files.create_bucket(req).await
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.files.put_object(req).await
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.files.delete_object(req).await
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.files.delete_objects(req).await
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.files.create_multipart_upload(req).await
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        self.files.upload_part(req).await
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.files.complete_multipart_upload(req).await
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.files.abort_multipart_upload(req).await
    }
}
