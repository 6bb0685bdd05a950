//! Runs one command: progress on standard output, logs and the human result on standard error.

use std::{
    convert::Infallible,
    fs,
    io::{self, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use model_core::{
    reason::Reason,
    report::{Outcome, Published},
};
use model_loader::{Error, Meter, Speed, plan, pull, verify};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Command, Pull, SourceArgs};

/// How often a line of progress is printed.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Runs the command and says what to exit with.
pub async fn run(command: Command) -> u8 {
    match command {
        Command::Pull(args) => run_pull(&args).await,
        Command::Plan(args) => run_plan(&args).await.unwrap_or_else(|error| report(&error)),
        Command::Verify { dir } => run_verify(&dir).unwrap_or_else(|error| report(&error)),
    }
}

async fn run_pull(args: &Pull) -> u8 {
    let meter = Meter::default();
    let mut speed = Speed::default();
    let result = tokio::select! {
        result = download(args, &meter) => result,
        never = print_progress(&meter, &mut speed) => match never {},
        error = stopped() => Err(error),
    };
    print_line(&meter, &mut speed);
    let (outcome, code) = match result {
        Ok(published) => {
            let Published { bytes, files, .. } = published;
            eprintln!("done: {files} files, {bytes} bytes in {}", args.to.display());
            (Outcome::Succeeded(published), 0)
        }
        Err(error) => (Outcome::Failed(error.failure()), report(&error)),
    };
    let written = args.termination_log.as_ref().map(|file| (file, fs::write(file, outcome.to_termination_message())));
    if let Some((file, Err(error))) = written {
        // The download is what counts: its result stands.
        tracing::error!(%error, "could not write the result to {}", file.display());
    }
    code
}

async fn download(args: &Pull, meter: &Meter) -> Result<Published, Error> {
    pull(&args.from.wanted()?, &args.to, &args.from.network()?, meter).await
}

/// Prints until the download ends.
async fn print_progress(meter: &Meter, speed: &mut Speed) -> Infallible {
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    loop {
        ticks.tick().await;
        print_line(meter, speed);
    }
}

/// A reader of standard output that went away is no reason to stop.
fn print_line(meter: &Meter, speed: &mut Speed) {
    let mut progress = meter.progress();
    progress.bytes_per_second = speed.at(Instant::now(), progress.downloaded_bytes);
    if let Ok(line) = serde_json::to_string(&progress) {
        let _ = writeln!(io::stdout(), "{line}");
    }
}

/// Waits for the request to stop.
async fn stopped() -> Error {
    let name = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        },
        _ => std::future::pending().await,
    };
    Error::new(Reason::DownloadFailed, format!("stopped by {name}; complete files are kept for the next run"))
}

async fn run_plan(args: &SourceArgs) -> Result<u8, Error> {
    let plan = plan(&args.wanted()?, &args.network()?).await?;
    let json = serde_json::to_string_pretty(&plan).unwrap_or_default();
    let _ = writeln!(io::stdout(), "{json}");
    Ok(0)
}

fn run_verify(dir: &Path) -> Result<u8, Error> {
    let verification = verify(dir)?;
    for fault in &verification.faults {
        let _ = writeln!(io::stdout(), "{fault}");
    }
    let (files, faults) = (verification.manifest.files.len(), verification.faults.len());
    eprintln!("{}: {files} files checked, {faults} faults", dir.display());
    Ok(if faults == 0 { 0 } else { 2 })
}

/// Prints the error for a person and gives its exit code.
fn report(error: &Error) -> u8 {
    let failure = error.failure();
    eprintln!("{}: {}", failure.reason, failure.message);
    // For wrong use the message itself says what to do; the advice is for operators.
    if failure.reason != Reason::WrongUse {
        eprintln!("what to do: {}", failure.reason.advice());
    }
    error.exit_code()
}
