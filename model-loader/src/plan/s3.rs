//! S3 and its compatibles: one object, or all below a prefix.
//!
//! `object_store` knows the protocol: credentials, signatures, listing. The bytes come through signed URLs over the same
//! client and with the same patience as from every other source.

mod advice;
mod connector;
mod settings;

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use model_core::reason::Reason;
use object_store::{
    ObjectMeta, ObjectStore, ObjectStoreExt,
    aws::AmazonS3,
    path::Path,
    signer::{SignedUrlOptions, Signer},
};
use reqwest::RequestBuilder;

use super::{PlannedFile, strong};
use connector::Passed;

use crate::{
    Access, Error,
    digest::{Algorithm, Digest},
    http::{Again, Dialect, Http},
    name::{FileName, unsafe_name},
};

/// How long a signed URL is valid: it is used at once.
const SIGNATURE_VALIDITY: Duration = Duration::from_secs(900);
/// Asks S3 for the checksum that it keeps of an object.
const CHECKSUM_MODE: HeaderName = HeaderName::from_static("x-amz-checksum-mode");
/// How many objects are asked for their checksum at the same time.
const CHECKSUMS_AT_ONCE: usize = 16;
/// What is wrong with a key that `object_store` does not take.
const NO_KEY: &str =
    "as a key of S3 it has empty, '.' or '..' segments, which are not supported: copy the objects to other keys";

/// A bucket and the part of it that holds the model.
pub(crate) struct Bucket {
    store: AmazonS3,
    /// What comes before a file's name in its key: empty, or with `/` at its end.
    prefix: String,
    /// Whether there are credentials. Public buckets take requests without.
    signed: bool,
    /// The source as it is shown.
    shown: String,
}

impl Bucket {
    /// Finds all objects below this key, or else the object of this key.
    pub(super) async fn list(
        name: &str,
        key: &str,
        access: &Access,
        http: &Http,
    ) -> Result<(Self, Vec<PlannedFile>), Error> {
        let shown = format!("s3://{name}/{key}");
        let signed = settings::signs(access, &shown)?;
        let store = settings::open(name, access, http, signed).map_err(|error| {
            Error::new(Reason::WrongUse, format!("{shown}: the S3 settings are incomplete")).caused_by(error)
        })?;
        let bare = key.trim_end_matches('/');
        let path = Path::parse(bare).map_err(|_| unsafe_name(key, NO_KEY))?;
        let mut bucket = Self { store, prefix: String::new(), signed, shown };
        // First what is below: servers that keep objects in folders answer oddly when asked for a folder itself.
        bucket.prefix = if bare.is_empty() { String::new() } else { format!("{bare}/") };
        let listed: Result<Vec<_>, _> = bucket.store.list(Some(&path)).try_collect().await;
        let may_be_object = bare == key && !key.is_empty();
        let denied = match listed.map_err(|error| bucket.failed(error)) {
            Ok(objects) if !objects.is_empty() => {
                let files = bucket.files(&objects)?;
                let files = bucket.with_checksums(files, http).await?;
                return Ok((bucket, files));
            }
            Ok(_) => None,
            // Who may read one object need not be allowed to list.
            Err(error) if may_be_object && error.reason() == Reason::AccessDenied => Some(error),
            Err(error) => return Err(error),
        };
        if !may_be_object {
            let message = format!("{}: no object below this prefix", bucket.shown);
            return Err(Error::new(Reason::SourceNotFound, message));
        }
        let object = bucket.store.head(&path).await.map_err(|error| {
            let error = bucket.failed(error);
            match (denied, error.reason()) {
                (_, Reason::NetworkError | Reason::RateLimited | Reason::Stalled) => error,
                // The answer to HEAD has no body, so what was said to the listing says more.
                (Some(denied), _) => denied,
                (None, Reason::SourceNotFound) => {
                    let message = format!("{}: no object of this key, and none below it", bucket.shown);
                    Error::new(Reason::SourceNotFound, message)
                }
                (None, _) => error,
            }
        })?;
        let start = key.rfind('/').map_or(0, |slash| slash + 1);
        bucket.prefix = key[..start].to_owned();
        let files = bucket.with_checksums(vec![planned(&key[start..], &object)?], http).await?;
        Ok((bucket, files))
    }

