//! Addresses that no model lies behind: those of the node itself and of the cloud's metadata.
//!
//! What answers there hands out the identity of the node to whoever asks from it. A Model's author chooses the address of
//! a source, and a source chooses where it redirects to, so neither may lead there: the answer would become files that
//! the author can read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::{
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::{Action, Attempt, Policy},
};
use url::{Host, Url};

/// Metadata servers outside of the link-local ranges: of AWS and Google by IPv6, and of Alibaba.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

/// An address was not connected to.
#[derive(Debug, thiserror::Error)]
#[error("{host} is link-local or a metadata server, where no model can lie")]
pub(super) struct Forbidden {
    /// The address, or the name that leads to it.
    host: String,
}

/// Refuses a URL that names such an address itself. Names are judged by [`Resolver`].
pub(super) fn check(url: &Url) -> Result<(), Forbidden> {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    if is_forbidden(address) { Err(Forbidden { host: address.to_string() }) } else { Ok(()) }
}

/// Follows as many redirects as any client, to no such address.
pub(super) fn redirects() -> Policy {
    let follow = |attempt: Attempt| -> Action {
        match check(attempt.url()) {
            Ok(()) => Policy::default().redirect(attempt),
            Err(forbidden) => attempt.error(forbidden),
        }
    };
    Policy::custom(follow)
}

/// The system's resolver, without names that lead to such an address.
#[derive(Debug)]
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses = admitted(name.as_str(), found.collect())?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// One bad address is enough: a name with a good one beside it would be tried again until the bad one is drawn.
fn admitted(name: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Forbidden> {
    match addresses.iter().find(|address| is_forbidden(address.ip())) {
        Some(address) => Err(Forbidden { host: format!("{name} ({})", address.ip()) }),
        None => Ok(addresses),
    }
}

/// The refusal among the causes of a failed request.
pub(super) fn forbidden<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Forbidden> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

fn is_forbidden(address: IpAddr) -> bool {
    if METADATA.contains(&address) {
        return true;
    }
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_unicast_link_local() || embedded(address).is_some_and(|inner| is_forbidden(IpAddr::V4(inner)))
        }
    }
}

/// The IPv4 address that packets to an IPv6 address end at: mapped ones, and those of the well-known NAT64 prefix.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let nat64 = || match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))),
        _ => None,
    };
    address.to_ipv4_mapped().or_else(nat64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_refused_by_the_address_however_it_is_written() {
        for (url, want) in [
            ("http://169.254.169.254/latest/meta-data/", Some("169.254.169.254")),
            ("http://2852039166/", Some("169.254.169.254")),
            ("http://0xa9fea9fe/", Some("169.254.169.254")),
            ("http://0251.0376.0251.0376/", Some("169.254.169.254")),
            ("https://169.254.0.1:8443/", Some("169.254.0.1")),
            ("http://[fe80::1]/", Some("fe80::1")),
            ("http://[::ffff:169.254.169.254]/", Some("::ffff:169.254.169.254")),
            ("http://[64:ff9b::a9fe:a9fe]/", Some("64:ff9b::a9fe:a9fe")),
            ("http://[fd00:ec2::254]/", Some("fd00:ec2::254")),
            ("http://[fd20:ce::254]/", Some("fd20:ce::254")),
            ("http://100.100.100.200/", Some("100.100.100.200")),
            ("http://10.0.0.1/", None),
            ("http://127.0.0.1/", None),
            ("http://[::1]/", None),
            ("http://[fd00::1]/", None),
            ("http://[64:ff9b::808:808]/", None),
            ("http://169.255.0.1/", None),
            ("http://metadata.google.internal/", None),
        ] {
            let refused = check(&Url::parse(url).unwrap()).err().map(|forbidden| forbidden.host);
            assert_eq!(refused.as_deref(), want, "{url}");
        }
    }

    #[test]
    fn a_name_is_refused_by_what_it_leads_to() {
        let socket = |address: &str| SocketAddr::new(address.parse().unwrap(), 0);
        for (addresses, refused) in [
            (&["93.184.216.34", "2606:2800:220:1::1"][..], false),
            (&["10.1.2.3"], false),
            (&["169.254.169.254"], true),
            (&["93.184.216.34", "169.254.169.254"], true),
            (&["fe80::1"], true),
            (&[], false),
        ] {
            let found: Vec<_> = addresses.iter().map(|address| socket(address)).collect();
            assert_eq!(admitted("hub.example", found.clone()).ok(), (!refused).then_some(found), "{addresses:?}");
        }
        let refused = admitted("hub.example", vec![socket("169.254.169.254")]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "hub.example (169.254.169.254) is link-local or a metadata server, where no model can lie"
        );
    }
}
