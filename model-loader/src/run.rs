//! Runs one command: progress on standard output, logs and the human result on standard error.

use std::{
    io::{self, Write as _},
    panic::{self, AssertUnwindSafe},
    time::{Duration, Instant},
};

use indicatif::BinaryBytes;
use model_core::{
    reason::Reason,
    report::{Outcome, Planned, Published},
};
use model_loader::{
    Error, Meter, Network, Pruning, Totals, Verification, manifest::Manifest, plan, prune, pull, recheck, verify,
};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    cli::{Command, Plan, Prune, Pull, Verify},
    console::Console,
    display::Display,
    outcome,
};

/// Runs the command and says what to exit with.
pub fn run(command: Command, console: &Console) -> u8 {
    match command {
        Command::Pull(args) => run_pull(&args, console),
        Command::Plan(args) => run_plan(&args, console),
        Command::Prune(args) => run_prune(args, console),
        Command::Verify(args) => run_verify(&args, console),
    }
}

fn run_pull(args: &Pull, console: &Console) -> u8 {
    let meter = Meter::default();
    let begun = Instant::now();
    let display = Display::start(meter.clone(), console, true);
    let result = block_on(async {
        tokio::select! {
            result = download(args, &meter) => result,
            error = stopped("; complete files are kept for the next run") => Err(error),
        }
    });
    display.end();
    let (outcome, code) = match result {
        Ok(published) => {
            let took = took(&published, &meter.totals(), begun.elapsed());
            console.say(&format!("done: {took}; {}", args.to.display()));
            (Outcome::Succeeded(published), 0)
        }
        Err(error) => (Outcome::Failed(error.failure()), report(&error, console)),
    };
    outcome::leave(args.termination_log.as_deref(), &outcome);
    code
}

async fn download(args: &Pull, meter: &Meter) -> Result<Published, Error> {
    let network = Network { buffers: args.buffers << 20, ..args.from.network()? };
    let wanted = args.from.wanted()?;
    if args.recheck && Manifest::read(&args.to)?.is_some() {
        let (dir, counted) = (args.to.clone(), meter.clone());
        tokio::task::spawn_blocking(move || recheck(&dir, &counted)).await.map_err(Error::task)??;
        // What is there counts once.
        return pull(&wanted, &args.to, &network, &Meter::default()).await;
    }
    pull(&wanted, &args.to, &network, meter).await
}

fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let failed =
        |error| Error::new(Reason::DownloadFailed, "could not start the threads of the download").caused_by(error);
    let runtime = Runtime::new().map_err(failed)?;
    let result = panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(work)));
    // Does not wait for what hangs at a dead volume or a silent name server, as dropping it would.
    runtime.shutdown_background();
    result.unwrap_or_else(|panic| panic::resume_unwind(panic))
}

/// What was downloaded and what it took, for a person.
fn took(published: &Published, totals: &Totals, elapsed: Duration) -> String {
    let Published { bytes, files, unverified_files, .. } = *published;
    let verified = match unverified_files {
        0 => "all verified".to_owned(),
        some => format!("{some} of them not verified, as the source gives no digest"),
    };
    let Totals { received_bytes, received_again_bytes, fetch_seconds, .. } = *totals;
    let millis = Duration::try_from_secs_f64(fetch_seconds).unwrap_or_default().as_millis().max(1);
    let received = match (received_bytes, u64::try_from(u128::from(received_bytes) * 1000 / millis)) {
        (1.., Ok(speed)) => format!("; {} received at {}/s", BinaryBytes(received_bytes), BinaryBytes(speed)),
        _ => String::new(),
    };
    let again = match received_again_bytes {
        0 => String::new(),
        bytes => format!(", {} of them again", BinaryBytes(bytes)),
    };
    let (bytes, seconds) = (BinaryBytes(bytes), elapsed.as_secs_f64());
    format!("{files} files, {bytes} in {seconds:.1} s, {verified}{received}{again}")
}

