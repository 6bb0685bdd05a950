//! A certificate for the webhook where no cert-manager makes one.

use std::io;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// How long a certificate is valid. Make new ones before.
const VALID_YEARS: i32 = 10;

/// File name of the authority's certificate: what the API server trusts (`caBundle`).
pub const CA_FILE: &str = "ca.crt";
/// File name of the webhook's certificate.
pub const CERTIFICATE_FILE: &str = "tls.crt";
/// File name of the webhook's private key.
pub const KEY_FILE: &str = "tls.key";

/// A webhook's certificate and key, and the authority that signed it. All PEM.
pub struct Certificates {
    /// Certificate of the authority. Its key was thrown away, so it signs nothing else.
    pub ca: String,
    /// Certificate of the webhook.
    pub certificate: String,
    /// Private key of the webhook.
    pub key: String,
}

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A host is no DNS name and no IP address.
    #[error("could not make a certificate for {}", hosts.join(", "))]
    Generate {
        /// The wanted hosts.
        hosts: Vec<String>,
        /// What is wrong.
        source: rcgen::Error,
    },
    /// The directory or a file in it could not be written.
    #[error("could not write {}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Certificates {
    /// Makes an authority and a certificate for these DNS names or IP addresses, valid for ten years.
    ///
    /// # Errors
    /// When a host is no DNS name and no IP address.
    pub fn generate(hosts: &[String]) -> Result<Self, Error> {
        Self::try_generate(hosts).map_err(|source| Error::Generate { hosts: hosts.to_vec(), source })
    }

    fn try_generate(hosts: &[String]) -> Result<Self, rcgen::Error> {
        let mut authority = params(&[], "model-webhook authority")?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate()?;
        let ca = authority.self_signed(&authority_key)?;

        let mut server = params(hosts, "model-webhook")?;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &Issuer::new(authority, authority_key))?;
        Ok(Self { ca: ca.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Writes [`CA_FILE`], [`CERTIFICATE_FILE`] and [`KEY_FILE`] into `directory`, which is created if need be. Only
    /// the owner can read the key.
    ///
    /// # Errors
    /// When the directory or a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), Error> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Write { path, source }
        };
        std::fs::create_dir_all(directory).map_err(at(directory))?;
        for (name, text, mode) in
            [(CA_FILE, &self.ca, 0o644), (CERTIFICATE_FILE, &self.certificate, 0o644), (KEY_FILE, &self.key, 0o600)]
        {
            let path = directory.join(name);
            write_file(&path, text, mode).map_err(at(&path))?;
        }
        Ok(())
    }
}

/// A new file takes the old one's place, so that nobody reads a half-written one or keeps its old mode.
fn write_file(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&new, path)
}

fn params(hosts: &[String], common_name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // A day back: clocks of a cluster differ. The 28th exists in every year.
    let start = (Timestamp::now() - SignedDuration::from_hours(24)).to_zoned(TimeZone::UTC).date();
    let month = start.month().unsigned_abs();
    params.not_before = date_time_ymd(start.year().into(), month, start.day().unsigned_abs());
    params.not_after = date_time_ymd(i32::from(start.year()) + VALID_YEARS, month, start.day().unsigned_abs().min(28));
    Ok(params)
}
