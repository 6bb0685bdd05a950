//! How far a download is: percent, and one line for people.

use crate::api::{DownloadStatus, Phase};
use crate::figures::{bytes, span};

/// 100 once content is published; before, the share of the wanted bytes that is there, never 100.
pub(super) fn percent(phase: Phase, download: Option<&DownloadStatus>, wanted: &str) -> i32 {
    if phase == Phase::Ready {
        return 100;
    }
    let Some(download) = download.filter(|download| download.id == wanted) else { return 0 };
    share(download).unwrap_or(0)
}

/// Whole percent of the bytes, never 100: the last one is there when all is verified. `None` where it cannot be told.
fn share(download: &DownloadStatus) -> Option<i32> {
    let total = download.total_bytes.filter(|total| *total > 0)?;
    let there = download.downloaded_bytes?.clamp(0, total);
    let percent = i128::from(there) * 100 / i128::from(total);
    Some(i32::try_from(percent).unwrap_or(0).min(99))
}

/// A running download in one line: share, bytes, speed, time left, attempt; each where it is known.
pub(super) fn text(download: &DownloadStatus) -> String {
    let mut parts = Vec::new();
    match (share(download), download.downloaded_bytes, download.total_bytes) {
        (Some(percent), Some(there), Some(total)) => {
            parts.push(format!("{percent} %, {} of {}", bytes(there), bytes(total)));
        }
        (_, Some(there), _) => parts.push(bytes(there)),
        (..) => {}
    }
    parts.extend(download.bytes_per_second.map(|speed| format!("{}/s", bytes(speed))));
    parts.extend(download.eta_seconds.map(|seconds| format!("{} left", span(seconds))));
    if download.attempt > 1 {
        let after = download.last_failure.as_ref().map_or_else(String::new, |last| format!(" after {}", last.reason));
        parts.push(format!("attempt {}{after}", download.attempt));
    }
    if parts.is_empty() { "downloading".to_owned() } else { format!("downloading: {}", parts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::LastFailure;
    use crate::reason::Reason;

    #[test]
    fn a_line_says_what_is_known() {
        let mut download = DownloadStatus { attempt: 1, ..DownloadStatus::default() };
        assert_eq!(text(&download), "downloading");
        download.downloaded_bytes = Some(1 << 30);
        download.bytes_per_second = Some(35 << 20);
        assert_eq!(text(&download), "downloading: 1.0 GiB, 35.0 MiB/s");
        download.total_bytes = Some(5 << 29);
        download.eta_seconds = Some(125);
        assert_eq!(text(&download), "downloading: 40 %, 1.0 GiB of 2.5 GiB, 35.0 MiB/s, 2m5s left");
        let at = Time(Timestamp::UNIX_EPOCH);
        download.last_failure = Some(LastFailure { reason: Reason::NetworkError, message: String::new(), at });
        download.attempt = 2;
        assert!(text(&download).ends_with(", 2m5s left, attempt 2 after NetworkError"));
    }
}
