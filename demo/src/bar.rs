//! A download as a bar: redrawn in place on a terminal, a line for each tenth elsewhere.

use std::io::{IsTerminal, Write, stdout};

use model_core::api::ModelStatus;

/// Width of the bar in characters.
const WIDTH: usize = 40;

/// The bar of one download.
#[derive(Default)]
pub struct Bar {
    last: Option<String>,
    last_tenth: Option<i32>,
}

impl Bar {
    /// Shows where the download stands, if that is news.
    pub fn show(&mut self, status: &ModelStatus) {
        let percent = status.progress.unwrap_or(0);
        let line = line(status, percent);
        if stdout().is_terminal() {
            if self.last.as_ref() != Some(&line) {
                print!("\r\x1b[K      {line}");
                let _ = stdout().flush();
            }
        } else if self.last_tenth != Some(percent / 10) {
            println!("      {line}");
        }
        self.last_tenth = Some(percent / 10);
        self.last = Some(line);
    }

    /// Ends the line of the bar, if one was begun.
    pub fn end(self) {
        if self.last.is_some() && stdout().is_terminal() {
            println!();
        }
    }
}

fn line(status: &ModelStatus, percent: i32) -> String {
    let phase = status.phase.unwrap_or_default().as_str();
    let filled = usize::try_from(percent).unwrap_or(0).min(100) * WIDTH / 100;
    let bar = format!("{}{}", "#".repeat(filled), ".".repeat(WIDTH - filled));
    let download = status.download.clone().unwrap_or_default();
    let bytes = match (download.downloaded_bytes, download.total_bytes) {
        (Some(there), Some(total)) => format!("{} of {}", megabytes(there), megabytes(total)),
        _ => String::new(),
    };
    let speed = download.bytes_per_second.filter(|speed| *speed > 0);
    let speed = speed.map(|speed| format!(", {} a second", megabytes(speed))).unwrap_or_default();
    format!("{phase:<11} [{bar}] {percent:>3} %  {bytes}{speed}")
}

fn megabytes(bytes: i64) -> String {
    // A hundred bytes more or less do not show.
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

#[cfg(test)]
mod tests {
    use model_core::api::{DownloadStatus, Phase};

    use super::*;

    #[test]
    fn a_bar_says_phase_share_bytes_and_speed() {
        let mut download = DownloadStatus::default();
        (download.downloaded_bytes, download.total_bytes) = (Some(45_000_000), Some(90_000_000));
        download.bytes_per_second = Some(12_340_000);
        let mut status = ModelStatus::default();
        (status.phase, status.download) = (Some(Phase::Downloading), Some(download));
        assert_eq!(
            line(&status, 50),
            "Downloading [####################....................]  50 %  45.0 MB of 90.0 MB, 12.3 MB a second"
        );
        assert_eq!(line(&ModelStatus::default(), 0), format!("Pending     [{}]   0 %  ", ".".repeat(WIDTH)));
    }
}
