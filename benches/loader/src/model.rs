//! The models that are downloaded: seeded random files, written once, with the digests that a hub states.

use std::fs::File;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// What a model looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Name of the repository.
    pub name: &'static str,
    /// Name of its files; `{}` stands for the number of the file.
    pub file: &'static str,
    /// How many files it has.
    pub files: u64,
    /// Bytes of each file: drawn evenly from this range.
    pub sizes: RangeInclusive<u64>,
}

/// A model on disk.
#[derive(Debug)]
pub struct Model {
    pub name: &'static str,
    /// Where its files lie.
    pub folder: PathBuf,
    /// The commit that every revision stands for.
    pub commit: String,
    /// In the order of their paths.
    pub files: Vec<ModelFile>,
}

/// One file of a model.
#[derive(Debug)]
pub struct ModelFile {
    /// Relative to the model's folder.
    pub path: String,
    /// Bytes.
    pub size: u64,
    pub identity: Identity,
}

/// By which digest a hub knows a file, in hex.
#[derive(Debug)]
pub enum Identity {
    /// Weights: kept outside git.
    Large {
        sha256: String,
        /// Git's digest of the pointer file in their place.
        pointer: String,
    },
    /// Anything else: git's digest of the file.
    Small { blob: String },
}

impl Identity {
    /// The digest that the hub's redirect states for the file.
    pub fn digest(&self) -> &str {
        match self {
            Self::Large { sha256, .. } => sha256,
            Self::Small { blob } => blob,
        }
    }
}

impl Shape {
    /// The same with fewer files if there are many of them, else with smaller ones.
    pub fn shrunk(&self, by: u64) -> Self {
        let mut shape = self.clone();
        if shape.files > 100 {
            shape.files = (shape.files / by).max(1);
        } else {
            shape.sizes = (self.sizes.start() / by).max(1)..=(self.sizes.end() / by).max(1);
        }
        shape
    }

    /// Bytes of the model at most.
    pub fn max_bytes(&self) -> u64 {
        self.files * self.sizes.end()
    }
}

impl Model {
    /// Writes the model's files into a folder and computes their digests. The same shape gives the same bytes.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(shape: &Shape, folder: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for number in 1..=shape.files {
            let path = shape.file.replace("{}", &format!("{number:05}"));
            let mut random = SplitMix(number);
            let size = shape.sizes.start() + random.next() % (shape.sizes.end() - shape.sizes.start() + 1);
            let identity = write(&folder.join(&path), size, &mut random)?;
            files.push(ModelFile { path, size, identity });
        }
        let mut commit = Sha1::new();
        for file in &files {
            commit.update(file.identity.digest());
        }
        Ok(Self { name: shape.name, folder: folder.to_owned(), commit: hex(&commit.finalize()), files })
    }

    /// The file of that path.
    pub fn file(&self, path: &str) -> Option<&ModelFile> {
        self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok().map(|at| &self.files[at])
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

fn write(path: &Path, size: u64, random: &mut SplitMix) -> io::Result<Identity> {
    let mut file = File::create(path)?;
    let large = path.extension().is_some_and(|extension| extension == "safetensors");
    let (mut sha256, mut blob) = (Sha256::new(), git_blob(size));
    let mut chunk = vec![0; 1 << 20];
    let mut left = size;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        random.fill(&mut chunk[..length]);
        file.write_all(&chunk[..length])?;
        if large {
            sha256.update(&chunk[..length]);
        } else {
            blob.update(&chunk[..length]);
        }
        left -= length as u64;
    }
    if !large {
        return Ok(Identity::Small { blob: hex(&blob.finalize()) });
    }
    let sha256 = hex(&sha256.finalize());
    let text = lfs_pointer(&sha256, size);
    let mut pointer = git_blob(text.len() as u64);
    pointer.update(text);
    Ok(Identity::Large { sha256, pointer: hex(&pointer.finalize()) })
}

/// The pointer file that git keeps in place of a large file.
pub fn lfs_pointer(sha256: &str, size: u64) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n")
}

/// What git computes over a file of `size` bytes before its content.
fn git_blob(size: u64) -> Sha1 {
    Sha1::new_with_prefix(format!("blob {size}\0"))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `SplitMix64`: fast numbers without a pattern that anything could compress.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for eight in bytes.chunks_mut(8) {
            let number = self.next().to_le_bytes();
            eight.copy_from_slice(&number[..eight.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_the_same_each_time_and_its_digests_are_those_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let shape = Shape { name: "tiny", file: "part-{}.json", files: 3, sizes: 10..=20 };
        let first = Model::write(&shape, folder.path()).unwrap();
        let again = Model::write(&shape, folder.path()).unwrap();
        assert_eq!(first.commit, again.commit);
        assert_eq!(first.commit.len(), 40);
        let content = std::fs::read(folder.path().join("part-00002.json")).unwrap();
        let file = first.file("part-00002.json").unwrap();
        assert_eq!(file.size, content.len() as u64);
        let mut blob = git_blob(file.size);
        blob.update(&content);
        assert_eq!(file.identity.digest(), hex(&blob.finalize()));
        // `echo hello | git hash-object --stdin`
        let mut hello = git_blob(6);
        hello.update("hello\n");
        assert_eq!(hex(&hello.finalize()), "ce013625030ba8dba906f756967f9e9ca394464a");
    }

    #[test]
    fn shrinking_leaves_many_files_their_size() {
        let many = Shape { name: "m", file: "{}", files: 2000, sizes: 10..=100 };
        assert_eq!(many.shrunk(16), Shape { files: 125, ..many });
        let large = Shape { name: "l", file: "{}", files: 16, sizes: 256..=256 };
        assert_eq!(large.shrunk(16), Shape { sizes: 16..=16, ..large });
    }
}
