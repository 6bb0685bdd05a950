//! When a certificate ends: the one field of X.509 that nothing else here reads.
//!
//! RFC 5280: `Certificate = { { [version], serial, algorithm, issuer, { notBefore, notAfter }, … }, … }`, all in DER.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of a certificate in DER. `None`: it is no certificate.
pub(crate) fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (SEQUENCE, certificate, _) = element(certificate)? else { return None };
    let (SEQUENCE, mut fields, _) = element(certificate)? else { return None };
    if let (VERSION, _, rest) = element(fields)? {
        fields = rest;
    }
    for _serial_algorithm_issuer in 0..3 {
        fields = element(fields)?.2;
    }
    let (SEQUENCE, validity, _) = element(fields)? else { return None };
    let (_, _, rest) = element(validity)?;
    let (kind, text, _) = element(rest)?;
    time(kind, std::str::from_utf8(text).ok()?)
}

/// The first element: its kind, its content, and what comes behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[kind, length], rest) = der.split_first_chunk()?;
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        // So many bytes hold the length. Four of them are 4 GiB.
        let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((kind, content, rest))
}

/// `YYMMDDHHMMSSZ`, with years from 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn time(kind: u8, text: &str) -> Option<Timestamp> {
    let text = match kind {
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", &text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    fn der(end: (i32, u8, u8)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["example.com".to_owned()]).unwrap();
        params.not_after = date_time_ymd(end.0, end.1, end.2);
        let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    #[test]
    fn the_end_is_read_in_both_forms_of_a_date() {
        // 2049 is the last year in two digits.
        for (end, want) in [
            ((2031, 2, 3), "2031-02-03T00:00:00Z"),
            ((2049, 12, 31), "2049-12-31T00:00:00Z"),
            ((2050, 1, 1), "2050-01-01T00:00:00Z"),
            ((1999, 9, 9), "1999-09-09T00:00:00Z"),
        ] {
            assert_eq!(not_after(&der(end)), Some(want.parse().unwrap()), "{want}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let whole = der((2031, 2, 3));
        for length in 0..whole.len() {
            // Cut anywhere, it is no certificate, and nothing panics.
            assert_eq!(not_after(&whole[..length]), None, "{length}");
        }
        for byte in 0..whole.len().min(200) {
            let mut broken = whole.to_vec();
            broken[byte] ^= 0xff;
            let _ = not_after(&broken);
        }
        assert_eq!(not_after(b"0\x84\xff\xff\xff\xff"), None);
        assert_eq!(not_after(b"0\xff"), None);
    }
}
