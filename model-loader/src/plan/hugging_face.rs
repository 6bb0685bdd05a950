//! The Hugging Face hub: revision, tree, and where files lie.

#[cfg(feature = "xet")]
mod xet;
#[cfg(feature = "xet")]
pub(crate) use xet::Pieces as XetPieces;

use http::{HeaderMap, header};
use model_core::reason::Reason;
use reqwest::RequestBuilder;
use serde::{Deserialize, de::DeserializeOwned};
use url::Url;

use super::PlannedFile;
use crate::{
    Access, Error,
    digest::{Algorithm, Digest},
    http::{Dialect, Http},
    name::FileName,
};

/// More pages than any repository has: a listing that goes on is a loop.
const MAX_PAGES: usize = 10_000;

/// A repository at one commit.
pub(crate) struct Hub {
    endpoint: Url,
    repo: String,
    commit: String,
    token: Option<String>,
    #[cfg(feature = "xet")]
    storage: xet::Storage,
}

#[derive(Deserialize)]
struct Revision {
    sha: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    oid: String,
    size: u64,
    lfs: Option<Lfs>,
    #[cfg(feature = "xet")]
    #[serde(rename = "xetHash")]
    xet_hash: Option<String>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Hub {
    /// Finds the commit that the revision stands for now.
    pub(super) async fn resolve(repo: &str, revision: &str, access: &Access, http: &Http) -> Result<Self, Error> {
        let (endpoint, token) = (access.hf_endpoint.clone(), access.hf_token.clone());
        let mut hub = Self {
            endpoint,
            repo: repo.to_owned(),
            commit: String::new(),
            token,
            #[cfg(feature = "xet")]
            storage: xet::Storage::default(),
        };
        let url = hub.url(&["api", "models"], &["revision", revision]);
        let what = format!("hf://{repo}@{revision}");
        let (Revision { sha }, _) = hub.json(http, &url, &what).await?;
        if sha.is_empty() || sha.len() > 64 || !sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::new(Reason::SourceInvalid, format!("{what}: the hub gives no commit")));
        }
        hub.commit = sha;
        Ok(hub)
    }

    pub(super) fn commit(&self) -> &str {
        &self.commit
    }

    /// Lists the files of the commit, all pages of it.
    pub(super) async fn list(&self, http: &Http) -> Result<Vec<PlannedFile>, Error> {
        let what = format!("hf://{}@{}", self.repo, self.commit);
        let mut url = self.url(&["api", "models"], &["tree", &self.commit]);
        url.set_query(Some("recursive=true"));
        let mut files = Vec::new();
        for _ in 0..MAX_PAGES {
            let (entries, headers): (Vec<Entry>, _) = self.json(http, &url, &what).await?;
            for entry in entries.into_iter().filter(|entry| entry.kind == "file") {
                let file = planned(&entry)?;
                #[cfg(feature = "xet")]
                self.storage.note(&file, entry.xet_hash);
                files.push(file);
            }
            // Only the query of the next page is taken: the token goes to the endpoint and nowhere else.
            match next_page(&headers).and_then(|next| url.join(&next).ok()) {
                None => return Ok(files),
                Some(next) => url.set_query(next.query()),
            }
        }
        Err(Error::new(Reason::SourceInvalid, format!("{what}: the listing has no end")))
    }

    pub(super) fn get(&self, http: &Http, file: &FileName) -> RequestBuilder {
        let mut tail = vec!["resolve", self.commit.as_str()];
        tail.extend(file.as_str().split('/'));
        self.authorized(http.client().get(self.url(&[], &tail)).header(header::ACCEPT_ENCODING, "identity"))
    }

    pub(super) fn dialect(&self) -> Dialect {
        Dialect::Hub { token: self.token.is_some() }
    }

    /// `{endpoint}/{before}/{repo}/{after}`, each part as one segment.
    fn url(&self, before: &[&str], after: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(before).extend(self.repo.split('/')).extend(after);
        }
        url
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn json<T: DeserializeOwned>(&self, http: &Http, url: &Url, what: &str) -> Result<(T, HeaderMap), Error> {
        let request = || self.authorized(http.client().get(url.clone()));
        let answer = http.small(request, self.dialect(), what).await?;
        let value = serde_json::from_slice(&answer.body).map_err(|error| {
            let message = format!("{what}: {} does not answer as the hub does", crate::source::without_secrets(url));
            Error::new(Reason::SourceInvalid, message).caused_by(error)
        })?;
        Ok((value, answer.headers))
    }
}

