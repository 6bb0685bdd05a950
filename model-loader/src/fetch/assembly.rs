//! One file on the volume while it is put together: bytes come in any order, the digest is computed in theirs.
//!
//! Streams write. A piece that comes next in order is handed on in memory to a thread that hashes, while its stream goes
//! on receiving. Pieces that come early are read back, still from the page cache, once the bytes before them are there.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{
    chunks::{self, Records},
    spans::Spans,
};
use crate::{
    Error,
    digest::{Algorithm, Digest, Hasher},
    publish::{NOFOLLOW, UNSYNCED, remove_file},
};

/// Bytes that are read back at once.
const READ_BACK: u64 = 256 << 10;

/// Hashed bytes after which [`Waiting::got_on`] is told.
const TELL_EVERY: u64 = 4 << 20;

/// Received bytes of all files that wait in memory to be hashed.
#[derive(Debug)]
pub(super) struct Waiting {
    bytes: AtomicU64,
    most: u64,
    /// Told whenever a digest has got on by a good part of the window.
    pub(super) got_on: Notify,
}

impl Waiting {
    /// `most`: bytes from which on only files of which nothing waits yet may add to it.
    pub(super) fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicU64::new(0), most, got_on: Notify::new() })
    }
}

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
    waiting: Arc<Waiting>,
    there: Mutex<Spans>,
    order: Mutex<InOrder>,
    /// The hashing thread has got on.
    got_on: Condvar,
    /// How far the digest is computed. A copy for whoever only looks.
    hashed: AtomicU64,
}

/// The bytes in their order: hashed, then handed on, then whatever is on the volume.
struct InOrder {
    /// Absent while a thread hashes.
    hasher: Option<Hasher>,
    /// Handed on and not hashed yet.
    pieces: VecDeque<Bytes>,
    /// Where what is hashed or handed on ends.
    end: u64,
    failed: Option<io::Error>,
}

impl std::fmt::Debug for InOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InOrder").field("end", &self.end).finish_non_exhaustive()
    }
}

impl InOrder {
    fn new(algorithm: Algorithm, size: Option<u64>) -> Self {
        let hasher = Some(Hasher::new(algorithm, size.unwrap_or(0)));
        Self { hasher, pieces: VecDeque::new(), end: 0, failed: None }
    }
}

impl Assembly {
    /// Begins an empty file at `path`. Whatever is there is removed; a link there is never followed.
    pub(super) fn create(
        path: PathBuf,
        size: Option<u64>,
        algorithm: Algorithm,
        waiting: Arc<Waiting>,
    ) -> Result<Arc<Self>, Error> {
        remove_file(&path)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(&path);
        let file = file.map_err(|error| Error::io("create", &path, error))?;
        Ok(Self::new(path, file, size, algorithm, None, waiting))
    }

    /// Takes up the file at `path`, or begins it. Only chunks whose bytes have their checksum count as there.
    ///
    /// Reads all bytes that are there. `records` is where chunks are recorded.
    pub(super) fn take_up(
        path: PathBuf,
        records: &Path,
        size: u64,
        algorithm: Algorithm,
        waiting: Arc<Waiting>,
    ) -> Result<Arc<Self>, Error> {
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
        let assembly = Self::new(path, file, Some(size), algorithm, Some(log), waiting);
        let mut bytes = Vec::new();
        for chunk in recorded {
            bytes.resize(usize::try_from(chunk.length).unwrap_or(0), 0);
            // Too short a file is what the loss of a node leaves.
            let read = assembly.file.read_exact_at(&mut bytes, chunk.start).is_ok();
            if read && chunks::checksum(&bytes) == chunk.crc {
                locked(&assembly.there).insert(chunk.start, chunk.start + chunk.length);
            }
        }
        assembly.hash_in_order();
        Ok(assembly)
    }

