//! Answers, and sending them: file bytes go from the page cache to the socket with `sendfile`.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use rustix::io::retry_on_intr;
use rustix::net::SendFlags;

use super::Stats;
use super::pace::Pace;

/// Bytes handed to the kernel at a time, unless the pace is less.
const CHUNK: u64 = 4 << 20;

/// An answer to one request.
#[derive(Debug)]
pub struct Answer {
    status: Status,
    /// Header lines, each with its line end.
    headers: String,
    body: Body,
}

/// The statuses in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok = 200,
    PartialContent = 206,
    Found = 302,
    TemporaryRedirect = 307,
    NotFound = 404,
    RangeNotSatisfiable = 416,
}

#[derive(Debug)]
enum Body {
    Text(String),
    File { path: PathBuf, range: Range<u64> },
}

impl Answer {
    /// An answer without a body.
    pub fn new(status: Status) -> Self {
        Self { status, headers: String::new(), body: Body::Text(String::new()) }
    }

    /// The same with a header line.
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        // Writing to a String cannot fail.
        let _ = write!(self.headers, "{name}: {value}\r\n");
        self
    }

    /// The same with a text for body.
    pub fn text(self, content_type: &str, text: String) -> Self {
        Self { body: Body::Text(text), ..self.with("Content-Type", content_type) }
    }

    /// The same with these bytes of a file for body.
    pub fn file(self, path: PathBuf, range: Range<u64>) -> Self {
        Self { body: Body::File { path, range }, ..self.with("Content-Type", "application/octet-stream") }
    }

    /// Sends it, the body unless the request was HEAD, and counts what was sent of the body.
    ///
    /// # Errors
    /// The file cannot be read, or the client closed the connection or did not read for longer than its write timeout.
    pub fn send(self, stream: &TcpStream, head_only: bool, pace: &mut Pace, stats: &Stats) -> io::Result<()> {
        let length = match &self.body {
            Body::Text(text) => text.len() as u64,
            Body::File { range, .. } => range.end - range.start,
        };
        let mut head = format!(
            "HTTP/1.1 {} {:?}\r\n{}Content-Length: {length}\r\n\r\n",
            self.status as u16, self.status, self.headers
        );
        match self.body {
            Body::Text(text) if !head_only => {
                head.push_str(&text);
                send_all(stream, head.as_bytes(), SendFlags::NOSIGNAL)?;
                stats.bytes.fetch_add(length, Ordering::Relaxed);
                Ok(())
            }
            Body::File { path, range } if !head_only => {
                let file = File::open(path)?;
                // The head then leaves together with the first bytes of the file.
                send_all(stream, head.as_bytes(), SendFlags::NOSIGNAL | SendFlags::MORE)?;
                send_file(stream, &file, range, pace, stats)
            }
            Body::Text(_) | Body::File { .. } => send_all(stream, head.as_bytes(), SendFlags::NOSIGNAL),
        }
    }
}

fn send_all(stream: &TcpStream, mut rest: &[u8], flags: SendFlags) -> io::Result<()> {
    while !rest.is_empty() {
        let sent = retry_on_intr(|| rustix::net::send(stream, rest, flags))?;
        rest = &rest[sent..];
    }
    Ok(())
}

fn send_file(stream: &TcpStream, file: &File, range: Range<u64>, pace: &mut Pace, stats: &Stats) -> io::Result<()> {
    let mut offset = range.start;
    pace.begin();
    while offset < range.end {
        let wanted = pace.wait((range.end - offset).min(CHUNK));
        let wanted = usize::try_from(wanted).map_err(io::Error::other)?;
        let sent = retry_on_intr(|| rustix::fs::sendfile(stream, file, Some(&mut offset), wanted))?;
        if sent == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a served file became shorter"));
        }
        pace.sent(sent as u64);
        stats.bytes.fetch_add(sent as u64, Ordering::Relaxed);
    }
    Ok(())
}
