//! How large a claim has to be for what a source has.

use crate::reason::Reason;
use crate::report::Failure;

/// Each file takes whole blocks of the file system.
const BLOCK: u128 = 4096;

/// Copies that a claim without a size of its own has room for: newer content is downloaded beside what pods mount.
const COPIES: u128 = 2;

/// What a file system keeps for itself, in percent of the content: ext4 holds back 5 % for root and up to 2 % for its
/// tables.
const OVERHEAD_PERCENT: u128 = 10;

/// The same for small claims: journal, and what the loader writes about a download.
const OVERHEAD_BYTES: u128 = 64 << 20;

const GIB: u128 = 1 << 30;

/// What a source has, as far as sizes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Bytes of all files. `None` where the source does not tell before it sends.
    pub bytes: Option<u64>,
    /// Number of files.
    pub files: u64,
}

impl Wanted {
    /// Bytes that one copy takes on a volume, at least.
    fn least(self) -> Option<u128> {
        Some(u128::from(self.bytes?) + u128::from(self.files) * BLOCK)
    }

    /// The size of a claim that has room for this and, beside it, for a newer revision of the same size: twice the bytes,
    /// 10 % and 64 MiB for the file system, in whole GiB. `None` where the bytes are not known.
    #[must_use]
    pub fn suggested(self) -> Option<String> {
        let content = COPIES * self.least()?;
        let bytes = content + content * OVERHEAD_PERCENT / 100 + OVERHEAD_BYTES;
        Some(format!("{}Gi", bytes.div_ceil(GIB)))
    }

    /// The size that the claim gets: the one that the spec asks for, else the suggested one.
    ///
    /// # Errors
    /// The size of the spec cannot hold even one copy ([`Reason::StorageTooSmall`]), or neither spec nor source tells one
    /// ([`Reason::SizeUnknown`]).
    pub fn claim_size(self, asked: Option<&str>) -> Result<String, Failure> {
        let Some(asked) = asked else {
            return self.suggested().ok_or_else(|| Failure {
                reason: Reason::SizeUnknown,
                message: "the source does not tell how large the model is before it sends it".to_owned(),
            });
        };
        match (quantity(asked), self.least(), self.suggested()) {
            (Some(size), Some(least), Some(suggested)) if size < least => {
                let mebibytes = least.div_ceil(1 << 20);
                let message = format!(
                    "spec.storage.size is {asked}, but the model needs at least {mebibytes}Mi; {suggested} leaves room for a newer revision beside it"
                );
                Err(Failure { reason: Reason::StorageTooSmall, message })
            }
            _ => Ok(asked.to_owned()),
        }
    }
}

/// The bytes of a Kubernetes quantity, such as `1.5Gi`, `20G`, `1e9` or `500m`, rounded up. `None` for anything else.
#[must_use]
pub fn quantity(text: &str) -> Option<u128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let power = |base: u128, exponent: u32| base.checked_pow(exponent);
    let rank = |unit: &str| u32::try_from("kMGTPE".find(unit)?).ok()?.checked_add(1);
    let (times, divided) = match suffix {
        "" => (1, 1),
        "m" => (1, 1000),
        "Ki" => (1024, 1),
        "k" | "M" | "G" | "T" | "P" | "E" => (power(1000, rank(suffix)?)?, 1),
        "Mi" | "Gi" | "Ti" | "Pi" | "Ei" => (power(1024, rank(suffix.trim_end_matches('i'))?)?, 1),
        exponent => (power(10, exponent.strip_prefix(['e', 'E'])?.parse().ok()?)?, 1),
    };
    let divided: u128 = power(10, u32::try_from(fraction.len()).ok()?)?.checked_mul(divided)?;
    Some(digits.checked_mul(times)?.div_ceil(divided))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_does() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("1024", Some(1024)),
            ("64Mi", Some(64 << 20)),
            ("20Gi", Some(20 << 30)),
            ("1.5Ti", Some(3 << 39)),
            ("20G", Some(20_000_000_000)),
            ("1k", Some(1000)),
            ("1Ki", Some(1024)),
            ("2E", Some(2_000_000_000_000_000_000)),
            ("2Ei", Some(2 << 60)),
            ("1e3", Some(1000)),
            ("1E3", Some(1000)),
            ("1500m", Some(2)),
            ("0.1", Some(1)),
            ("", None),
            ("Gi", None),
            ("1K", None),
            ("1 Gi", None),
            ("-1", None),
            ("1.2.3", None),
            ("1e99", None),
        ] {
            assert_eq!(quantity(text), bytes, "{text}");
        }
    }

    #[test]
    fn a_claim_has_room_for_a_second_copy() {
        let size = |bytes, files| Wanted { bytes, files }.suggested();
        assert_eq!(size(Some(0), 0).as_deref(), Some("1Gi"));
        assert_eq!(size(Some(1 << 20), 1).as_deref(), Some("1Gi"));
        assert_eq!(size(Some(16 << 30), 10).as_deref(), Some("36Gi"));
        assert_eq!(size(Some(140_000_000_000), 40).as_deref(), Some("287Gi"));
        assert_eq!(size(None, 1), None);
    }

    #[test]
    fn a_size_that_cannot_hold_one_copy_is_refused_with_figures() {
        let wanted = Wanted { bytes: Some(16 << 30), files: 10 };
        assert_eq!(wanted.claim_size(Some("20Gi")).as_deref(), Ok("20Gi"));
        assert_eq!(wanted.claim_size(None).as_deref(), Ok("36Gi"));
        let small = wanted.claim_size(Some("16Gi")).unwrap_err();
        assert_eq!(small.reason, Reason::StorageTooSmall);
        assert!(small.message.contains("at least 16385Mi") && small.message.contains("36Gi"), "{}", small.message);
        let unknown = Wanted { bytes: None, files: 1 };
        assert_eq!(unknown.claim_size(Some("1Gi")).as_deref(), Ok("1Gi"));
        assert_eq!(unknown.claim_size(None).unwrap_err().reason, Reason::SizeUnknown);
    }

    proptest! {
        #[test]
        fn what_is_suggested_is_always_enough(bytes: u64, files in 0_u64..10_000_000) {
            let wanted = Wanted { bytes: Some(bytes), files };
            let suggested = wanted.suggested().unwrap();
            prop_assert_eq!(wanted.claim_size(Some(&suggested)), Ok(suggested.clone()));
            prop_assert!(quantity(&suggested).unwrap() >= 2 * (u128::from(bytes) + u128::from(files) * BLOCK));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}", digits in "[0-9]{1,40}(\\.[0-9]{1,40})?([EPTGMk]i?|[eE][0-9]{1,12})?") {
            let _ = (quantity(&text), quantity(&digits));
        }
    }
}
