//! What a hub serves and where: the library's configuration and the binary's flags in one.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

/// What a hub serves, where it listens and whom it lets in.
///
/// Every flag is also an environment variable.
#[derive(Clone, Debug, Args)]
pub struct HubConfig {
    /// Folder with `hf/ORG/NAME/…`, `s3/BUCKET/…`, `files/…` and `private/…`. Absent parts are empty.
    #[arg(long, env = "TEST_HUB_ROOT")]
    pub root: PathBuf,
    /// Address to listen on.
    #[arg(long, env = "TEST_HUB_LISTEN", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub listen: IpAddr,
    /// Port of the Hugging Face API, `/files` and `/private`; 0 takes a free one.
    #[arg(long, env = "TEST_HUB_PORT", default_value_t = 8080)]
    pub port: u16,
    /// Port that large files are redirected to, another origin; 0 takes a free one.
    #[arg(long, env = "TEST_HUB_CDN_PORT", default_value_t = 8081)]
    pub cdn_port: u16,
    /// Port of the S3 endpoint; 0 takes a free one.
    #[arg(long, env = "TEST_HUB_S3_PORT", default_value_t = 9000)]
    pub s3_port: u16,
    /// Port of `/_faults`, `/_stats`, `/_refresh` and `/healthz`; 0 takes a free one.
    #[arg(long, env = "TEST_HUB_ADMIN_PORT", default_value_t = 8082)]
    pub admin_port: u16,
    /// Where large files are redirected to: `port` (the host that was asked for, at the CDN port), `same` (the hub
    /// itself) or a base URL.
    #[arg(long, env = "TEST_HUB_CDN", default_value = "port")]
    pub cdn: Cdn,
    /// Seconds that a redirect's signed URL stays valid.
    #[arg(long, env = "TEST_HUB_SIGNED_URL_SECONDS", default_value_t = 3600)]
    pub signed_url_seconds: u64,
    /// Flags of TLS.
    #[command(flatten)]
    pub tls: TlsConfig,
    /// Bearer token with access to everything, gated and private repositories included.
    #[arg(long, env = "TEST_HUB_TOKEN", default_value = "hf_test_token")]
    pub token: String,
    /// Bearer token of an account without access to gated or private repositories.
    #[arg(long, env = "TEST_HUB_OUTSIDER_TOKEN", default_value = "hf_outsider_token")]
    pub outsider_token: String,
    /// User name for `/private`, which also takes the bearer token.
    #[arg(long, env = "TEST_HUB_USERNAME", default_value = "user")]
    pub username: String,
    /// Password for `/private`.
    #[arg(long, env = "TEST_HUB_PASSWORD", default_value = "password")]
    pub password: String,
    /// The S3 access key.
    #[arg(long, env = "TEST_HUB_ACCESS_KEY", default_value = "test-access-key")]
    pub access_key: String,
    /// The S3 secret key.
    #[arg(long, env = "TEST_HUB_SECRET_KEY", default_value = "test-secret-key")]
    pub secret_key: String,
    /// Entries on one page of a repository's tree; the real hub has 1000.
    #[arg(long, env = "TEST_HUB_TREE_PAGE", default_value_t = 1000)]
    pub tree_page: usize,
    /// Bytes from which a file is large, so that the CDN serves it; weights are large at any size.
    #[arg(long, env = "TEST_HUB_LARGE_FROM", default_value_t = 10 << 20)]
    pub large_from: u64,
}

impl HubConfig {
    /// A hub for tests: on free ports of the loopback interface, plain http, with the keys of
    /// `--help`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            cdn_port: 0,
            s3_port: 0,
            admin_port: 0,
            cdn: Cdn::Port,
            signed_url_seconds: 3600,
            tls: TlsConfig::default(),
            token: "hf_test_token".to_owned(),
            outsider_token: "hf_outsider_token".to_owned(),
            username: "user".to_owned(),
            password: "password".to_owned(),
            access_key: "test-access-key".to_owned(),
            secret_key: "test-secret-key".to_owned(),
            tree_page: 1000,
            large_from: 10 << 20,
        }
    }

    /// The same hub with TLS beside plain http, on free ports, for `localhost`, under a
    /// certificate authority of its own ([`crate::Hub::ca_pem`]).
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        self.tls.tls = true;
        self
    }
}

/// TLS beside plain http.
#[derive(Clone, Debug, Args)]
pub struct TlsConfig {
    /// Serve https too.
    #[arg(long, env = "TEST_HUB_TLS")]
    pub tls: bool,
    /// TLS port of the hub; 0 takes a free one.
    #[arg(long, env = "TEST_HUB_TLS_PORT", default_value_t = 8443)]
    pub tls_port: u16,
    /// TLS port of the CDN; 0 takes a free one.
    #[arg(long, env = "TEST_HUB_TLS_CDN_PORT", default_value_t = 8444)]
    pub tls_cdn_port: u16,
    /// TLS port of the S3 endpoint; 0 takes a free one.
    #[arg(long, env = "TEST_HUB_TLS_S3_PORT", default_value_t = 9443)]
    pub tls_s3_port: u16,
    /// DNS names and addresses that the certificate is for, comma-separated.
    #[arg(long, env = "TEST_HUB_TLS_NAMES", value_delimiter = ',', default_value = "localhost")]
    pub tls_names: Vec<String>,
    /// Folder of `ca.crt` and `ca.key`, PEM: the authority that an earlier start left there, else made and written.
    /// Absent: made in memory.
    #[arg(long, env = "TEST_HUB_CA_DIR")]
    pub ca_dir: Option<PathBuf>,
    /// Certificate chain, PEM, to use instead of making one.
    #[arg(long, env = "TEST_HUB_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of `--tls-cert`, PEM.
    #[arg(long, env = "TEST_HUB_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            tls: false,
            tls_port: 0,
            tls_cdn_port: 0,
            tls_s3_port: 0,
            tls_names: vec!["localhost".to_owned()],
            ca_dir: None,
            tls_cert: None,
            tls_key: None,
        }
    }
}

/// Where large files are redirected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cdn {
    /// The host that the client asked for, at the CDN's port: another origin.
    Port,
    /// The hub itself, by a relative URL: the same origin.
    Same,
    /// A base URL under which the CDN's port is reachable, such as `https://cdn.example.test`.
    Url(String),
}

impl FromStr for Cdn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "port" => Ok(Self::Port),
            "same" => Ok(Self::Same),
            url if url.starts_with("http://") || url.starts_with("https://") => {
                Ok(Self::Url(url.trim_end_matches('/').to_owned()))
            }
            other => Err(format!("{other:?} is neither `port`, `same` nor an http(s) URL")),
        }
    }
}
