//! The `Range` header, RFC 9110 section 14.

use std::ops::Range;

/// What part of a file an answer holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it. Also for a header that is not understood, which the RFC lets a server ignore.
    Whole,
    /// These bytes.
    Bytes(Range<u64>),
    /// Nothing: the range begins behind the end.
    Unsatisfiable,
}

/// Reads a `Range` header for a file of `size` bytes.
pub fn part(header: Option<&str>, size: u64) -> Part {
    header.and_then(|value| single(value, size)).unwrap_or(Part::Whole)
}

/// `None` if it is not a single range of bytes.
fn single(value: &str, size: u64) -> Option<Part> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    let range = if first.is_empty() {
        size.saturating_sub(last.parse().ok()?)..size
    } else {
        let first: u64 = first.parse().ok()?;
        let end = if last.is_empty() { size } else { last.parse::<u64>().ok()?.saturating_add(1).min(size) };
        if !last.is_empty() && last.parse::<u64>().ok()? < first {
            return None;
        }
        first..end
    };
    Some(if range.start < range.end { Part::Bytes(range) } else { Part::Unsatisfiable })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_the_rfc() {
        for (name, header, expected) in [
            ("none", None, Part::Whole),
            ("first bytes", Some("bytes=0-3"), Part::Bytes(0..4)),
            ("to the end", Some("bytes=4-"), Part::Bytes(4..10)),
            ("past the end", Some("bytes=8-99"), Part::Bytes(8..10)),
            ("last bytes", Some("bytes=-3"), Part::Bytes(7..10)),
            ("more last bytes than there are", Some("bytes=-30"), Part::Bytes(0..10)),
            ("behind the end", Some("bytes=10-"), Part::Unsatisfiable),
            ("no last bytes", Some("bytes=-0"), Part::Unsatisfiable),
            ("backwards", Some("bytes=5-4"), Part::Whole),
            ("two ranges", Some("bytes=0-1,3-4"), Part::Whole),
            ("another unit", Some("lines=0-1"), Part::Whole),
            ("nonsense", Some("bytes=a-b"), Part::Whole),
            ("the largest number", Some("bytes=0-18446744073709551615"), Part::Bytes(0..10)),
        ] {
            assert_eq!(part(header, 10), expected, "{name}");
        }
    }
}
