//! File names as sources give them, which are hostile until checked.

use std::{collections::BTreeSet, fmt, path::PathBuf};

use model_core::reason::Reason;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Directory inside a published directory that holds the manifest.
pub const HIDDEN_DIR: &str = ".model-loader";

/// Longest name of one directory entry that common file systems take, in bytes.
const MAX_SEGMENT: usize = 255;
/// Longest path below the model's directory, in bytes: the longest key of S3.
const MAX_PATH: usize = 1024;

/// A relative path with `/` between its segments that cannot leave the directory it is joined to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(String);

impl FileName {
    /// Checks one name.
    ///
    /// # Errors
    /// [`Reason::UnsafeFileName`] for absolute paths, empty, `.` and `..` segments, control characters, backslashes,
    /// names that are too long for a file system, and our own hidden directory.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let unsafe_name = |why| Err(unsafe_name(text, why));
        if text.is_empty() {
            return unsafe_name("it is empty");
        }
        if text.len() > MAX_PATH {
            return unsafe_name("it is longer than 1024 bytes");
        }
        if text.contains(|c: char| c.is_control() || c == '\\') {
            return unsafe_name("it holds a control character or a backslash");
        }
        if text.starts_with('/') {
            return unsafe_name("it is absolute");
        }
        for segment in text.split('/') {
            match segment {
                "" => return unsafe_name("it has an empty segment"),
                "." | ".." => return unsafe_name("it has a '.' or '..' segment"),
                _ if segment.len() > MAX_SEGMENT => return unsafe_name("a segment is longer than 255 bytes"),
                _ => {}
            }
        }
        if text.split('/').next() == Some(HIDDEN_DIR) {
            return unsafe_name("that directory is the loader's own");
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as the source wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path below `dir`.
    #[must_use]
    pub fn below(&self, dir: &std::path::Path) -> PathBuf {
        dir.join(&self.0)
    }

    /// The directories above the file, outermost first: `a` and `a/b` for `a/b/c`.
    pub(crate) fn parents(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(end, _)| &self.0[..end])
    }

    /// First segment: the entry of the model's directory that the file is or lies in.
    pub(crate) fn top(&self) -> &str {
        self.parents().next().unwrap_or(&self.0)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for FileName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> Self {
        name.0
    }
}

/// Checks that all names can exist side by side.
///
/// # Errors
/// [`Reason::UnsafeFileName`] for a name that comes twice and for one that is both a file and a directory.
pub fn check_together<'a>(names: impl IntoIterator<Item = &'a FileName> + Clone) -> Result<(), Error> {
    let mut files = BTreeSet::new();
    for name in names.clone() {
        if !files.insert(name.as_str()) {
            return Err(unsafe_name(name.as_str(), "the source lists it twice"));
        }
    }
    for name in names {
        if let Some(parent) = name.parents().find(|parent| files.contains(parent)) {
            return Err(unsafe_name(parent, "the source lists it as a file and as a directory"));
        }
    }
    Ok(())
}

/// The error for a name, with the name escaped and cut to what fits in a message.
pub(crate) fn unsafe_name(name: &str, why: &str) -> Error {
    let shown: String = name.chars().take(200).collect();
    Error::new(Reason::UnsafeFileName, format!("the source has a file that is not safe to write: {shown:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    #[test]
    fn ordinary_names_pass() {
        for name in [
            "model.safetensors",
            "a/b/c.json",
            ".gitattributes",
            "1_Pooling/config.json",
            "名前/ü x",
            "a/.model-loader",
            "...",
        ] {
            assert_eq!(FileName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn hostile_names_are_refused_and_named() {
        let long = "x".repeat(256);
        let deep = "a/".repeat(600) + "f";
        for name in [
            "",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "a/..",
            ".",
            "./a",
            "a//b",
            "a/",
            "a\\b",
            "a\0b",
            "a\nb",
            "a\u{7f}",
            "a\u{85}b",
            ".model-loader",
            ".model-loader/manifest.json",
            &long,
            &deep,
        ] {
            let error = FileName::parse(name).unwrap_err();
            assert_eq!(error.reason(), Reason::UnsafeFileName, "{name:?}");
            let shown: String = name.chars().take(20).collect();
            assert!(error.to_string().contains(shown.escape_debug().to_string().as_str()), "{error}");
            assert!(error.to_string().len() < 1500);
        }
    }

    #[test]
    fn names_that_exclude_each_other_are_refused() {
        let names = |names: &[&str]| names.iter().map(|name| FileName::parse(name).unwrap()).collect::<Vec<_>>();
        assert!(check_together(&names(&["a/b", "a/c", "ab", "a.b"])).is_ok());
        for clash in [&["a", "a"][..], &["a", "a/b"], &["a/b/c", "a/b"], &["a/b/c", "a"]] {
            assert_eq!(check_together(&names(clash)).unwrap_err().reason(), Reason::UnsafeFileName, "{clash:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_never_leaves_its_directory(text in prop_oneof![
            "[./\\\\a\u{0}\n]{0,12}", "(\\.\\./|a/|/|\\./){0,4}[a.]{0,3}", "\\PC{0,40}",
        ]) {
            if let Ok(name) = FileName::parse(&text) {
                let path = name.below(Path::new("/models/m"));
                let inside = path.strip_prefix("/models/m").unwrap();
                prop_assert!(inside.components().count() > 0);
                prop_assert!(inside.components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert_eq!(inside.to_str(), Some(text.as_str()));
                prop_assert_eq!(&FileName::try_from(String::from(name.clone())).unwrap(), &name);
            }
        }
    }
}
