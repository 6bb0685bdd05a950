//! First step: find out what there is to download.
//!
//! Resolves the revision, lists the files with size and digest, applies the patterns, checks the names. Writes nothing.

#[cfg(fuzzing)]
pub mod fuzzing;
mod hugging_face;
mod listing;
mod oci;
mod ollama;
mod registry;
mod s3;
mod url;

#[cfg(feature = "xet")]
pub(crate) use hugging_face::XetPieces;

use http::HeaderMap;
use model_core::reason::Reason;
use reqwest::RequestBuilder;
use serde::Serialize;

use crate::{
    Access, Error, Source,
    digest::{Algorithm, Digest},
    glob::Patterns,
    http::{Dialect, Http},
    name::{self, FileName},
};

use registry::{Address, Registry};

/// More bytes than any file system holds.
const MAX_TOTAL: u64 = i64::MAX as u64;

/// What a user asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where from.
    pub source: Source,
    /// Patterns of the files to take. Empty means all. See [`crate::glob`].
    pub include: Vec<String>,
    /// Patterns of the files to leave out, also where `include` names them.
    pub exclude: Vec<String>,
    /// SHA-256 that the file has to have. Only for a source of one file.
    pub sha256: Option<Digest>,
}

impl Wanted {
    /// Everything of a source.
    #[must_use]
    pub fn all_of(source: Source) -> Self {
        Self { source, include: Vec::new(), exclude: Vec::new(), sha256: None }
    }
}

/// What will be downloaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Plan {
    /// The source, without secrets.
    pub source: String,
    /// Commit of the repository, digest of a registry's manifest, or `ETag` of a single object or file. Absent where the
    /// source has no such thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_revision: Option<String>,
    /// Stands for names, sizes, and tags or digests of the files: equal where the source has changed none of them. Absent
    /// where it tells nothing of a file but its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listing: Option<String>,
    /// The files, sorted by path.
    pub files: Vec<PlannedFile>,
}

/// One file that will be downloaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedFile {
    /// Path below the model's directory.
    pub path: FileName,
    /// Length in bytes. Absent where the source does not tell before it sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What the file is verified against. Absent where the source promises nothing before it sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Changes when the content changes. Absent where digests do that, or the source has no such thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

impl Plan {
    /// Bytes of all files, `None` while the size of one is unknown.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// The source as the fetch step talks to it.
pub(crate) enum Remote {
    Hub(hugging_face::Hub),
    Registry(Box<Registry>),
    S3(s3::Bucket),
    Url(url::Page),
}

impl Remote {
    /// Writes the request for one file.
    pub(crate) async fn get(&self, http: &Http, file: &PlannedFile) -> Result<RequestBuilder, Error> {
        match self {
            Self::Hub(hub) => Ok(hub.get(http, &file.path)),
            Self::Registry(registry) => registry.get(http, file).await,
            Self::S3(bucket) => bucket.get(http, &file.path).await,
            Self::Url(page) => Ok(page.get(http)),
        }
    }

    /// The digest to verify a large file against, known before its parts are asked for.
    pub(crate) async fn promise(&self, http: &Http, file: &PlannedFile) -> Result<Option<Digest>, Error> {
        let is_md5 = file.digest.as_ref().is_some_and(|digest| digest.algorithm() == Algorithm::Md5);
        match self {
            // A tag that looks like an MD5 is none with some kinds of encryption, and there may be something better.
            Self::S3(bucket) if is_md5 => bucket.checksum(file, http).await,
            _ => Ok(file.digest.clone()),
        }
    }

    /// A part of a file as pieces in order, where the source keeps the file in Xet storage. `dir` is for what the
    /// crates of that storage insist on writing.
    #[cfg(feature = "xet")]
    pub(crate) async fn xet(
        &self,
        http: &Http,
        dir: &std::path::Path,
        file: &PlannedFile,
        part: std::ops::Range<u64>,
    ) -> Result<Option<XetPieces>, crate::http::Trouble> {
        match self {
            Self::Hub(hub) => hub.xet(http, dir, file, part).await,
            Self::Registry(_) | Self::S3(_) | Self::Url(_) => Ok(None),
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Hub(hub) => hub.dialect(),
            Self::S3(_) => Dialect::S3,
            Self::Registry(_) | Self::Url(_) => Dialect::Plain,
        }
    }

