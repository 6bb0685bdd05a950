//! One file on the volume while it is put together: bytes come in any order, the digest is computed in theirs.
//!
//! Whoever writes a piece that comes next in order hashes it from memory. Pieces that come early are written, and read
//! back, still from the page cache, once the bytes before them are there.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    chunks::{self, Records},
    spans::Spans,
};
use crate::{
    Error,
    digest::{Algorithm, Digest, Hasher},
    publish::NOFOLLOW,
};

/// Bytes that are read back at once.
const READ_BACK: usize = 256 << 10;
/// Bytes that are read back after each piece. More than a piece, so that hashing keeps up with writing.
const CATCH_UP: u64 = 1 << 20;

/// A file that is being put together.
#[derive(Debug)]
pub(super) struct Assembly {
    path: PathBuf,
    file: File,
    /// Length of the whole, where it is known before.
    size: Option<u64>,
    algorithm: Algorithm,
    /// Where chunks are recorded. Absent for files that start over after a kill: small ones, and those that nothing
    /// tells from another version of themselves.
    records: Option<Records>,
    there: Mutex<Spans>,
    order: Mutex<InOrder>,
    /// How far the digest is computed. A copy for whoever only looks.
    hashed: AtomicU64,
}

struct InOrder {
    hasher: Hasher,
    at: u64,
}

