//! The file that is being written, and its digest so far.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::PathBuf,
};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{
    Error,
    digest::{Algorithm, Digest, Hasher},
};

/// Writes bytes to a new file and hashes them on the way.
pub(super) struct Sink {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    written: u64,
}

impl Sink {
    /// Creates the file, `size` bytes long where that is known, else 0. Whatever an earlier try left in its place is removed; a link there is never followed.
    pub(super) fn create(path: PathBuf, algorithm: Algorithm, size: u64) -> Result<Self, Error> {
        let create = || {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path)
        };
        let file = create().map_err(|error| Error::io("create", &path, error))?;
        Ok(Self { path, file, hasher: Hasher::new(algorithm, size), written: 0 })
    }

    /// Bytes that are there.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes all pieces that come, until their sender is gone.
    pub(super) fn drain(&mut self, mut pieces: mpsc::Receiver<Bytes>) -> Result<(), Error> {
        while let Some(piece) = pieces.blocking_recv() {
            self.file.write_all(&piece).map_err(|error| Error::io("write", &self.path, error))?;
            self.hasher.update(&piece);
            self.written += piece.len() as u64;
        }
        Ok(())
    }

    /// Makes the file read-only and durable, and gives its path and digest.
    pub(super) fn finish(self) -> Result<(PathBuf, Digest), Error> {
        let finish = self.file.set_permissions(Permissions::from_mode(0o444)).and_then(|()| self.file.sync_all());
        finish.map_err(|error| Error::io("sync", &self.path, error))?;
        Ok((self.path, self.hasher.finish()))
    }
}