    /// Writes the request for one file.
    pub(super) async fn get(&self, http: &Http, file: &FileName) -> Result<RequestBuilder, Error> {
        self.request(Method::GET, http, file).await
    }

    /// Writes a request, signed where there are credentials.
    async fn request(&self, method: Method, http: &Http, file: &FileName) -> Result<RequestBuilder, Error> {
        let path = Path::parse(format!("{}{file}", self.prefix)).map_err(|_| unsafe_name(file.as_str(), NO_KEY))?;
        let checksum = (CHECKSUM_MODE, HeaderValue::from_static("ENABLED"));
        let options = SignedUrlOptions::default().with_signed_header(checksum.0.clone(), checksum.1.clone());
        let signed = self.store.signed_url_opts(method.clone(), &path, SIGNATURE_VALIDITY, &options).await;
        let mut url = signed.map_err(|error| self.failed(error))?;
        if !self.signed {
            url.set_query(None);
        }
        let request = http.client().request(method, url);
        Ok(request.header(checksum.0, checksum.1).header(header::ACCEPT_ENCODING, "identity"))
    }

    /// Asks for the checksums of objects whose tag is no digest: those that were put in parts. The answer to a request for
    /// a range does not tell them.
    async fn with_checksums(&self, files: Vec<PlannedFile>, http: &Http) -> Result<Vec<PlannedFile>, Error> {
        let asked = stream::iter(files).map(async |mut file| {
            if file.digest.is_none() {
                file.digest = self.checksum(&file, http).await?;
            }
            Ok(file)
        });
        asked.buffered(CHECKSUMS_AT_ONCE).try_collect().await
    }

    /// The digest that the answer to a HEAD promises for the whole object, or else what is known already.
    pub(super) async fn checksum(&self, file: &PlannedFile, http: &Http) -> Result<Option<Digest>, Error> {
        let mut budget = http.budget();
        loop {
            let request = self.request(Method::HEAD, http, &file.path).await?;
            match http.once(request, Dialect::S3, file.path.as_str()).await {
                Ok(answer) => return Ok(promised(file, answer.headers())),
                // It is the GET that decides whether the file can be had.
                Err(trouble) if trouble.again == Again::Never => return Ok(file.digest.clone()),
                Err(trouble) => budget.spend(trouble).await?,
            }
        }
    }

    /// Turns objects into files. Empty objects in the place of a directory, which consoles create, are left out.
    fn files(&self, objects: &[ObjectMeta]) -> Result<Vec<PlannedFile>, Error> {
        let directories: BTreeSet<String> =
            objects.iter().flat_map(|object| parents(object.location.as_ref())).collect();
        let is_file = |object: &ObjectMeta| object.size > 0 || !directories.contains(object.location.as_ref());
        let relative = |object: &ObjectMeta| match object.location.as_ref().strip_prefix(&self.prefix) {
            Some(name) => planned(name, object),
            None => Err(unsafe_name(object.location.as_ref(), "it is not below the prefix that was asked for")),
        };
        objects.iter().filter(|object| is_file(object)).map(relative).collect()
    }

    /// The error as our client met it, or else what the listing says.
    fn failed(&self, error: object_store::Error) -> Error {
        if let object_store::Error::InvalidPath { source } = &error {
            return unsafe_name(&source.to_string(), NO_KEY);
        }
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(inner) = cause {
            if let Some(Passed(own)) = inner.downcast_ref() {
                return advice::advised(&self.shown, own, self.signed);
            }
            cause = inner.source();
        }
        Error::new(Reason::SourceInvalid, format!("{}: the endpoint does not answer as S3 does", self.shown))
            .caused_by(error)
    }
}

/// Every directory above a key.
fn parents(key: &str) -> Vec<String> {
    key.match_indices('/').map(|(end, _)| key[..end].to_owned()).collect()
}

fn planned(name: &str, object: &ObjectMeta) -> Result<PlannedFile, Error> {
    let etag = object.e_tag.as_deref().and_then(strong);
    // The tag of an object that was put in one part is the MD5 of its bytes; others have a dash in theirs.
    let digest = etag.as_deref().and_then(|tag| Digest::from_hex(Algorithm::Md5, tag).ok());
    Ok(PlannedFile { path: FileName::parse(name)?, size: Some(object.size), digest, etag })
}

