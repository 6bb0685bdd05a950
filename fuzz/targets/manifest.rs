//! What a volume can hold in place of what the loader wrote: a manifest, a journal, records of chunks.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use fuzz::names::stays_inside;
use libfuzzer_sys::fuzz_target;
use model_core::report::{MAX_OUTCOME_BYTES, Outcome};
use model_loader::fuzzing::recorded;
use model_loader::manifest::{FileRecord, Manifest};
use model_loader::{Meter, verify};

/// A published directory with one file. What is beside it is nobody's business.
static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("fuzz-manifest-{}", std::process::id())).join("model");
    fs::create_dir_all(directory.join(".model-loader")).unwrap();
    fs::write(directory.join("tiny.bin"), "tiny").unwrap();
    directory
});

fuzz_target!(|data: &[u8]| {
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(record) = serde_json::from_slice::<FileRecord>(line) {
            stays_inside(&record.path);
            let written = serde_json::to_vec(&record).expect("a record can be written");
            assert_eq!(serde_json::from_slice::<FileRecord>(&written).ok(), Some(record), "and read again");
        }
    }
    let size = 1 << 40;
    for (start, length) in recorded(data, size) {
        assert!(length > 0 && start.checked_add(length).is_some_and(|end| end <= size), "{start} {length}");
    }
    if serde_json::from_slice::<Manifest>(data).is_ok_and(|manifest| manifest.files.len() < 8) {
        check(data);
    }
});

fn check(manifest: &[u8]) {
    fs::write(DIRECTORY.join(".model-loader/manifest.json"), manifest).unwrap();
    // One of another version is none.
    let Ok(verification) = verify(&DIRECTORY, &Meter::default()) else { return };
    verification.manifest.files.iter().for_each(|file| stays_inside(&file.path));
    let published = Outcome::Succeeded(verification.manifest.published());
    assert_eq!(Outcome::parse(&serde_json::to_string(&published).unwrap()), Some(published));
    let report = verification.report();
    assert_eq!(report.fault_count, verification.faults.len() as u64);
    let message = Outcome::Verified(report).to_termination_message();
    assert!(message.len() <= MAX_OUTCOME_BYTES, "the kubelet would cut it");
    assert!(Outcome::parse(&message).is_some(), "{message}");
}
