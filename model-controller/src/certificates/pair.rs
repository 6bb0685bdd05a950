//! A certificate with its key and its authority: made, read from the Secret, written into it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use model_core::labels::RENEW_AFTER;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};

use super::step::Current;
use super::{Rhythm, WebhookCertificates};

const CA: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// The clocks of a cluster differ.
const BEFORE: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

/// All PEM. The authority's key was thrown away, so it signs nothing else.
pub(super) struct Pair {
    pub ca: String,
    certificate: String,
    key: String,
    made: Timestamp,
}

impl Pair {
    /// Makes a new authority, and a certificate for these DNS names or IP addresses.
    pub(super) fn make(hosts: &[String], rhythm: &Rhythm, now: Timestamp) -> Result<Self, rcgen::Error> {
        let mut authority = params(&[], "model-webhook authority", rhythm, now)?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate()?;
        let ca = authority.self_signed(&authority_key)?.pem();
        let mut server = params(hosts, "model-webhook", rhythm, now)?;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &Issuer::new(authority, authority_key))?.pem();
        Ok(Self { ca: normal(&ca), certificate, key: key.serialize_pem(), made: now })
    }

    /// The Secret with this pair. What else `old` has stays.
    pub(super) fn secret(&self, old: Option<Secret>, settings: &WebhookCertificates) -> Secret {
        let mut secret = old.unwrap_or_else(|| Secret {
            metadata: ObjectMeta { name: Some(settings.secret.clone()), ..ObjectMeta::default() },
            type_: Some("kubernetes.io/tls".to_owned()),
            ..Secret::default()
        });
        // Counted from when it was made, however long it took to be written.
        let renew_at = self.made.saturating_add(settings.rhythm.renew_after).unwrap_or(Timestamp::MAX);
        secret.annotations_mut().insert(RENEW_AFTER.to_owned(), renew_at.to_string());
        let data = [(CA, &self.ca), (CERTIFICATE, &self.certificate), (KEY, &self.key)];
        let data: BTreeMap<_, _> =
            data.map(|(name, text)| (name.to_owned(), ByteString(text.clone().into_bytes()))).into();
        secret.data.get_or_insert_default().extend(data);
        secret
    }
}

/// What a Secret holds. `None`: nothing that an API server which trusts its authority would accept now.
pub(super) fn current(secret: &Secret, settings: &WebhookCertificates, now: Timestamp) -> Option<Current> {
    let text = |name: &str| std::str::from_utf8(&secret.data.as_ref()?.get(name)?.0).ok();
    let (ca, certificate, key) = (text(CA)?, text(CERTIFICATE)?, text(KEY)?);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>().ok()?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).ok()?;
    let provider = ring::default_provider();
    CertifiedKey::from_der(chain.clone(), key, &provider).ok()?;
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots(ca)?), Arc::new(provider)).build().ok()?;
    let seconds = u64::try_from(now.as_second()).ok()?;
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let (first, between) = chain.split_first()?;
    for host in &settings.hosts {
        let host = ServerName::try_from(host.as_str()).ok()?;
        verifier.verify_server_cert(first, between, &host, &[], time).ok()?;
    }
    let renew_at = secret.annotations().get(RENEW_AFTER).and_then(|text| text.parse().ok());
    Some(Current { ca: normal(ca), renew_at })
}

/// A client that accepts what this authority signed, and nothing else.
pub(super) fn client_config(ca: &str) -> Option<ClientConfig> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(builder.with_root_certificates(roots(ca)?).with_no_client_auth())
}

/// The certificates of a bundle, each as it is compared and written.
pub(super) fn split(bundle: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bundle);
    text.split_inclusive("-----END CERTIFICATE-----").map(normal).filter(|pem| pem.contains("-----BEGIN")).collect()
}

fn normal(pem: &str) -> String {
    let lines: Vec<_> = pem.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("\n") + "\n"
}

fn roots(ca: &str) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).ok()?).ok()?;
    Some(roots)
}

fn params(hosts: &[String], name: &str, rhythm: &Rhythm, now: Timestamp) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let seconds = std::time::Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default());
    let now = date_time_ymd(1970, 1, 1) + seconds;
    params.not_before = now - BEFORE;
    params.not_after = now + rhythm.valid_for.unsigned_abs();
    Ok(params)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_secret_counts_as_long_as_it_would_be_accepted() {
        let settings = WebhookCertificates::new("model-system");
        let now: Timestamp = "2026-05-01T00:00:00Z".parse().unwrap();
        let made = Pair::make(&settings.hosts, &settings.rhythm, now).unwrap();
        let secret = made.secret(None, &settings);
        let seen = |secret: &Secret, now| current(secret, &settings, now);
        let renew_at = now + settings.rhythm.renew_after;
        assert_eq!(seen(&secret, now), Some(Current { ca: made.ca.clone(), renew_at: Some(renew_at) }));
        assert!(seen(&secret, now + settings.rhythm.valid_for - SignedDuration::from_secs(2)).is_some());
        assert_eq!(seen(&secret, now + settings.rhythm.valid_for + SignedDuration::from_secs(2)), None, "it has ended");

        let other = Pair::make(&settings.hosts, &settings.rhythm, now).unwrap();
        let foreign = Pair::make(&["example.com".to_owned()], &settings.rhythm, now).unwrap();
        assert_eq!(seen(&foreign.secret(None, &settings), now), None, "for another name");
        for (name, text) in [(CA, &other.ca), (KEY, &other.key), (CERTIFICATE, &other.certificate)] {
            let mut mixed = secret.clone();
            mixed.data.as_mut().unwrap().insert(name.to_owned(), ByteString(text.clone().into_bytes()));
            assert_eq!(seen(&mixed, now), None, "another {name}");
            mixed.data.as_mut().unwrap().remove(name);
            assert_eq!(seen(&mixed, now), None, "no {name}");
        }
        let mut labelled = secret;
        labelled.labels_mut().insert("a".into(), "b".into());
        let renewed = other.secret(Some(labelled), &settings);
        assert_eq!((renewed.labels().len(), seen(&renewed, now).unwrap().ca), (1, other.ca));
    }

    #[test]
    fn a_bundle_is_split_however_it_is_written() {
        let rhythm = Rhythm::default();
        let make = || Pair::make(&[], &rhythm, Timestamp::from_second(1_800_000_000).unwrap()).unwrap().ca;
        let (one, two) = (make(), make());
        let windows = two.replace('\n', "\r\n");
        for text in [format!("{one}{two}"), format!("\n\n{one}\n\n{windows}\n"), format!("{}\n{two}", one.trim_end())] {
            assert_eq!(split(text.as_bytes()), [one.clone(), two.clone()]);
        }
        assert!(split(b"").is_empty() && split(b"no certificate").is_empty());
    }
}