/// The files of a bucket with these keys, one a line, below `tiny/`.
#[cfg(fuzzing)]
pub(super) fn listed(keys: &str) -> Result<Vec<PlannedFile>, Error> {
    static BUCKET: std::sync::LazyLock<Option<Bucket>> = std::sync::LazyLock::new(|| {
        let access = Access::default();
        let http = Http::new(&access, Duration::from_secs(1), crate::RetryPolicy::default()).ok()?;
        let store = settings::open("models", &access, &http, false).ok()?;
        Some(Bucket { store, prefix: "tiny/".to_owned(), signed: false, shown: "s3://models/tiny/".to_owned() })
    });
    let object = |(size, key): (u64, &str)| {
        let location = Path::parse(format!("tiny/{key}")).or_else(|_| Path::parse(key));
        let location = location.map_err(|_| unsafe_name(key, NO_KEY))?;
        Ok(ObjectMeta { location, last_modified: std::time::UNIX_EPOCH.into(), size, e_tag: None, version: None })
    };
    let objects: Result<Vec<_>, Error> = (0..).zip(keys.lines()).map(object).collect();
    match &*BUCKET {
        Some(bucket) => bucket.files(&objects?),
        None => Ok(Vec::new()),
    }
}

/// The best digest that the answer to a GET promises for the whole object.
pub(super) fn promised(file: &PlannedFile, headers: &HeaderMap) -> Option<Digest> {
    // What the user asked for goes first.
    if let Some(digest) = file.digest.as_ref().filter(|digest| digest.algorithm() == Algorithm::Sha256) {
        return Some(digest.clone());
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("x-amz-checksum-type") != Some("COMPOSITE") {
        let kept = [
            ("x-amz-checksum-sha256", Algorithm::Sha256),
            ("x-amz-checksum-crc64nvme", Algorithm::Crc64Nvme),
            ("x-amz-checksum-sha1", Algorithm::Sha1),
            ("x-amz-checksum-crc32c", Algorithm::Crc32c),
            ("x-amz-checksum-crc32", Algorithm::Crc32),
        ];
        let read = |(name, algorithm)| Digest::from_bytes(algorithm, STANDARD.decode(text(name)?).ok()?);
        if let Some(digest) = kept.into_iter().find_map(read) {
            return Some(digest);
        }
    }
    // With these kinds of encryption the tag looks like an MD5 and is none.
    let with_kms = text("x-amz-server-side-encryption").is_some_and(|kind| kind.starts_with("aws:kms"));
    let with_own_key = headers.contains_key("x-amz-server-side-encryption-customer-algorithm");
    file.digest.clone().filter(|_| !with_kms && !with_own_key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RetryPolicy;

    const MD5: &str = "25f9e794323b453885f5181f1b624d0b";

    fn bucket(variables: &[(&str, &str)]) -> (Bucket, Http) {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let access = Access::from_vars(variables).unwrap();
        let http = Http::new(&access, Duration::from_secs(1), RetryPolicy::default()).unwrap();
        let signed = access.aws.contains_key("AWS_ACCESS_KEY_ID");
        let store = settings::open("models", &access, &http, signed).unwrap();
        (Bucket { store, prefix: "tiny/".to_owned(), signed, shown: "s3://models/tiny".to_owned() }, http)
    }

    async fn request(variables: &[(&str, &str)]) -> reqwest::Request {
        let (bucket, http) = bucket(variables);
        bucket.get(&http, &FileName::parse("a b.bin").unwrap()).await.unwrap().build().unwrap()
    }

    fn object(key: &str, size: u64) -> ObjectMeta {
        let e_tag = Some(format!("\"{MD5}\""));
        ObjectMeta {
            location: Path::parse(key).unwrap(),
            last_modified: "2026-01-01T00:00:00Z".parse().unwrap(),
            size,
            e_tag,
            version: None,
        }
    }

    #[tokio::test]
    async fn requests_are_signed_only_with_credentials() {
        let endpoint = ("AWS_ENDPOINT_URL", "http://127.0.0.1:9000");
        let public = request(&[endpoint]).await;
        assert_eq!(public.url().as_str(), "http://127.0.0.1:9000/models/tiny/a%20b.bin");
        assert!(!public.headers().contains_key(header::AUTHORIZATION));
        let keys =
            [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_SESSION_TOKEN", "session")];
        let signed = request(&[&[endpoint, ("AWS_REGION", "eu-west-1")][..], &keys].concat()).await;
        let query: std::collections::BTreeMap<_, _> = signed.url().query_pairs().into_owned().collect();
        assert!(query["X-Amz-Credential"].contains("/eu-west-1/"), "{query:?}");
        assert_eq!(query["X-Amz-Security-Token"], "session");
        assert!(query["X-Amz-SignedHeaders"].contains("x-amz-checksum-mode"), "{query:?}");
        let aws = request(&[("AWS_REGION", "eu-west-1")]).await;
        assert_eq!(aws.url().as_str(), "https://s3.eu-west-1.amazonaws.com/models/tiny/a%20b.bin");
        let in_host = ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true");
        let aws = request(&[("AWS_REGION", "eu-west-1"), in_host]).await;
        assert_eq!(aws.url().as_str(), "https://models.s3.eu-west-1.amazonaws.com/tiny/a%20b.bin");
        for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
            let own = request(&[(variable, "http://minio:9000/"), in_host]).await;
            assert_eq!(own.url().as_str(), "http://models.minio:9000/tiny/a%20b.bin");
        }
    }

    #[test]
    fn keys_below_the_prefix_become_files_without_directory_markers() {
        let (bucket, _) = bucket(&[]);
        let objects = [object("tiny/a", 3), object("tiny/d", 0), object("tiny/d/x", 1), object("tiny/empty", 0)];
        let files = bucket.files(&objects).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(names, ["a", "d/x", "empty"]);
        assert_eq!(files[0].digest.as_ref().unwrap().to_string(), format!("md5:{MD5}"));
        let outside = bucket.files(&[object("other/a", 1)]).unwrap_err();
        assert_eq!(outside.reason(), Reason::UnsafeFileName);
    }

    #[test]
    fn the_best_digest_that_is_promised_counts() {
        let planned = planned("a", &object("tiny/a", 3)).unwrap();
        let sha256 = "sha256:15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225";
        let users = PlannedFile { digest: Some(sha256.parse().unwrap()), ..planned.clone() };
        let tag = format!("md5:{MD5}");
        let sha256_header = ("x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=");
        for (headers, file, want) in [
            (&[][..], &planned, Some(&*tag)),
            (&[sha256_header], &planned, Some(sha256)),
            (&[("x-amz-checksum-crc64nvme", "rosUhgp5mIg=")], &planned, Some("crc64nvme:ae8b14860a799888")),
            (&[("x-amz-checksum-crc32c", "4waSgw==")], &planned, Some("crc32c:e3069283")),
            (&[("x-amz-checksum-crc64nvme", "rosUhgp5mIg="), sha256_header], &planned, Some(sha256)),
            // A checksum of checksums of parts says nothing about the whole.
            (&[("x-amz-checksum-type", "COMPOSITE"), sha256_header], &planned, Some(&*tag)),
            (&[("x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=-3")], &planned, Some(&*tag)),
            (&[("x-amz-server-side-encryption", "AES256")], &planned, Some(&*tag)),
            (&[("x-amz-server-side-encryption", "aws:kms")], &planned, None),
            (&[("x-amz-server-side-encryption-customer-algorithm", "AES256")], &planned, None),
            (&[("x-amz-checksum-crc32", "AAAAAA==")], &users, Some(sha256)),
        ] {
            let map =
                headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            let got = promised(file, &map.collect()).map(|digest| digest.to_string());
            assert_eq!(got.as_deref(), want, "{headers:?}");
        }
        let parts = ObjectMeta { e_tag: Some(format!("\"{MD5}-4\"")), ..object("tiny/a", 3) };
        assert_eq!(super::planned("a", &parts).unwrap().digest, None, "the tag of an object in parts is no digest");
    }
}
