//! The cluster's certificate authority, and kubeconfigs that use its certificates.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

use crate::{Cluster, Error};

/// Signs what the components and the administrator identify themselves with. Lives as long as the start takes.
pub(crate) struct Authority<'a> {
    cluster: &'a Cluster,
    issuer: Issuer<'static, KeyPair>,
}

impl<'a> Authority<'a> {
    /// Makes an authority and writes `ca.crt` and `ca.key`.
    pub(crate) fn new(cluster: &'a Cluster) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut params = params("dev-cluster", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        cluster.write("ca.crt", &params.self_signed(&key)?.pem())?;
        cluster.write("ca.key", &key.serialize_pem())?;
        Ok(Self { cluster, issuer: Issuer::new(params, key) })
    }

    /// Writes `FILE.crt` and `FILE.key` for a server with these names.
    pub(crate) fn server(&self, file: &str, dns_names: &[&str], addresses: &[IpAddr]) -> Result<(), Error> {
        let mut params = params(file, None);
        for name in dns_names {
            params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        self.sign(file, params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Writes `FILE.crt` and `FILE.key` for a user in a group.
    pub(crate) fn client(&self, file: &str, user: &str, group: Option<&str>) -> Result<(), Error> {
        self.sign(file, params(user, group), ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Like [`Authority::client`], and writes `FILE.kubeconfig` that uses them.
    pub(crate) fn kubeconfig(&self, file: &str, user: &str, group: Option<&str>, server: &str) -> Result<(), Error> {
        self.client(file, user, group)?;
        let (dir, name) = (self.cluster.dir().display(), self.cluster.name());
        let kubeconfig = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {
                "server": server, "certificate-authority": format!("{dir}/ca.crt"),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate": format!("{dir}/{file}.crt"), "client-key": format!("{dir}/{file}.key"),
            }}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
            "current-context": name,
        });
        self.cluster.write(&format!("{file}.kubeconfig"), &kubeconfig.to_string()).map(drop)
    }

    /// Writes `service-account.key` and its public half `service-account.pub`, which sign and check pods' tokens.
    pub(crate) fn service_account_key(&self) -> Result<(), Error> {
        let key = KeyPair::generate()?;
        self.cluster.write("service-account.key", &key.serialize_pem())?;
        self.cluster.write("service-account.pub", &key.public_key_pem())?;
        Ok(())
    }

    fn sign(&self, file: &str, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Result<(), Error> {
        let key = KeyPair::generate()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        self.cluster.write(&format!("{file}.crt"), &params.signed_by(&key, &self.issuer)?.pem())?;
        self.cluster.write(&format!("{file}.key"), &key.serialize_pem())?;
        Ok(())
    }
}

fn params(common_name: &str, organization: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params
}
