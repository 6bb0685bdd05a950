//! Digests that sources promise, and hashing while bytes pass by.

use std::{fmt, str::FromStr};

use crc_fast::CrcAlgorithm;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// How a digest is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// SHA-256 of the bytes: LFS files of the hub, the user's `sha256`, S3.
    Sha256,
    /// SHA-1 of the bytes: S3.
    Sha1,
    /// SHA-1 of the bytes as a git blob: small files of the hub.
    GitSha1,
    /// MD5 of the bytes: the `ETag` of an S3 object of a single part.
    Md5,
    /// CRC-64/NVME of the bytes: S3.
    Crc64Nvme,
    /// CRC-32C of the bytes: S3.
    Crc32c,
    /// CRC-32 of the bytes: S3.
    Crc32,
}

impl Algorithm {
    const ALL: [Self; 7] =
        [Self::Sha256, Self::Sha1, Self::GitSha1, Self::Md5, Self::Crc64Nvme, Self::Crc32c, Self::Crc32];

    /// The word before the colon of a written digest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha1 => "sha1",
            Self::GitSha1 => "git-sha1",
            Self::Md5 => "md5",
            Self::Crc64Nvme => "crc64nvme",
            Self::Crc32c => "crc32c",
            Self::Crc32 => "crc32",
        }
    }

    /// Length of the digest in bytes.
    const fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha1 | Self::GitSha1 => 20,
            Self::Md5 => 16,
            Self::Crc64Nvme => 8,
            Self::Crc32c | Self::Crc32 => 4,
        }
    }
}

/// The digest of one file, written as `sha256:…` in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

/// What was read is no digest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no digest")]
pub struct NotADigest(String);

impl Digest {
    /// Reads a digest of this algorithm from hexadecimal digits, upper or lower case.
    ///
    /// # Errors
    /// The text has another length or holds something else than digits.
    pub fn from_hex(algorithm: Algorithm, hex: &str) -> Result<Self, NotADigest> {
        let wrong = || NotADigest(hex.chars().take(100).collect());
        if hex.len() != algorithm.length() * 2 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).map_err(|_| wrong());
        let bytes = (0..hex.len()).step_by(2).map(byte).collect::<Result<_, _>>()?;
        Ok(Self { algorithm, bytes })
    }

    /// Takes the bytes of a digest. `None` where their number does not fit the algorithm.
    pub(crate) fn from_bytes(algorithm: Algorithm, bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() == algorithm.length()).then_some(Self { algorithm, bytes })
    }

    /// The digits alone.
    pub(crate) fn hex(&self) -> String {
        self.to_string()[self.algorithm.as_str().len() + 1..].to_owned()
    }

    /// How it was computed.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.algorithm.as_str())?;
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let known = |name: &str| Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == name);
        let (name, hex) = text.split_once(':').unwrap_or_default();
        let algorithm = known(name).ok_or_else(|| NotADigest(text.chars().take(100).collect()))?;
        Self::from_hex(algorithm, hex)
    }
}

impl TryFrom<String> for Digest {
    type Error = NotADigest;

    fn try_from(text: String) -> Result<Self, NotADigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Computes one digest over bytes that come in pieces.
pub struct Hasher {
    algorithm: Algorithm,
    state: State,
}

enum State {
    Sha256(sha2::Sha256),
    Sha1(sha1::Sha1),
    Md5(md5::Md5),
    Crc(crc_fast::Digest),
}

impl Hasher {
    /// Starts over. `size` is the length of the whole file in bytes: only [`Algorithm::GitSha1`] needs it, and it cannot
    /// be computed without.
    #[must_use]
    pub fn new(algorithm: Algorithm, size: u64) -> Self {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha1 => State::Sha1(sha1::Sha1::new()),
            Algorithm::GitSha1 => State::Sha1(sha1::Sha1::new_with_prefix(format!("blob {size}\0"))),
            Algorithm::Md5 => State::Md5(md5::Md5::new()),
            Algorithm::Crc64Nvme => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)),
            Algorithm::Crc32c => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi)),
            Algorithm::Crc32 => State::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc)),
        };
        Self { algorithm, state }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha256(state) => state.update(bytes),
            State::Sha1(state) => state.update(bytes),
            State::Md5(state) => state.update(bytes),
            State::Crc(state) => state.update(bytes),
        }
    }

    /// The digest of everything taken.
    #[must_use]
    pub fn finish(self) -> Digest {
        let bytes = match self.state {
            State::Sha256(state) => state.finalize().to_vec(),
            State::Sha1(state) => state.finalize().to_vec(),
            State::Md5(state) => state.finalize().to_vec(),
            // The CRC is a number; its digest is the low bytes of it, highest first.
            State::Crc(state) => state.finalize().to_be_bytes()[8 - self.algorithm.length()..].to_vec(),
        };
        Digest { algorithm: self.algorithm, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(algorithm: Algorithm, bytes: &[u8]) -> String {
        let mut hasher = Hasher::new(algorithm, bytes.len() as u64);
        hasher.update(bytes);
        hasher.finish().to_string()
    }

    #[test]
    fn known_answers() {
        // The check values of the CRC catalogue, and of git hash-object for the blob.
        let text = b"123456789";
        for (algorithm, want) in [
            (Algorithm::Sha256, "sha256:15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
            (Algorithm::Sha1, "sha1:f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (Algorithm::GitSha1, "git-sha1:e2e107ac61ac259b87c544f6e7a4eb03422c6c21"),
            (Algorithm::Md5, "md5:25f9e794323b453885f5181f1b624d0b"),
            (Algorithm::Crc64Nvme, "crc64nvme:ae8b14860a799888"),
            (Algorithm::Crc32c, "crc32c:e3069283"),
            (Algorithm::Crc32, "crc32:cbf43926"),
        ] {
            assert_eq!(of(algorithm, text), want);
        }
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for text in [
            "",
            "sha256",
            "sha256:",
            "sha256:zz",
            "md5:25f9e794323b453885f5181f1b624d0",
            "sha512:00",
            "md5:ü5f9e794323b453885f5181f1b624d0",
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn pieces_make_the_same_digest(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
            for algorithm in Algorithm::ALL {
                let cut = cut.min(bytes.len());
                let mut hasher = Hasher::new(algorithm, bytes.len() as u64);
                hasher.update(&bytes[..cut]);
                hasher.update(&bytes[cut..]);
                let digest = hasher.finish();
                prop_assert_eq!(digest.to_string(), of(algorithm, &bytes));
                prop_assert_eq!(&digest.to_string().parse::<Digest>().unwrap(), &digest);
                prop_assert_eq!(&Digest::from_bytes(algorithm, digest.bytes.clone()).unwrap(), &digest);
            }
        }
    }
}
