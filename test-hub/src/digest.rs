//! Digests as the hub states them: SHA-256 of large files, git blob SHA-1 of small ones.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ring::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// Lower-case hex.
pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    use std::fmt::Write as _;
    bytes.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 of some bytes, in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&SHA256, bytes))
}

/// SHA-1 of some bytes, in hex.
pub(crate) fn sha1(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes))
}

/// SHA-256 of a file, in hex.
pub(crate) fn sha256_of_file(path: &Path) -> io::Result<String> {
    of_file(path, Context::new(&SHA256))
}

/// What `git hash-object` prints for a file, in hex.
pub(crate) fn git_blob_of_file(path: &Path, size: u64) -> io::Result<String> {
    of_file(path, git_blob(size))
}

/// What `git hash-object` prints for some bytes, in hex.
pub(crate) fn git_blob_of(bytes: &[u8]) -> String {
    let mut context = git_blob(bytes.len() as u64);
    context.update(bytes);
    hex(context.finish())
}

/// The pointer that git keeps in place of a large file.
pub(crate) fn lfs_pointer(sha256: &str, size: u64) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n")
}

fn git_blob(size: u64) -> Context {
    let algorithm: &'static Algorithm = &SHA1_FOR_LEGACY_USE_ONLY;
    let mut context = Context::new(algorithm);
    context.update(format!("blob {size}\0").as_bytes());
    context
}

fn of_file(path: &Path, mut context: Context) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex(context.finish())),
            read => context.update(&chunk[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_has_the_digest_that_git_gives_it() {
        // `echo hello | git hash-object --stdin`
        assert_eq!(git_blob_of(b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
