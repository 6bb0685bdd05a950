//! Pods of any JSON.
#![no_main]

use fuzz::pods::check_injection;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(pod) = serde_json::from_slice(data) {
        check_injection(&pod);
    }
});
