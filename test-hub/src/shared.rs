//! What all servers of one hub share.

use std::sync::{Arc, OnceLock};

use axum::http::HeaderMap;
use axum::http::header::HOST;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

use crate::HubConfig;
use crate::faults::set::FaultSet;
use crate::repository::Repositories;
use crate::stats::Recorder;

/// Characters to escape in one segment of a URL's path, so everything but RFC 3986's unreserved ones.
pub(crate) const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What all servers of one hub share.
pub(crate) struct Shared {
    pub config: HubConfig,
    pub repositories: Repositories,
    pub faults: Arc<FaultSet>,
    pub recorder: Arc<Recorder>,
    /// Signs the CDN's URLs. New at every start.
    pub signing_key: ring::hmac::Key,
    /// Known once all ports are bound.
    pub cdn_ports: OnceLock<CdnPorts>,
}

/// The CDN's ports, which redirects name.
#[derive(Debug)]
pub(crate) struct CdnPorts {
    pub plain: u16,
    /// 0 without TLS.
    pub tls: u16,
}

impl Shared {
    pub(crate) fn cdn_port(&self, scheme: Scheme) -> u16 {
        self.cdn_ports.get().map_or(0, |ports| match scheme {
            Scheme::Http => ports.plain,
            Scheme::Https => ports.tls,
        })
    }
}

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// The URL by which the client reached this host, with another port if one is given.
pub(crate) fn base_url(headers: &HeaderMap, scheme: Scheme, port: Option<u16>) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let scheme = match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    match port {
        None => format!("{scheme}://{host}"),
        Some(port) => {
            // An IPv6 address keeps its brackets: its last colon before the `]` is no port's.
            let name = match host.rsplit_once(':') {
                Some((name, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => name,
                _ => host,
            };
            format!("{scheme}://{name}:{port}")
        }
    }
}
