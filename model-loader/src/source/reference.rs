//! Names of registries: host, repository, tag and digest, as every client of registries writes them.

use url::{Host, Url};

use crate::digest::{Algorithm, Digest};

/// The tag where none is given.
const DEFAULT_TAG: &str = "latest";
/// Longest tag of the OCI specification.
const MAX_TAG: usize = 128;
/// Longest host and repository that registries take.
const MAX_NAME: usize = 255;

/// Splits `NAME[:TAG][@sha256:…]` into the name and what tells one manifest: the digest, else the tag.
pub(super) fn split(text: &str) -> Result<(&str, String), &'static str> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    // A colon before the last slash belongs to a port.
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match name[start..].split_once(':') {
        Some((last, tag)) => (&name[..start + last.len()], tag),
        None => (name, DEFAULT_TAG),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if tag.is_empty() || tag.len() > MAX_TAG || tag.starts_with(['.', '-']) || !tag.chars().all(fits) {
        return Err("a tag is of at most 128 letters, digits, '-', '_' and '.'");
    }
    match digest.map(str::parse::<Digest>) {
        None => Ok((name, tag.to_owned())),
        Some(Ok(digest)) if digest.algorithm() == Algorithm::Sha256 => Ok((name, digest.to_string())),
        Some(_) => Err("after '@' comes sha256: and 64 hexadecimal digits"),
    }
}

/// The end of a name that [`split`] reads as this reference.
pub(super) fn suffix(reference: &str) -> String {
    // Tags have no colon, digests do.
    let separator = if reference.contains(':') { '@' } else { ':' };
    format!("{separator}{reference}")
}

/// Whether a registry could know a repository of this name. `case` lets upper-case letters pass.
pub(super) fn is_repository(name: &str, upper_case: bool) -> bool {
    let edge = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase() || (upper_case && c.is_ascii_uppercase());
    let inner = |c: char| edge(c) || matches!(c, '.' | '-' | '_');
    let part = |part: &str| part.starts_with(edge) && part.ends_with(edge) && part.chars().all(inner);
    name.len() <= MAX_NAME && name.split('/').all(|segment| part(segment) && !segment.contains(".."))
}

/// Whether this is `HOST` or `HOST:PORT` and nothing else.
pub(super) fn is_host(host: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    let usable = |url: Url| url.host().is_some() && url.path() == "/" && url.port() != Some(0);
    host.len() <= MAX_NAME
        && host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
        && host.chars().all(fits)
        && !host.ends_with(':')
        && Url::parse(&format!("https://{host}/")).is_ok_and(usable)
}

/// Root of the registry on this host. Nobody has certificates for a registry on the own machine, so plain http is spoken there.
pub(crate) fn endpoint(host: &str, plain_http: bool) -> Result<Url, url::ParseError> {
    let url = Url::parse(&format!("https://{host}/"))?;
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if plain_http || is_local { Url::parse(&format!("http://{host}/")) } else { Ok(url) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_spoken_to_without_tls() {
        for (host, plain_http, want) in [
            ("ghcr.io", false, "https://ghcr.io/"),
            ("ghcr.io", true, "http://ghcr.io/"),
            ("localhost:5000", false, "http://localhost:5000/"),
            ("127.0.0.1:5000", false, "http://127.0.0.1:5000/"),
            ("127.8.8.8", false, "http://127.8.8.8/"),
            ("[::1]:5000", false, "http://[::1]:5000/"),
            ("localhost.example.com", false, "https://localhost.example.com/"),
            ("10.0.0.1:5000", false, "https://10.0.0.1:5000/"),
        ] {
            assert_eq!(endpoint(host, plain_http).unwrap().as_str(), want);
        }
    }
}