fn planned(entry: &Entry) -> Result<PlannedFile, Error> {
    let path = FileName::parse(&entry.path)?;
    let (size, digest) = match &entry.lfs {
        Some(lfs) => (lfs.size, Digest::from_hex(Algorithm::Sha256, lfs.oid.trim_start_matches("sha256:"))),
        None => (entry.size, Digest::from_hex(Algorithm::GitSha1, &entry.oid)),
    };
    let digest = digest.map_err(|error| {
        Error::new(Reason::SourceInvalid, format!("{path}: the hub gives no digest")).caused_by(error)
    })?;
    Ok(PlannedFile { path, size: Some(size), digest: Some(digest), etag: None })
}

/// The files of one page of a tree.
#[cfg(fuzzing)]
pub(super) fn page(body: &[u8]) -> Result<Vec<PlannedFile>, Error> {
    let entries: Vec<Entry> = serde_json::from_slice(body)
        .map_err(|error| Error::new(Reason::SourceInvalid, "no page of a tree".to_owned()).caused_by(error))?;
    entries.iter().filter(|entry| entry.kind == "file").map(planned).collect()
}

/// The target of `Link: <…>; rel="next"`.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all(header::LINK).into_iter().filter_map(|value| value.to_str().ok());
    let next = links
        .flat_map(|value| value.split(','))
        .find(|link| link.contains("rel=\"next\"") || link.contains("rel=next"))?;
    let (_, rest) = next.split_once('<')?;
    let (target, _) = rest.split_once('>')?;
    Some(target.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_written_segment_by_segment() {
        let hub = |endpoint: &str| Hub {
            endpoint: Url::parse(endpoint).unwrap(),
            repo: "org/repo".to_owned(),
            commit: "c0ffee".to_owned(),
            token: None,
            #[cfg(feature = "xet")]
            storage: xet::Storage::default(),
        };
        for (endpoint, root) in
            [("https://hub.co", "https://hub.co"), ("https://hub.co/mirror/", "https://hub.co/mirror")]
        {
            let hub = hub(endpoint);
            let revision = hub.url(&["api", "models"], &["revision", "refs/pr/1"]);
            assert_eq!(revision.as_str(), format!("{root}/api/models/org/repo/revision/refs%2Fpr%2F1"));
            let file = hub.url(&[], &["resolve", "c0ffee", "a b", "50%25#?.bin"]);
            assert_eq!(file.as_str(), format!("{root}/org/repo/resolve/c0ffee/a%20b/50%2525%23%3F.bin"));
        }
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        let page = |text: &str| next_page(&HeaderMap::from_iter([(header::LINK, text.parse().unwrap())]));
        assert_eq!(page("<https://h/a?cursor=x>; rel=\"next\"").as_deref(), Some("https://h/a?cursor=x"));
        assert_eq!(page("<https://h/p>; rel=\"prev\", <https://h/n>; rel=\"next\"").as_deref(), Some("https://h/n"));
        assert_eq!(page("<https://h/p>; rel=\"prev\""), None);
        assert_eq!(page("rel=\"next\""), None);
    }

    #[test]
    fn lfs_files_have_sha256_and_the_others_a_git_digest() {
        let entry = |json: serde_json::Value| planned(&serde_json::from_value(json).unwrap());
        let sha = "a".repeat(64);
        let oid = "b".repeat(40);
        let lfs = entry(
            serde_json::json!({"type": "file", "path": "m", "oid": oid, "size": 130, "lfs": {"oid": sha, "size": 9, "pointerSize": 130}}),
        );
        assert_eq!(
            lfs.unwrap(),
            PlannedFile {
                path: FileName::parse("m").unwrap(),
                size: Some(9),
                digest: Some(format!("sha256:{sha}").parse().unwrap()),
                etag: None,
            }
        );
        let small = entry(serde_json::json!({"type": "file", "path": "c.json", "oid": oid, "size": 7})).unwrap();
        assert_eq!(small.digest.unwrap().to_string(), format!("git-sha1:{oid}"));
        let hostile = entry(serde_json::json!({"type": "file", "path": "../x", "oid": oid, "size": 7}));
        assert_eq!(hostile.unwrap_err().reason(), Reason::UnsafeFileName);
        let nonsense = entry(serde_json::json!({"type": "file", "path": "x", "oid": "?", "size": 7}));
        assert_eq!(nonsense.unwrap_err().reason(), Reason::SourceInvalid);
    }
}
