//! The page that explains each reason.

use std::fmt::Write as _;

use model_core::pod_reason::PodReason;
use model_core::reason::Reason;

const HEAD: &str = "\
<!-- Made from model-core/src/reason.rs and pod_reason.rs: cargo run -p model-core --example reasons > docs/reasons.md -->
# Reasons

One word says why a Model is in its state. It stands as `reason` in the conditions of `kubectl describe model NAME`, in its Events, in
`status.download.lastFailure` and in `kubectl model why NAME`; the message beside it names the thing at fault.

- **Warning** reasons come as Events of that type: something is wrong. The others only tell what goes on.
- A failed download whose reason is marked *for good* is not tried again by itself: it waits for a new spec, for `kubectl model refresh NAME`, or
  for `kubectl model retry NAME` (which deletes the failed Job). All others are: within the Job up to three times, then after an hour, two, four, … at most a day.
- `NAME` stands for the Model's name.

| reason | means | what to do |
|---|---|---|
";

const PODS: &str = "
## Of pods

What is told about pods that ask for Models, and what `kubectl` prints when something is refused. The webhook counts refusals by the same words.

| reason | where | means | what to do |
|---|---|---|---|
";

/// The whole page, Markdown.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for reason in Reason::ALL {
        let (meaning, advice) = (reason.meaning(), to_do(reason.advice()));
        let kind = match (reason.is_trouble(), reason.is_permanent()) {
            (_, true) => "<br>Warning, for good",
            (true, false) => "<br>Warning",
            (false, false) => "",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{reason}`{kind} | {} | {} |", cell(meaning), cell(advice));
    }
    page.push_str(PODS);
    for reason in PodReason::ALL {
        let (place, meaning, advice) = (reason.place(), reason.meaning(), to_do(reason.advice()));
        let _ = writeln!(page, "| `{reason}` | {place} | {} | {} |", cell(meaning), cell(advice));
    }
    page
}

fn to_do(advice: &str) -> &str {
    if advice.is_empty() { "nothing" } else { advice }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