/// Waits for the request to stop. `remark` ends the message.
async fn stopped(remark: &str) -> Error {
    let name = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        },
        _ => std::future::pending().await,
    };
    Error::new(Reason::DownloadFailed, format!("stopped by {name}{remark}"))
}

fn run_plan(args: &Plan, console: &Console) -> u8 {
    let result = block_on(async {
        let (wanted, network) = (args.from.wanted()?, args.from.network()?);
        tokio::select! {
            result = plan(&wanted, &network) => result,
            error = stopped("") => Err(error),
        }
    });
    let (outcome, code) = match result {
        Ok(plan) => {
            let json = serde_json::to_string_pretty(&plan).unwrap_or_default();
            let _ = writeln!(io::stdout(), "{json}");
            let (bytes, files) = (plan.bytes(), plan.files.len() as u64);
            let model_loader::Plan { resolved_revision, listing, .. } = plan;
            (Outcome::Planned(Planned { resolved_revision, listing, bytes, files }), 0)
        }
        Err(error) => (Outcome::Failed(error.failure()), report(&error, console)),
    };
    outcome::leave(args.termination_log.as_deref(), &outcome);
    code
}

fn run_prune(args: Prune, console: &Console) -> u8 {
    let Prune { dir, set_aside, put_back, delete, termination_log } = args;
    let Err(error) = prune(&dir, &Pruning { set_aside, put_back, delete }) else { return 0 };
    outcome::leave(termination_log.as_deref(), &Outcome::Failed(error.failure()));
    report(&error, console)
}

fn run_verify(args: &Verify, console: &Console) -> u8 {
    let meter = Meter::default();
    let display = Display::start_check(meter.clone(), console, args.json);
    let result = verify(&args.dir, &meter);
    display.end();
    let (outcome, code) = match result {
        Ok(verification) => {
            print_files(&verification, args.json);
            let (files, faults) = (verification.manifest.files.len(), verification.faults.len());
            let verified = BinaryBytes(meter.totals().verified_bytes);
            let dir = args.dir.display();
            console.say(&format!("{dir}: {files} files checked, {verified} as published, {faults} faults"));
            (Outcome::Verified(verification.report()), if faults == 0 { 0 } else { 2 })
        }
        Err(error) => (Outcome::Failed(error.failure()), report(&error, console)),
    };
    outcome::leave(args.termination_log.as_deref(), &outcome);
    code
}

/// Every file as a line of JSON, or the faults for a person.
fn print_files(verification: &Verification, json: bool) {
    let mut out = io::stdout().lock();
    if json {
        for file in verification.checked_files() {
            let _ = writeln!(out, "{}", serde_json::to_string(&file).unwrap_or_default());
        }
    } else {
        for fault in &verification.faults {
            let _ = writeln!(out, "{fault}");
        }
    }
}

/// Prints the error for a person and gives its exit code.
fn report(error: &Error, console: &Console) -> u8 {
    let failure = error.failure();
    console.say(&format!("{}: {}", failure.reason, failure.message));
    // For wrong use the message itself says what to do; the advice is for operators.
    if failure.reason != Reason::WrongUse {
        console.say(&format!("what to do: {}", failure.reason.advice()));
    }
    error.exit_code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_says_what_it_took() {
        let published = Published { bytes: 3 << 30, files: 12, ..Published::default() };
        let second = Duration::from_secs(2);
        assert_eq!(took(&published, &Totals::default(), second), "12 files, 3.00 GiB in 2.0 s, all verified");
        let totals =
            Totals { received_bytes: 1 << 30, received_again_bytes: 1 << 20, fetch_seconds: 2.0, ..Totals::default() };
        let published = Published { unverified_files: 1, ..published };
        let want = "12 files, 3.00 GiB in 2.0 s, 1 of them not verified, as the source gives no digest; \
                    1.00 GiB received at 512.00 MiB/s, 1.00 MiB of them again";
        assert_eq!(took(&published, &totals, second), want);
    }
}
