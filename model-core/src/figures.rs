//! Figures for people: sizes, speeds, times.

use jiff::Timestamp;

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A number of bytes with a unit: `512 B`, `1.5 GiB`. Negative ones, which nobody writes, count as 0.
#[must_use]
pub fn bytes(count: i64) -> String {
    let mut unit = 0;
    let mut shown = u64::try_from(count).unwrap_or(0);
    // Tenths of a unit, cut, so that 1023.99 KiB never reads as 1024.
    let mut tenths = 0;
    while shown >= 1024 {
        tenths = (shown % 1024) * 10 / 1024;
        shown /= 1024;
        unit += 1;
    }
    let name = UNITS[unit];
    if unit == 0 { format!("{shown} {name}") } else { format!("{shown}.{tenths} {name}") }
}

/// A time span in its two largest units: `45s`, `12m5s`, `3h20m`, `2d4h`.
#[must_use]
pub fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{small_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => two(minutes, "m", seconds % 60, "s"),
        3600..86_400 => two(hours, "h", minutes % 60, "m"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// How long ago, or `-` where the time is not known.
#[must_use]
pub fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    since.map_or_else(|| "-".to_owned(), |since| span(now.duration_since(since).as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_never_too_large() {
        let sizes = [-1, 0, 1023, 1024, 1536, (1 << 20) - 1, 20 << 30, i64::MAX].map(bytes);
        assert_eq!(sizes, ["0 B", "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1023.9 KiB", "20.0 GiB", "7.9 EiB"]);
        let spans = [-5, 0, 59, 60, 125, 3600, 12_000, 86_400, 187_200].map(span);
        assert_eq!(spans, ["0s", "0s", "59s", "1m", "2m5s", "1h", "3h20m", "1d", "2d4h"]);
    }
}
