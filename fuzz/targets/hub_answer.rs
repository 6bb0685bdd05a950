//! What sources answer: the first byte says which kind of source, the rest is the answer.
#![no_main]

use fuzz::names::stays_inside;
use libfuzzer_sys::fuzz_target;
use model_loader::fuzzing::{Answer, planned};
use model_loader::name::check_together;

fuzz_target!(|data: &[u8]| {
    let Some((kind, body)) = data.split_first() else { return };
    let answer = match kind {
        b'h' => Answer::HuggingFace,
        b'o' => Answer::Oci,
        b'l' => Answer::Ollama,
        b's' => Answer::S3,
        _ => Answer::Url,
    };
    let plan = match planned(answer, body) {
        Ok(plan) => plan,
        Err(error) => {
            let message = error.failure().message;
            assert!(!message.is_empty() && !message.contains(char::is_control), "{message:?}");
            return;
        }
    };
    assert!(!plan.files.is_empty(), "a download of nothing");
    plan.files.iter().for_each(|file| stays_inside(&file.path));
    assert!(check_together(plan.files.iter().map(|file| &file.path)).is_ok(), "two files in one place");
    assert!(plan.bytes().is_none_or(|bytes| i64::try_from(bytes).is_ok()), "more bytes than there are");
    assert!(plan.files.is_sorted_by(|a, b| a.path < b.path));
});
