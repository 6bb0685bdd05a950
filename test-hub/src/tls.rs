//! Certificates: given as files, or issued by an authority made for the purpose.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Error;
use crate::config::TlsConfig;

const CA_CERTIFICATE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";

/// What the TLS ports need, and what clients must trust.
pub(crate) struct Tls {
    pub server: Arc<ServerConfig>,
    /// PEM. Absent if the certificate was given as a file.
    pub ca_pem: Option<String>,
}

/// Loads or makes the certificate for `config`'s names.
pub(crate) fn set_up(config: &TlsConfig) -> Result<Tls, Error> {
    let (chain, key, ca_pem) = if let (Some(chain), Some(key)) = (&config.tls_cert, &config.tls_key) {
        (read(chain)?, read(key)?, None)
    } else {
        let authority = Authority::load_or_make(config.ca_dir.as_deref())?;
        let (certificate, key) = authority.issue(&config.tls_names).map_err(refused)?;
        (certificate, key, Some(authority.pem))
    };
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(refused)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(refused)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(refused)?;
    // No HTTP/2: a fault that ends the connection would end unrelated answers with it.
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls { server: Arc::new(server), ca_pem })
}

struct Authority {
    pem: String,
    key: KeyPair,
}

impl Authority {
    fn load_or_make(folder: Option<&Path>) -> Result<Self, Error> {
        let Some(folder) = folder else { return Self::make() };
        let (certificate, key) = (folder.join(CA_CERTIFICATE), folder.join(CA_KEY));
        if certificate.exists() && key.exists() {
            let key = KeyPair::from_pem(&read(&key)?).map_err(refused)?;
            return Ok(Self { pem: read(&certificate)?, key });
        }
        let made = Self::make()?;
        std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        std::fs::write(&key, made.key.serialize_pem()).map_err(Error::file("write", &key))?;
        std::fs::write(&certificate, &made.pem).map_err(Error::file("write", &certificate))?;
        Ok(made)
    }

    fn make() -> Result<Self, Error> {
        let key = KeyPair::generate().map_err(refused)?;
        let certificate = Self::params().self_signed(&key).map_err(refused)?;
        Ok(Self { pem: certificate.pem(), key })
    }

    /// Always the same, so that a key and a certificate from an earlier start still go together.
    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test-hub authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    fn issue(&self, names: &[String]) -> Result<(String, String), rcgen::Error> {
        let own = Self::params();
        let issuer = Issuer::from_params(&own, &self.key);
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "test-hub");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(Error::file("read", path))
}

fn refused(error: impl std::error::Error) -> Error {
    Error::Tls(error.to_string())
}