    /// The digest to verify a file against, once the source began to send it.
    pub(crate) fn promised(&self, file: &PlannedFile, headers: &HeaderMap) -> Option<Digest> {
        match self {
            Self::S3(_) => s3::promised(file, headers),
            Self::Hub(_) | Self::Registry(_) | Self::Url(_) => file.digest.clone(),
        }
    }
}

/// Looks at the source and says what will be downloaded.
///
/// # Errors
/// The source cannot be reached, refuses, has no wanted file, or has one with an unsafe name.
pub(crate) async fn plan(wanted: &Wanted, access: &Access, http: &Http) -> Result<(Plan, Remote), Error> {
    let mut mark = None;
    let (resolved_revision, files, remote) = match &wanted.source {
        Source::HuggingFace { repo, revision } => {
            let hub = hugging_face::Hub::resolve(repo, revision, access, http).await?;
            let files = hub.list(http).await?;
            (Some(hub.commit().to_owned()), files, Remote::Hub(hub))
        }
        Source::Ollama { registry, repository, reference } => {
            let shown = wanted.source.to_string();
            let address = Address::ollama(registry.as_deref(), repository, reference, access, &shown)?;
            let (registry, digest, manifest) = Registry::resolve(address, access, http).await?;
            (Some(digest.to_string()), ollama::files(&manifest, &shown)?, Remote::Registry(registry.into()))
        }
        Source::Oci { registry, repository, reference, plain_http } => {
            let shown = wanted.source.to_string();
            let address = Address::oci(registry, repository, reference, *plain_http, &shown)?;
            let (registry, digest, manifest) = Registry::resolve(address, access, http).await?;
            (Some(digest.to_string()), oci::files(&manifest, &shown)?, Remote::Registry(registry.into()))
        }
        Source::S3 { bucket, key } => {
            let (bucket, files) = s3::Bucket::list(bucket, key, access, http).await?;
            let single = if let [file] = &*files { file.etag.clone() } else { None };
            (single, files, Remote::S3(bucket))
        }
        Source::Url(url) => {
            let (page, file, changed) = url::Page::look(url, access, http).await?;
            mark = changed;
            (file.etag.clone(), vec![file], Remote::Url(page))
        }
    };
    let files = select(files, wanted)?;
    let listing = listing::listing(&files, mark.as_deref());
    Ok((Plan { source: wanted.source.to_string(), resolved_revision, listing, files }, remote))
}

/// Leaves the wanted files, checked to be able to stand side by side, and puts the user's digest to its file.
fn select(mut files: Vec<PlannedFile>, wanted: &Wanted) -> Result<Vec<PlannedFile>, Error> {
    let patterns = Patterns::new(&wanted.include, &wanted.exclude);
    let listed = files.len();
    files.retain(|file| patterns.wants(file.path.as_str()));
    if files.is_empty() {
        let message =
            format!("{}: none of its {listed} files is wanted by the include and exclude patterns", wanted.source);
        return Err(Error::new(Reason::SourceNotFound, message));
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    // Sums of sizes are computed in many places.
    let total = files.iter().try_fold(0, |sum: u64, file| sum.checked_add(file.size.unwrap_or(0)));
    if total.is_none_or(|total| total > MAX_TOTAL) {
        let message =
            format!("{}: the sizes of its files cannot be true: they add up to over 2^63 bytes", wanted.source);
        return Err(Error::new(Reason::SourceInvalid, message));
    }
    name::check_together(files.iter().map(|file| &file.path))?;
    match (&wanted.sha256, &mut *files) {
        (None, _) => {}
        (Some(sha256), [file]) => {
            let contradiction =
                file.digest.as_ref().filter(|own| own.algorithm() == Algorithm::Sha256 && *own != sha256);
            if let Some(own) = contradiction {
                let message = format!("{}: the source has {own}, wanted is {sha256}", file.path);
                return Err(Error::new(Reason::ChecksumMismatch, message));
            }
            file.digest = Some(sha256.clone());
        }
        (Some(_), files) => {
            let message = format!("a sha256 is for one file, but {} has {}", wanted.source, files.len());
            return Err(Error::new(Reason::WrongUse, message));
        }
    }
    Ok(files)
}

/// The `ETag` header as text, without quotes. Weak tags are left out.
fn etag(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(http::header::ETAG)?.to_str().ok()?;
    strong(text)
}

/// What changes with the file, where there is no strong tag: too weak to put parts of a file together by, strong enough to
/// tell that there is something new.
fn weak_mark(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name)?.to_str().ok();
    let mark = text(http::header::ETAG).or_else(|| text(http::header::LAST_MODIFIED))?;
    (!mark.is_empty() && mark.len() <= 256).then(|| mark.to_owned())
}

/// The text of a strong tag.
fn strong(etag: &str) -> Option<String> {
    let bare = etag.trim_matches('"');
    (!etag.starts_with("W/") && !bare.is_empty() && bare.len() <= 256).then(|| bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, digest: Option<&str>) -> PlannedFile {
        let digest = digest.map(|text| text.parse().unwrap());
        PlannedFile { path: FileName::parse(path).unwrap(), size: Some(1), digest, etag: None }
    }

    fn wanted(include: &[&str], sha256: Option<&str>) -> Wanted {
        Wanted {
            include: include.iter().map(|&text| text.to_owned()).collect(),
            sha256: sha256.map(|text| text.parse().unwrap()),
            ..Wanted::all_of("hf://org/repo".parse().unwrap())
        }
    }

    #[test]
    fn the_users_digest_belongs_to_exactly_one_file() {
        let a = "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
        let b = "sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d";
        let two = || vec![file("b", None), file("a", None)];
        let chosen = select(two(), &wanted(&["a"], Some(a))).unwrap();
        assert_eq!(chosen, [file("a", Some(a))]);
        assert_eq!(select(two(), &wanted(&[], Some(a))).unwrap_err().reason(), Reason::WrongUse);
        assert_eq!(
            select(vec![file("a", Some(b))], &wanted(&[], Some(a))).unwrap_err().reason(),
            Reason::ChecksumMismatch
        );
        assert_eq!(select(two(), &wanted(&["c"], None)).unwrap_err().reason(), Reason::SourceNotFound);
        assert_eq!(select(two(), &wanted(&[], None)).unwrap(), [file("a", None), file("b", None)]);
    }

    #[test]
    fn sizes_that_cannot_be_true_are_refused() {
        let sized = |path, size| PlannedFile { size: Some(size), ..file(path, None) };
        for sizes in [[u64::MAX, 1], [1 << 62, 1 << 62], [u64::MAX, u64::MAX]] {
            let files = vec![sized("a", sizes[0]), sized("b", sizes[1])];
            let error = select(files, &wanted(&[], None)).unwrap_err();
            assert_eq!(error.reason(), Reason::SourceInvalid, "{sizes:?}");
        }
    }

    #[test]
    fn names_of_unwanted_files_do_not_count() {
        let clash = || vec![file("a", None), file("a/b", None), file("c", None)];
        assert_eq!(select(clash(), &wanted(&[], None)).unwrap_err().reason(), Reason::UnsafeFileName);
        assert!(select(clash(), &wanted(&["c"], None)).is_ok());
    }
}
