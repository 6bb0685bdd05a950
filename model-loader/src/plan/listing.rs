//! The listing: what tells one state of a source from another, whatever kind of source it is.

use serde_json::json;

use super::PlannedFile;
use crate::digest::{Algorithm, Hasher};

/// Enough to tell listings apart.
const DIGITS: usize = 20;

/// Stands for the names of the wanted files, their sizes, and the tag or digest of each: equal where nothing changed.
///
/// `mark` is what a source of one file says of it beside that. `None` where the source tells nothing of a file but its
/// size: equal sizes prove nothing.
pub(super) fn listing(files: &[PlannedFile], mark: Option<&str>) -> Option<String> {
    let mut hasher = Hasher::new(Algorithm::Sha256, 0);
    for file in files {
        // The tag goes first: whether an S3 server tells a digest too depends on how it was asked.
        let tag = file.etag.clone().or_else(|| mark.map(str::to_owned));
        let tag = tag.or_else(|| file.digest.as_ref().map(ToString::to_string))?;
        hasher.update(json!([file.path, file.size, tag]).to_string().as_bytes());
        hasher.update(b"\n");
    }
    let digest = hasher.finish().to_string();
    Some(digest.trim_start_matches("sha256:").chars().take(DIGITS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::FileName;

    const DIGEST: &str = "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";

    fn file(path: &str, size: u64, etag: Option<&str>, digest: Option<&str>) -> PlannedFile {
        PlannedFile {
            path: FileName::parse(path).unwrap(),
            size: Some(size),
            digest: digest.map(|text| text.parse().unwrap()),
            etag: etag.map(str::to_owned),
        }
    }

    #[test]
    fn whatever_changes_in_a_file_changes_the_listing() {
        let base = [file("a", 1, Some("x"), None), file("b", 2, None, Some(DIGEST))];
        let of = |files: &[PlannedFile]| listing(files, None).unwrap();
        assert_eq!(of(&base), of(&base.clone()));
        assert_eq!(of(&base).len(), DIGITS);
        let mut others = vec![base[..1].to_vec()];
        for changed in [file("c", 1, Some("x"), None), file("a", 3, Some("x"), None), file("a", 1, Some("y"), None)] {
            others.push(vec![changed, base[1].clone()]);
        }
        others.push(vec![base[0].clone(), file("b", 2, Some("z"), None)]);
        for other in others {
            assert_ne!(of(&other), of(&base), "{other:?}");
        }
        // Some servers tell a digest only now and then.
        assert_eq!(of(&[file("a", 1, Some("x"), Some(DIGEST)), base[1].clone()]), of(&base));
    }

    #[test]
    fn a_size_alone_proves_nothing() {
        let bare = [file("a", 1, None, None)];
        assert_eq!(listing(&bare, None), None);
        assert_ne!(listing(&bare, Some("Mon, 01 Jan 2026")), listing(&bare, Some("Tue, 02 Jan 2026")));
    }
}
