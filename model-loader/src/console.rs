//! Standard error: log lines, what is said to people, and on a terminal a bar below them.

use std::{
    env,
    io::{self, IsTerminal as _, Write},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use model_loader::Meter;

/// As long as, or where, it is not known how much there is.
const UNKNOWN: &str = "{spinner} {binary_bytes}, {binary_bytes_per_sec}, {msg}";
const KNOWN: &str =
    "[{wide_bar}] {percent}% {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, ETA {eta}, {msg}";

/// The one way to standard error. Whatever is printed by way of it goes above the bar.
///
/// Nothing here fails: a standard error that is closed or full is no reason to stop.
#[derive(Clone, Debug)]
pub struct Console {
    bar: ProgressBar,
}

impl Default for Console {
    /// Without a bar.
    fn default() -> Self {
        Self { bar: ProgressBar::hidden() }
    }
}

impl Console {
    /// Whether a bar can be drawn there.
    pub fn is_terminal() -> bool {
        io::stderr().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// Prints a line.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| {
            let _ = writeln!(io::stderr(), "{line}");
        });
    }

    /// Begins to draw the bar.
    pub fn begin_bar(&self) {
        self.bar.set_style(style(UNKNOWN));
        self.bar.set_message("asking the source");
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
    }

    /// Draws the bar as the meter stands now.
    pub fn draw_bar(&self, meter: &Meter) {
        let now = meter.progress();
        if let (None, Some(total)) = (self.bar.length(), now.total_bytes) {
            self.bar.set_length(total);
            self.bar.set_position(now.downloaded_bytes);
            // What was there before was not that fast.
            self.bar.reset_eta();
            self.bar.set_style(style(KNOWN));
        }
        self.bar.set_position(now.downloaded_bytes);
        if let Some(total) = now.total_files {
            self.bar.set_message(format!("{}/{total} files", now.files));
        }
        self.bar.tick();
    }

    /// Takes the bar away.
    pub fn end_bar(&self) {
        self.bar.finish_and_clear();
    }
}

impl Write for Console {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.bar.suspend(|| {
            let _ = io::stderr().write_all(text);
        });
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for template in [UNKNOWN, KNOWN] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
