//! The result that a container leaves in its termination message, however it ends.

use std::{fs, panic, path::Path};

use model_core::{
    reason::Reason,
    report::{Failure, Outcome},
};

/// Writes the result, where there is a place for it.
pub fn leave(file: Option<&Path>, outcome: &Outcome) {
    let written = file.map(|file| (file, fs::write(file, outcome.to_termination_message())));
    if let Some((file, Err(error))) = written {
        // The download is what counts: its result stands.
        tracing::error!(%error, "could not write the result to {}", file.display());
    }
}

/// Writes a result at every panic of any thread from now on. If the run goes on all the same, its own result replaces it.
pub fn leave_at_panic(file: Option<&Path>) {
    let Some(file) = file.map(Path::to_owned) else { return };
    let shown = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        shown(info);
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref().map(String::as_str));
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let message = format!("the loader has met a fault of its own at {place}: {}", text.unwrap_or("no message"));
        let failure = Failure { reason: Reason::DownloadFailed, message };
        // Nothing is logged: the fault may be one of logging.
        let _ = fs::write(&file, Outcome::Failed(failure).to_termination_message());
    }));
}
