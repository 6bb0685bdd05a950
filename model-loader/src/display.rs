//! Shows how far a download is: lines of JSON on standard output, on a terminal a bar.
//!
//! It has a thread of its own, as all threads of the runtime may be waiting for a disk.

use std::{
    io::{self, IsTerminal as _, Write},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use model_core::report::Progress;
use model_loader::{Meter, Speed, Totals};
use serde::Serialize;

use crate::console::Console;

/// How often a line of progress is printed.
const LINE_EVERY: Duration = Duration::from_secs(2);
/// How often the bar is drawn.
const BAR_EVERY: Duration = Duration::from_millis(100);

/// What is shown.
#[derive(Clone, Debug)]
struct View {
    meter: Meter,
    bar: Option<Console>,
    lines: bool,
    /// Whether speed is that of what is read here, and not of what is received.
    checks: bool,
}

/// A meter that is shown until [`Display::end`].
#[derive(Debug)]
pub struct Display {
    view: View,
    /// Dropping it ends the thread.
    running: Sender<()>,
    /// `None` where no thread could be had: then only the last line is printed.
    thread: Option<JoinHandle<Speed>>,
}

/// The last line on standard output.
#[derive(Debug, Serialize)]
struct LastLine {
    #[serde(flatten)]
    progress: Progress,
    totals: Totals,
}

impl Display {
    /// A bar where standard error is a terminal. `lines`: and progress for programs on standard output, unless both are
    /// the same terminal.
    pub fn start(meter: Meter, console: &Console, lines: bool) -> Self {
        Self::begin(meter, console, lines, false)
    }

    /// The same for a check of what is there, which receives nothing.
    pub fn start_check(meter: Meter, console: &Console, lines: bool) -> Self {
        Self::begin(meter, console, lines, true)
    }

    fn begin(meter: Meter, console: &Console, lines: bool, checks: bool) -> Self {
        let bar = Console::is_terminal().then(|| console.clone());
        let lines = lines && !(bar.is_some() && io::stdout().is_terminal());
        let view = View { meter, bar, lines, checks };
        let (running, until) = mpsc::channel();
        let shown = view.clone();
        let show =
            move || shown.show(&mut io::stdout(), |pause| until.recv_timeout(pause) == Err(RecvTimeoutError::Timeout));
        let thread = thread::Builder::new().name("progress".to_owned()).spawn(show).ok();
        Self { view, running, thread }
    }

    /// Takes the bar away and prints the last line.
    pub fn end(self) {
        drop(self.running);
        let mut speed = self.thread.and_then(|thread| thread.join().ok()).unwrap_or_default();
        if let Some(console) = &self.view.bar {
            console.end_bar();
        }
        if self.view.lines {
            let last = LastLine { progress: self.view.progress(&mut speed), totals: self.view.meter.totals() };
            print_line(&mut io::stdout(), &last);
        }
    }
}

impl View {
    /// Shows the meter as long as `goes_on` says so after each pause.
    fn show(&self, out: &mut impl Write, goes_on: impl Fn(Duration) -> bool) -> Speed {
        let mut speed = Speed::default();
        let mut next_line = Instant::now();
        if let Some(console) = &self.bar {
            console.begin_bar();
        }
        loop {
            if let Some(console) = &self.bar {
                console.draw_bar(&self.meter);
            }
            if self.lines && Instant::now() >= next_line {
                print_line(out, &self.progress(&mut speed));
                next_line = Instant::now() + LINE_EVERY;
            }
            if !goes_on(if self.bar.is_some() { BAR_EVERY } else { LINE_EVERY }) {
                return speed;
            }
        }
    }

    fn progress(&self, speed: &mut Speed) -> Progress {
        let mut progress = self.meter.progress();
        // Not what an earlier run has left: that came in no time.
        let moved = if self.checks { progress.downloaded_bytes } else { self.meter.totals().received_bytes };
        progress.bytes_per_second = speed.at(Instant::now(), moved);
        progress
    }
}

/// A reader that went away is no reason to stop.
fn print_line(out: &mut impl Write, line: &impl Serialize) {
    if let Ok(text) = serde_json::to_string(line) {
        let _ = writeln!(out, "{text}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use super::*;

    #[test]
    fn lines_go_on_while_every_thread_of_the_runtime_waits_for_a_disk() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (disk, waits) = mpsc::channel::<()>();
        let waits = Arc::new(std::sync::Mutex::new(waits));
        let blocked = Arc::new(AtomicUsize::new(0));
        for _ in 0..2 {
            let (waits, blocked) = (waits.clone(), blocked.clone());
            runtime.spawn(async move {
                blocked.fetch_add(1, SeqCst);
                let _ = waits.lock().map(|waits| waits.recv());
            });
        }
        while blocked.load(SeqCst) < 2 {
            thread::yield_now();
        }
        let view = View { meter: Meter::default(), bar: None, lines: true, checks: false };
        let (printed, lines) = mpsc::channel();
        let shown = thread::spawn(move || {
            let looks = AtomicUsize::new(0);
            view.show(&mut Lines(printed), |pause| {
                thread::sleep(pause);
                looks.fetch_add(1, SeqCst) < 2
            })
        });
        let text: String = lines.iter().collect();
        shown.join().unwrap();
        assert_eq!(text.lines().filter_map(Progress::parse).count(), 3, "{text}");
        drop(disk);
    }

    struct Lines(Sender<String>);

    impl Write for Lines {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(String::from_utf8_lossy(text).into_owned());
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_last_line_is_a_line_of_progress_with_totals() {
        let meter = Meter::default();
        let last = LastLine { progress: meter.progress(), totals: meter.totals() };
        let mut text = Vec::new();
        print_line(&mut text, &last);
        let text = String::from_utf8(text).unwrap();
        assert_eq!(Progress::parse(&text), Some(last.progress));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["totals"]["receivedBytes"], 0);
    }
}