impl std::fmt::Debug for InOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InOrder").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Assembly {
    /// Begins an empty file at `path`. Whatever is there is removed; a link there is never followed.
    pub(super) fn create(path: PathBuf, size: Option<u64>, algorithm: Algorithm) -> Result<Self, Error> {
        let create = || {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(&path)
        };
        let file = create().map_err(|error| Error::io("create", &path, error))?;
        Ok(Self::new(path, file, size, algorithm, None))
    }

    /// Takes up the file at `path`, or begins it. Only chunks whose bytes have their checksum count as there.
    ///
    /// Reads all bytes that are there. `records` is where chunks are recorded.
    pub(super) fn take_up(path: PathBuf, records: &Path, size: u64, algorithm: Algorithm) -> Result<Self, Error> {
        let recorded = match fs::read(records) {
            Ok(bytes) => chunks::parse(&bytes, size),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io("read", records, error)),
        };
        let log = Records::open(records, size).map_err(|error| Error::io("open", records, error))?;
        let mut open = OpenOptions::new();
        open.read(true).write(true).create(true).truncate(false).mode(0o644).custom_flags(NOFOLLOW);
        let file = match open.open(&path) {
            // A run that was killed right before it was done with the file.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                fs::set_permissions(&path, Permissions::from_mode(0o644)).and_then(|()| open.open(&path))
            }
            opened => opened,
        };
        let file = file.map_err(|error| Error::io("open", &path, error))?;
        let assembly = Self::new(path, file, Some(size), algorithm, Some(log));
        let mut bytes = Vec::new();
        for chunk in recorded {
            bytes.resize(usize::try_from(chunk.length).unwrap_or(0), 0);
            // Too short a file is what the loss of a node leaves.
            let read = assembly.file.read_exact_at(&mut bytes, chunk.start).is_ok();
            if read && chunks::checksum(&bytes) == chunk.crc {
                assembly.arrived(chunk.start, &bytes);
            }
        }
        assembly.catch_up(u64::MAX)?;
        Ok(assembly)
    }

    fn new(path: PathBuf, file: File, size: Option<u64>, algorithm: Algorithm, records: Option<Records>) -> Self {
        let order = InOrder { hasher: Hasher::new(algorithm, size.unwrap_or(0)), at: 0 };
        let (there, order, hashed) = (Mutex::default(), Mutex::new(order), AtomicU64::new(0));
        Self { path, file, size, algorithm, records, there, order, hashed }
    }

    /// The records of chunks, for whoever writes.
    pub(super) fn records(&self) -> Option<&Records> {
        self.records.as_ref()
    }

    /// The bytes that are there.
    pub(super) fn there(&self) -> Spans {
        locked(&self.there).clone()
    }

    /// Number of bytes from the start that the digest is computed of.
    pub(super) fn hashed(&self) -> u64 {
        self.hashed.load(Relaxed)
    }

    /// Writes a piece at its place.
    pub(super) fn write(&self, start: u64, piece: &[u8]) -> Result<(), Error> {
        self.file.write_all_at(piece, start).map_err(|error| self.failed("write", error))?;
        if self.arrived(start, piece) { Ok(()) } else { self.catch_up(CATCH_UP) }
    }

    /// Hashes all that is in order. To be called when a stream ends, since nobody might write after it.
    pub(super) fn settle(&self) -> Result<(), Error> {
        self.catch_up(u64::MAX)
    }

    /// Starts over, empty.
    pub(super) fn restart(&self) -> Result<(), Error> {
        let mut order = locked(&self.order);
        *locked(&self.there) = Spans::default();
        *order = InOrder { hasher: Hasher::new(self.algorithm, self.size.unwrap_or(0)), at: 0 };
        self.hashed.store(0, Relaxed);
        // Records first: a record without its bytes says nothing, bytes without a record are written again.
        let cleared = self.records.as_ref().map_or(Ok(()), Records::clear).and_then(|()| self.file.set_len(0));
        cleared.map_err(|error| self.failed("empty", error))
    }

    /// Makes the file read-only, and durable where `sync` is set, and gives its path, length and digest.
    ///
    /// To be called once every byte is there.
    pub(super) fn finish(&self, sync: bool) -> Result<(PathBuf, u64, Digest), Error> {
        self.settle()?;
        let finish = || {
            if let Some(size) = self.size {
                // Whoever had the volume before may have left a longer file.
                self.file.set_len(size)?;
            }
            self.file.set_permissions(Permissions::from_mode(0o444))?;
            if sync { self.file.sync_all() } else { Ok(()) }
        };
        finish().map_err(|error| self.failed("sync", error))?;
        let mut order = locked(&self.order);
        let hasher = std::mem::replace(&mut order.hasher, Hasher::new(self.algorithm, 0));
        Ok((self.path.clone(), order.at, hasher.finish()))
    }

    /// Notes a piece that is on the volume. Gives whether it was the next one in order, and so is hashed.
    fn arrived(&self, start: u64, piece: &[u8]) -> bool {
        let end = start + piece.len() as u64;
        // Who cannot have the hasher at once leaves the piece to whoever has it.
        let next = match self.order.try_lock() {
            Ok(mut order) if order.at == start => {
                order.hasher.update(piece);
                order.at = end;
                self.hashed.store(end, Relaxed);
                true
            }
            _ => false,
        };
        locked(&self.there).insert(start, end);
        next
    }

    /// Reads back and hashes up to `limit` bytes of what is in order. A limit short of everything may be left to another
    /// stream that is at it.
    fn catch_up(&self, limit: u64) -> Result<(), Error> {
        let mut order = if limit == u64::MAX {
            locked(&self.order)
        } else if let Ok(order) = self.order.try_lock() {
            order
        } else {
            return Ok(());
        };
        let mut end = locked(&self.there).run_from(order.at).min(order.at.saturating_add(limit));
        if order.at == end {
            return Ok(());
        }
        let mut buffer = vec![0; READ_BACK];
        while order.at < end {
            let length = usize::try_from(end - order.at).unwrap_or(READ_BACK).min(READ_BACK);
            let piece = &mut buffer[..length];
            self.file.read_exact_at(piece, order.at).map_err(|error| self.failed("read back", error))?;
            order.hasher.update(piece);
            order.at += length as u64;
            self.hashed.store(order.at, Relaxed);
            if limit == u64::MAX {
                end = locked(&self.there).run_from(order.at);
            }
        }
        Ok(())
    }

    fn failed(&self, doing: &str, error: io::Error) -> Error {
        Error::io(doing, &self.path, error)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done under these locks leaves them half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{super::chunks::Recorder, *};
    use proptest::prelude::*;

    fn digest(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256, bytes.len() as u64);
        hasher.update(bytes);
        hasher.finish()
    }

    fn bytes(size: usize) -> Vec<u8> {
        (0..size).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
    }

    fn take_up(dir: &Path, size: usize) -> Assembly {
        Assembly::take_up(dir.join("file"), &dir.join("chunks"), size as u64, Algorithm::Sha256).unwrap()
    }

    /// Writes a part as a stream does.
    fn stream(assembly: &Assembly, whole: &[u8], start: usize, end: usize) {
        let mut recorder = Recorder::new(assembly.records(), start as u64);
        for piece in (start..end).step_by(1000) {
            let part = &whole[piece..end.min(piece + 1000)];
            assembly.write(piece as u64, part).unwrap();
            recorder.written(part).unwrap();
        }
        recorder.flush().unwrap();
        assembly.settle().unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn parts_in_any_order_and_with_a_kill_in_between_give_the_digest_of_the_whole(
            order in Just((0..8usize).collect::<Vec<_>>()).prop_shuffle(),
            killed_after in 0usize..8,
            damaged in proptest::option::of(0usize..8),
        ) {
            const PART: usize = 40_000;
            let (dir, whole) = (tempfile::tempdir().unwrap(), bytes(8 * PART - 7));
            let part = |number: usize| (number * PART, whole.len().min((number + 1) * PART));
            let first = take_up(dir.path(), whole.len());
            for number in &order[..killed_after] {
                stream(&first, &whole, part(*number).0, part(*number).1);
            }
            drop(first);
            let damaged = damaged.filter(|number| order[..killed_after].contains(number));
            if let Some(number) = damaged {
                let file = OpenOptions::new().write(true).open(dir.path().join("file")).unwrap();
                file.write_all_at(&[0xff], part(number).0 as u64 + 5).unwrap();
            }
            let second = take_up(dir.path(), whole.len());
            for number in 0..8 {
                let there = second.there().run_from(part(number).0 as u64) >= part(number).1 as u64;
                prop_assert_eq!(there, order[..killed_after].contains(&number) && damaged != Some(number));
                if !there {
                    stream(&second, &whole, part(number).0, part(number).1);
                }
            }
            let (path, length, found) = second.finish(true).unwrap();
            prop_assert_eq!((length, found), (whole.len() as u64, digest(&whole)));
            prop_assert!(fs::read(path).unwrap() == whole);
        }
    }

    #[test]
    fn a_file_that_starts_over_keeps_nothing() {
        let (dir, whole) = (tempfile::tempdir().unwrap(), bytes(50_000));
        let assembly = take_up(dir.path(), whole.len());
        stream(&assembly, &bytes(60_000)[10_000..], 0, 50_000);
        assembly.restart().unwrap();
        assert_eq!((assembly.there().bytes(), assembly.hashed()), (0, 0));
        assert_eq!(fs::read(dir.path().join("chunks")).unwrap(), b"");
        stream(&assembly, &whole, 0, whole.len());
        assert_eq!(assembly.finish(false).unwrap().2, digest(&whole));
    }

    #[test]
    fn streams_at_the_same_time_give_the_digest_of_the_whole() {
        let (dir, whole) = (tempfile::tempdir().unwrap(), bytes(4_000_000));
        let assembly = take_up(dir.path(), whole.len());
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (assembly, whole) = (&assembly, &whole);
                scope.spawn(move || stream(assembly, whole, number * 1_000_000, (number + 1) * 1_000_000));
            }
        });
        assert_eq!(assembly.hashed(), whole.len() as u64, "nobody is left to hash what the last stream wrote");
        assert_eq!(assembly.finish(true).unwrap().2, digest(&whole));
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("victim"), "kept").unwrap();
        std::os::unix::fs::symlink(dir.path().join("victim"), dir.path().join("file")).unwrap();
        let taken = Assembly::take_up(dir.path().join("file"), &dir.path().join("chunks"), 9, Algorithm::Sha256);
        assert!(taken.is_err());
        Assembly::create(dir.path().join("file"), Some(9), Algorithm::Sha256).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("victim")).unwrap(), "kept");
    }
}
