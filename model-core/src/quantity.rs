//! Amounts as Kubernetes writes them: `20Gi`, `1.5T`, `500m`, `1e3`.

/// The amount in thousandths of its unit. `None` where the text is none, or the amount does not fit.
#[must_use]
pub fn thousandths(text: &str) -> Option<u128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    // What is smaller than a thousandth counts as one, as it does in Kubernetes.
    Some(digits.checked_mul(multiplier(suffix)?)?.div_ceil(scale))
}

/// One of the suffix, in thousandths.
fn multiplier(suffix: &str) -> Option<u128> {
    const DECIMAL: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let place = |all: &[&str]| all.iter().position(|known| *known == suffix).and_then(|at| u32::try_from(at).ok());
    if suffix == "m" {
        return Some(1);
    }
    if let Some(power) = place(&DECIMAL) {
        return Some(1000 * 1000_u128.pow(power));
    }
    if let Some(power) = place(&BINARY) {
        return Some(1000 * 1024_u128.pow(power + 1));
    }
    let exponent: u32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    10_u128.checked_pow(exponent)?.checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::thousandths;

    #[test]
    fn amounts_are_read_as_kubernetes_reads_them() {
        let bytes = |text| thousandths(text).map(|amount| amount / 1000);
        for (text, want) in [
            ("0", Some(0)),
            ("20480Mi", Some(20 << 30)),
            ("20Gi", Some(20 << 30)),
            ("1.5Ki", Some(1536)),
            ("1k", Some(1000)),
            ("1.5T", Some(1_500_000_000_000)),
            ("2E", Some(2_000_000_000_000_000_000)),
            ("1e3", Some(1000)),
            ("1E3", Some(1000)),
            ("2500m", Some(2)),
            ("", None),
            (".", None),
            ("Gi", None),
            ("1.2.3", None),
            ("1KiB", None),
            ("-1", None),
            ("1e400", None),
            ("99999999999999999999999999999999999999999Ei", None),
        ] {
            assert_eq!(bytes(text), want, "{text}");
        }
        assert_eq!(thousandths("0.0001"), Some(1));
    }
}