    fn new(
        path: PathBuf,
        file: File,
        size: Option<u64>,
        algorithm: Algorithm,
        records: Option<Records>,
        waiting: Arc<Waiting>,
    ) -> Arc<Self> {
        let (there, order, got_on) = (Mutex::default(), Mutex::new(InOrder::new(algorithm, size)), Condvar::new());
        let hashed = AtomicU64::new(0);
        Arc::new(Self { path, file, size, algorithm, records, waiting, there, order, got_on, hashed })
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

    /// Writes a piece at its place. Runs within tokio, whose blocking threads hash.
    pub(super) fn write(self: &Arc<Self>, start: u64, piece: Bytes) -> Result<(), Error> {
        let (end, length) = (start + piece.len() as u64, piece.len() as u64);
        self.file.write_all_at(&piece, start).map_err(|error| self.failed("write", error))?;
        // Before the look at the order: a thread that stops hashing looks here last.
        locked(&self.there).insert(start, end);
        let mut order = locked(&self.order);
        while order.end == start && !order.pieces.is_empty() && self.waiting.bytes.load(Relaxed) >= self.waiting.most {
            order = self.got_on.wait(order).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(error) = order.failed.take() {
            return Err(self.failed("read back", error));
        }
        if order.end != start {
            return Ok(());
        }
        order.end = end;
        if self.size.is_some_and(|size| size <= UNSYNCED)
            && let Some(hasher) = &mut order.hasher
        {
            // Not worth another thread.
            hasher.update(&piece);
            self.hashed.store(end, Relaxed);
            return Ok(());
        }
        self.waiting.bytes.fetch_add(length, Relaxed);
        order.pieces.push_back(piece);
        if order.hasher.is_some() {
            let assembly = self.clone();
            drop(order);
            tokio::task::spawn_blocking(move || assembly.hash_in_order());
        }
        Ok(())
    }

    /// Starts over, empty.
    pub(super) fn restart(&self) -> Result<(), Error> {
        *locked(&self.there) = Spans::default();
        let mut order = self.settled();
        *order = InOrder::new(self.algorithm, self.size);
        self.hashed.store(0, Relaxed);
        // Records first: a record without its bytes says nothing, bytes without a record are written again.
        let cleared = self.records.as_ref().map_or(Ok(()), Records::clear).and_then(|()| self.file.set_len(0));
        cleared.map_err(|error| self.failed("empty", error))
    }

    /// Makes the file read-only, and durable where `sync` is set, and gives its path, length and digest.
    ///
    /// To be called once every byte is there.
    pub(super) fn finish(&self, sync: bool) -> Result<(PathBuf, u64, Digest), Error> {
        let finish = || {
            if let Some(size) = self.size {
                // Whoever had the volume before may have left a longer file.
                self.file.set_len(size)?;
            }
            self.file.set_permissions(Permissions::from_mode(0o444))?;
            if sync { self.file.sync_all() } else { Ok(()) }
        };
        finish().map_err(|error| self.failed("sync", error))?;
        let mut order = self.settled();
        if let Some(error) = order.failed.take() {
            return Err(self.failed("read back", error));
        }
        let hasher =
            order.hasher.replace(Hasher::new(self.algorithm, 0)).unwrap_or_else(|| Hasher::new(self.algorithm, 0));
        Ok((self.path.clone(), order.end, hasher.finish()))
    }

    /// Hashes all that is in order, until nothing of it is left.
    fn hash_in_order(&self) {
        let mut order = locked(&self.order);
        // Two threads never do: the other one goes on until nothing is left.
        let Some(mut hasher) = order.hasher.take() else { return };
        let mut buffer = Vec::new();
        loop {
            if let Some(piece) = order.pieces.pop_front() {
                drop(order);
                hasher.update(&piece);
                let length = piece.len() as u64;
                drop(piece);
                self.waiting.bytes.fetch_sub(length, Relaxed);
                self.hashed_more(length);
            } else {
                let start = order.end;
                let end = locked(&self.there).run_from(start).min(start + READ_BACK);
                if start == end {
                    break;
                }
                order.end = end;
                drop(order);
                buffer.resize(usize::try_from(end - start).unwrap_or(0), 0);
                let read = self.file.read_exact_at(&mut buffer, start);
                hasher.update(&buffer);
                self.hashed_more(end - start);
                if let Err(error) = read {
                    // Goes on, since others wait for it. The next writer, or the end of the file, tells.
                    locked(&self.order).failed = Some(error);
                }
            }
            self.got_on.notify_all();
            order = locked(&self.order);
        }
        order.hasher = Some(hasher);
        drop(order);
        self.got_on.notify_all();
    }

    fn hashed_more(&self, bytes: u64) {
        let before = self.hashed.fetch_add(bytes, Relaxed);
        if before / TELL_EVERY != (before + bytes) / TELL_EVERY {
            self.waiting.got_on.notify_one();
        }
    }

    /// Waits until everything that is in order is hashed and no thread hashes any more.
    fn settled(&self) -> MutexGuard<'_, InOrder> {
        loop {
            // A thread that was asked to may not have begun.
            self.hash_in_order();
            let mut order = locked(&self.order);
            while order.hasher.is_none() {
                order = self.got_on.wait(order).unwrap_or_else(PoisonError::into_inner);
            }
            if order.pieces.is_empty() {
                return order;
            }
        }
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

    fn take_up(dir: &Path, size: usize) -> Arc<Assembly> {
        let (waiting, algorithm) = (Waiting::new(100_000), Algorithm::Sha256);
        Assembly::take_up(dir.join("file"), &dir.join("chunks"), size as u64, algorithm, waiting).unwrap()
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    /// Writes a part as a stream does.
    fn stream(assembly: &Arc<Assembly>, whole: &[u8], start: usize, end: usize) {
        let mut recorder = Recorder::new(assembly.records(), start as u64);
        for piece in (start..end).step_by(1000) {
            let part = &whole[piece..end.min(piece + 1000)];
            assembly.write(piece as u64, Bytes::copy_from_slice(part)).unwrap();
            recorder.written(part).unwrap();
        }
        recorder.flush().unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 8))]
        #[test]
        fn parts_in_any_order_and_with_a_kill_in_between_give_the_digest_of_the_whole(
            order in Just((0..8usize).collect::<Vec<_>>()).prop_shuffle(),
            killed_after in 0usize..8,
            damaged in proptest::option::of(0usize..8),
        ) {
            const PART: usize = 400_000;
            let runtime = runtime();
            let _within = runtime.enter();
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
        let runtime = runtime();
        let _within = runtime.enter();
        let (dir, whole) = (tempfile::tempdir().unwrap(), bytes(2_000_000));
        let assembly = take_up(dir.path(), whole.len());
        stream(&assembly, &bytes(2_010_000)[10_000..], 0, 2_000_000);
        assembly.restart().unwrap();
        assert_eq!((assembly.there().bytes(), assembly.hashed()), (0, 0));
        assert_eq!(assembly.waiting.bytes.load(Relaxed), 0);
        assert_eq!(fs::read(dir.path().join("chunks")).unwrap(), b"");
        stream(&assembly, &whole, 0, whole.len());
        assert_eq!(assembly.finish(false).unwrap().2, digest(&whole));
    }

    #[test]
    fn streams_at_the_same_time_give_the_digest_of_the_whole() {
        let runtime = runtime();
        let (dir, whole) = (tempfile::tempdir().unwrap(), bytes(4_000_000));
        let assembly = take_up(dir.path(), whole.len());
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (assembly, whole, runtime) = (&assembly, &whole, &runtime);
                scope.spawn(move || {
                    let _within = runtime.enter();
                    stream(assembly, whole, number * 1_000_000, (number + 1) * 1_000_000);
                });
            }
        });
        assert_eq!(assembly.finish(true).unwrap().2, digest(&whole), "nobody is left to hash what came last");
        assert_eq!((assembly.hashed(), assembly.waiting.bytes.load(Relaxed)), (whole.len() as u64, 0));
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("victim"), "kept").unwrap();
        std::os::unix::fs::symlink(dir.path().join("victim"), dir.path().join("file")).unwrap();
        let taken = Assembly::take_up(
            dir.path().join("file"),
            &dir.path().join("chunks"),
            9,
            Algorithm::Sha256,
            Waiting::new(1),
        );
        assert!(taken.is_err());
        Assembly::create(dir.path().join("file"), Some(9), Algorithm::Sha256, Waiting::new(1)).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("victim")).unwrap(), "kept");
    }
}
