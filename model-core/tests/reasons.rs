//! `docs/reasons.md` explains every reason, in the words of the code.

#[path = "../examples/reasons/page.rs"]
mod page;

use model_core::pod_reason::PodReason;
use model_core::reason::Reason;

#[test]
fn the_page_of_reasons_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reasons.md");
    let written = std::fs::read_to_string(path).unwrap();
    assert!(written == page::page(), "cargo run -p model-core --example reasons > docs/reasons.md");
}

#[test]
fn every_reason_has_a_meaning_and_every_trouble_an_advice() {
    for reason in Reason::ALL {
        assert!(reason.meaning().ends_with('.'), "{reason}: {}", reason.meaning());
        assert!(!reason.is_trouble() || !reason.advice().is_empty(), "{reason}");
    }
    for reason in PodReason::ALL {
        assert!(reason.meaning().ends_with('.'), "{reason}: {}", reason.meaning());
        assert!(!reason.advice().is_empty() || *reason == PodReason::ModelsReady, "{reason}");
    }
}
