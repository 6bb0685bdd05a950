//! Which bytes of an unfinished file are on the volume: a record of each chunk, with a checksum.
//!
//! A record is one line, `START LENGTH CRC`: two decimal numbers and the CRC-64/NVME of the bytes in hexadecimal. Neither
//! the file nor its records are synced, so after the loss of a node either may be there without the other. That does no
//! harm: a record counts only if the bytes on the volume have its checksum.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
};

use crc_fast::{CrcAlgorithm, Digest};

use crate::publish::NOFOLLOW;

/// Shortest and longest run of bytes that is recorded at once. What a stream has received beyond is lost by a kill.
const RECORD_EVERY: (u64, u64) = (64 << 10, 2 << 20);
/// Records of one file, at most about as many.
const MOST_RECORDS: u64 = 16 << 10;
/// Largest chunk that is believed: it is held in memory to be checked.
const MAX_CHUNK: u64 = 4 << 20;

/// One chunk that is said to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Chunk {
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) crc: u64,
}

impl Chunk {
    /// The line of this chunk.
    fn line(self) -> String {
        let Self { start, length, crc } = self;
        format!("{start} {length} {crc:016x}\n")
    }

    /// Reads one line, without its end. `None` for anything that is not written by [`Chunk::line`] for a file of this
    /// size: the last line may have been cut off, and a volume can hold anything.
    fn parse(line: &str, size: u64) -> Option<Self> {
        let mut words = line.split(' ');
        let (start, length, crc) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?);
        let end = u64::checked_add(start, length)?;
        let fits = length > 0 && length <= MAX_CHUNK && end <= size && crc.len() == 16 && words.next().is_none();
        fits.then_some(())?;
        Some(Self { start, length, crc: u64::from_str_radix(crc, 16).ok()? })
    }
}

/// The chunks that a file of records tells of, in the order of their places. Anything else in it is left out.
pub(super) fn parse(records: &[u8], size: u64) -> Vec<Chunk> {
    // What follows the last line break was cut off.
    let whole = records.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let lines = records[..whole].split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let mut chunks: Vec<_> = lines.filter_map(|line| Chunk::parse(line, size)).collect();
    chunks.sort_unstable();
    chunks
}

/// The checksum of a chunk.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// The file of records of one file.
#[derive(Debug)]
pub(super) struct Records {
    file: Mutex<File>,
    /// Bytes after which a chunk is recorded.
    every: u64,
}

impl Records {
    /// Opens the records of a file of this size. They are created where they are absent.
    pub(super) fn open(path: &Path, size: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o644).custom_flags(NOFOLLOW).open(path)?;
        if file.metadata()?.len() > 0 {
            // Ends a line that was cut off.
            file.write_all(b"\n")?;
        }
        let every = (size / MOST_RECORDS).clamp(RECORD_EVERY.0, RECORD_EVERY.1);
        Ok(Self { file: Mutex::new(file), every })
    }

    /// Forgets all chunks.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).set_len(0)
    }

    fn append(&self, chunk: Chunk) -> io::Result<()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(chunk.line().as_bytes())
    }
}

/// Gathers the bytes of one stream into chunks, and records each.
pub(super) struct Recorder<'a> {
    records: Option<&'a Records>,
    start: u64,
    length: u64,
    crc: Digest,
}

impl<'a> Recorder<'a> {
    /// A recorder for bytes that come from `start` on. Without `records` it does nothing.
    pub(super) fn new(records: Option<&'a Records>, start: u64) -> Self {
        Self { records, start, length: 0, crc: Digest::new(CrcAlgorithm::Crc64Nvme) }
    }

    /// Takes the next bytes, which are written already.
    pub(super) fn written(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(records) = self.records else { return Ok(()) };
        self.crc.update(bytes);
        self.length += bytes.len() as u64;
        if self.length >= records.every {
            self.flush()?;
        }
        Ok(())
    }

    /// Records what is not recorded yet.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(records) = self.records.filter(|_| self.length > 0) else { return Ok(()) };
        records.append(Chunk { start: self.start, length: self.length, crc: self.crc.finalize() })?;
        self.start += self.length;
        self.length = 0;
        self.crc.reset();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_whole_and_possible_records_count() {
        let text = b"0 10 00000000000000ff\n\n10 5 zz\n90 20 0000000000000001\n5 0 0000000000000001\n\xff\n20 1 0000000000000002 x\n\
            18446744073709551615 1 0000000000000001\n30 4 0000000000000003\n20 10 0000000000000002\n40 10 00000";
        let chunk = |start, length, crc| Chunk { start, length, crc };
        assert_eq!(parse(text, 100), [chunk(0, 10, 255), chunk(20, 10, 2), chunk(30, 4, 3)]);
        assert_eq!(parse(b"", 100), []);
        assert_eq!(parse(format!("0 {} 0000000000000001\n", MAX_CHUNK + 1).as_bytes(), u64::MAX), []);
    }

    #[test]
    fn what_is_recorded_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chunks");
        let records = Records::open(&path, 1 << 30).unwrap();
        let mut recorder = Recorder::new(Some(&records), 7);
        let piece = vec![3; 40_000];
        for _ in 0..3 {
            recorder.written(&piece).unwrap();
        }
        recorder.flush().unwrap();
        recorder.flush().unwrap();
        let read = || parse(&std::fs::read(&path).unwrap(), u64::MAX);
        let first = Chunk { start: 7, length: 80_000, crc: checksum(&vec![3; 80_000]) };
        assert_eq!(read(), [first, Chunk { start: 80_007, length: 40_000, crc: checksum(&piece) }]);
        records.clear().unwrap();
        assert_eq!(read(), []);
        // A huge file does not get countless records, and no chunk that is too long to be believed.
        assert_eq!(Records::open(&path, 16 << 30).unwrap().every, 1 << 20);
        assert_eq!(Records::open(&path, u64::MAX).unwrap().every, 2 << 20);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300), size in any::<u64>()) {
            for chunk in parse(&bytes, size) {
                prop_assert!(chunk.start + chunk.length <= size && chunk.length <= MAX_CHUNK);
            }
        }

        #[test]
        fn a_chunk_survives_its_line(start in 0u64..1 << 60, length in 1u64..=MAX_CHUNK, crc in any::<u64>(), cut in 0usize..40) {
            let chunk = Chunk { start, length, crc };
            let line = chunk.line();
            prop_assert_eq!(parse(line.as_bytes(), u64::MAX), [chunk]);
            let cut = cut.min(line.len() - 1);
            prop_assert_eq!(parse(&line.as_bytes()[..cut], u64::MAX), []);
        }
    }
}
