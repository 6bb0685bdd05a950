//! Requests: as much of HTTP/1.1 as download clients send.

use std::io::{self, Read};
use std::net::TcpStream;

/// Longest request head, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// A request without a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    /// Decoded, without the query; begins with `/`.
    pub path: String,
    /// Decoded names and values, in order.
    pub query: Vec<(String, String)>,
    /// The `Host` header; empty if there was none.
    pub host: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// Whether the client wants the connection closed after the answer.
    pub close: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    /// Like GET, without the body of the answer.
    Head,
}

impl Request {
    /// The value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Reads a head without its empty line. `None` if it is none that the server can answer.
    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let method = match first.next()? {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => return None,
        };
        let target = first.next().filter(|target| target.starts_with('/'))?;
        let old = first.next()? == "HTTP/1.0";
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let query = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(&name.replace('+', " "))?, decoded(&value.replace('+', " "))?))
        });
        let query = query.collect::<Option<_>>()?;
        let mut request = Self { method, path: decoded(path)?, query, host: String::new(), range: None, close: old };
        for line in lines {
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("host") {
                value.clone_into(&mut request.host);
            } else if name.eq_ignore_ascii_case("range") {
                request.range = Some(value.to_owned());
            } else if name.eq_ignore_ascii_case("connection") {
                request.close = value.eq_ignore_ascii_case("close");
            } else if name.eq_ignore_ascii_case("content-length") && value != "0"
                || name.eq_ignore_ascii_case("transfer-encoding")
            {
                return None;
            }
        }
        Some(request)
    }
}

/// Undoes percent-encoding. `None` if the result is not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        rest = after;
        if let (b'%', [high, low, after @ ..]) = (first, after) {
            bytes.push(hex(high)? << 4 | hex(low)?);
            rest = after;
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Reads requests from one connection, one after another.
#[derive(Default)]
pub struct Requests {
    /// Read and not yet used.
    pending: Vec<u8>,
}

impl Requests {
    /// Waits for the next request. `None` once the client has closed the connection.
    ///
    /// # Errors
    /// The connection broke or was silent for longer than its read timeout, or what came is not a request that can be
    /// answered: too long, with a body, or neither GET nor HEAD.
    pub fn next(&mut self, mut stream: &TcpStream) -> io::Result<Option<Request>> {
        let mut searched = 0;
        loop {
            let from = usize::saturating_sub(searched, 3);
            if let Some(at) = self.pending[from..].windows(4).position(|four| four == b"\r\n\r\n") {
                let end = from + at;
                let request = std::str::from_utf8(&self.pending[..end]).ok().and_then(Request::parse);
                let request =
                    request.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a plain request"))?;
                self.pending.drain(..end + 4);
                return Ok(Some(request));
            }
            searched = self.pending.len();
            if searched > MAX_HEAD {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the request's head is too long"));
            }
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk)? {
                0 => return Ok(None),
                read => self.pending.extend_from_slice(&chunk[..read]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_clients_write_it() {
        let head =
            "GET /bench/small/a%20b.json?list-type=2&prefix=x%2Fy+z&empty HTTP/1.1\r\nhost: h:1\r\nRANGE: bytes=0-1";
        let request = Request::parse(head).unwrap();
        assert_eq!(request.path, "/bench/small/a b.json");
        assert_eq!(request.parameter("prefix"), Some("x/y z"));
        assert_eq!(request.parameter("empty"), Some(""));
        assert_eq!(request.parameter("absent"), None);
        assert_eq!((request.host.as_str(), request.range.as_deref(), request.close), ("h:1", Some("bytes=0-1"), false));
        assert!(Request::parse("HEAD / HTTP/1.1\r\nConnection: close").unwrap().close);
        assert!(Request::parse("GET / HTTP/1.0").unwrap().close);
        for refused in
            ["PUT / HTTP/1.1", "GET / HTTP/1.1\r\nContent-Length: 3", "GET http://h/ HTTP/1.1", "GET /%ff HTTP/1.1"]
        {
            assert_eq!(Request::parse(refused), None, "{refused}");
        }
    }
}
