//! One file: request, resume, retry, verify.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use model_core::reason::Reason;
use reqwest::Response;
use tokio::sync::mpsc;

use super::{Fetch, sink::Sink};
use crate::{
    Error,
    digest::{Algorithm, Digest},
    http::{Again, Trouble},
    manifest::FileRecord,
    plan::PlannedFile,
};

/// How often a file is fetched in all before a wrong digest counts.
const ROUNDS: u32 = 2;
/// Pieces that may wait to be written. Each is at most a few hundred KiB.
const QUEUE: usize = 8;

/// Fetches one file into the tree of the staging directory.
pub(super) async fn fetch(with: &Fetch<'_>, index: usize, file: &PlannedFile) -> Result<FileRecord, Error> {
    let mut round = 1;
    loop {
        let download = Download { with, index, file, promised: None, validator: None, sink: None };
        match download.run().await {
            Err(error) if error.reason() == Reason::ChecksumMismatch && round < ROUNDS => {
                tracing::warn!("{error}; fetches it again");
                round += 1;
            }
            done => return done,
        }
    }
}

/// One file on its way.
struct Download<'a> {
    with: &'a Fetch<'a>,
    index: usize,
    file: &'a PlannedFile,
    /// What the source promised when it began to send.
    promised: Option<Digest>,
    /// Tells whether the file is still the one that was begun: a strong `ETag` or a date.
    validator: Option<header::HeaderValue>,
    /// Absent until the source begins to send.
    sink: Option<Sink>,
}

impl Download<'_> {
    async fn run(mut self) -> Result<FileRecord, Error> {
        let mut budget = self.with.http.budget();
        let mut furthest = 0;
        loop {
            let Err(trouble) = self.attempt().await else { break };
            // A source that breaks off always at the same byte gives no progress.
            if self.written() > furthest {
                furthest = self.written();
                budget.refill();
            }
            if self.sink.is_some() && self.file.size == Some(self.written()) && trouble.again != Again::FromStart {
                // The last byte came before the connection broke off.
                break;
            }
            if trouble.again == Again::FromStart {
                self.restart();
            }
            let spent = budget.spend(trouble).await;
            if spent.is_err() {
                self.with.meter.remove_bytes(self.written());
            }
            spent?;
        }
        self.finish().await
    }

    /// One request, from the byte that was reached.
    async fn attempt(&mut self) -> Result<(), Trouble> {
        let Fetch { http, remote, .. } = *self.with;
        let what = self.file.path.as_str();
        let mut request = remote.get(http, self.file).await.map_err(Trouble::lasting)?;
        let start = self.written();
        if start > 0 {
            if self.validator.is_none() && self.promised.is_none() {
                // Nothing would show that the rest belongs to another content.
                self.restart();
            } else {
                request = request.header(header::RANGE, format!("bytes={start}-"));
                if let Some(validator) = &self.validator {
                    request = request.header(header::IF_RANGE, validator);
                }
            }
        }
        let mut response = http.once(request, remote.dialect(), what).await?;
        self.check_answer(&response)?;
        if self.sink.is_none() {
            self.begin(response.headers()).map_err(Trouble::lasting)?;
        }
        self.receive(&mut response).await?;
        match self.file.size {
            Some(size) if self.written() != size => {
                let message = format!("{what}: the answer ended after {} of {size} bytes", self.written());
                Err(Trouble::passing(Error::new(Reason::NetworkError, message)))
            }
            _ => Ok(()),
        }
    }

    /// Checks that the answer is (the rest of) the file that was planned.
    fn check_answer(&mut self, response: &Response) -> Result<(), Trouble> {
        let what = &self.file.path;
        let odd = |message: String, again| Trouble {
            error: Error::new(Reason::SourceInvalid, format!("{what}: {message}")),
            again,
        };
        let headers = response.headers();
        let length: Option<u64> = text(headers, &header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
        let whole = match (response.status(), self.written()) {
            (StatusCode::OK, start) => {
                if start > 0 {
                    self.restart();
                }
                length
            }
            (StatusCode::PARTIAL_CONTENT, start) if start > 0 => {
                let (first, whole) = text(headers, &header::CONTENT_RANGE).and_then(content_range).unzip();
                if first != Some(start) {
                    return Err(odd(format!("wanted the bytes from {start} on and got others"), Again::FromStart));
                }
                let is_tag = |value: &&header::HeaderValue| value.as_bytes().starts_with(b"\"");
                if let (Some(begun), Some(sent)) = (self.validator.as_ref().filter(is_tag), headers.get(header::ETAG))
                    && begun != sent
                {
                    return Err(odd("it changed while it was downloaded".to_owned(), Again::FromStart));
                }
                whole.flatten()
            }
            (status, _) => return Err(odd(format!("unexpected answer {status}"), Again::Soon)),
        };
        if let (Some(whole), Some(size)) = (whole, self.file.size)
            && whole != size
        {
            return Err(odd(format!("{size} bytes were promised and {whole} are sent"), Again::FromStart));
        }
        if let (Some(planned), Some(sent)) = (&self.file.etag, text(headers, &header::ETAG))
            && self.file.digest.is_none()
            && planned != sent.trim_matches('"')
        {
            return Err(odd("it changes while it is downloaded".to_owned(), Again::FromStart));
        }
        let framed =
            length.is_some() || text(headers, &header::TRANSFER_ENCODING).is_some_and(|text| text.contains("chunked"));
        if self.file.size.is_none() && self.file.digest.is_none() && !framed {
            let message = "the source does not say where the file ends, so a part could not be told from the whole: give a sha256";
            return Err(odd(message.to_owned(), Again::Never));
        }
        Ok(())
    }

    /// Creates the file once it is known what it will be verified against.
    fn begin(&mut self, headers: &HeaderMap) -> Result<(), Error> {
        self.promised = self.with.remote.promised(self.file, headers);
        let strong = |value: &&header::HeaderValue| !value.as_bytes().starts_with(b"W/");
        self.validator = headers.get(header::ETAG).filter(strong).or(headers.get(header::LAST_MODIFIED)).cloned();
        let algorithm = self.promised.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let path = self.with.staging.incoming(self.index);
        self.sink = Some(Sink::create(path, algorithm, self.file.size.unwrap_or(0))?);
        Ok(())
    }

    /// Writes the body to the file. Receiving and writing overlap; the sink comes back whatever happens.
    async fn receive(&mut self, response: &mut Response) -> Result<(), Trouble> {
        let Some(mut sink) = self.sink.take() else { return Ok(()) };
        let mut sent = sink.written();
        let (to_writer, pieces) = mpsc::channel::<Bytes>(QUEUE);
        let writer = tokio::task::spawn_blocking(move || {
            let result = sink.drain(pieces);
            (sink, result)
        });
        let received = loop {
            match self.with.http.chunk(response, self.file.path.as_str()).await {
                Ok(None) => break Ok(()),
                Err(trouble) => break Err(trouble),
                Ok(Some(piece)) => {
                    sent += piece.len() as u64;
                    if self.file.size.is_some_and(|size| sent > size) {
                        let message = format!("{}: more bytes are sent than were promised", self.file.path);
                        let error = Error::new(Reason::SourceInvalid, message);
                        break Err(Trouble { error, again: Again::FromStart });
                    }
                    let length = piece.len() as u64;
                    if to_writer.send(piece).await.is_err() {
                        // The writer has failed and says why below.
                        break Ok(());
                    }
                    self.with.meter.add_bytes(length);
                }
            }
        };
        drop(to_writer);
        let (sink, written) = writer.await.map_err(|error| Trouble::lasting(Error::task(error)))?;
        self.sink = Some(sink);
        written.map_err(Trouble::lasting)?;
        received
    }

    /// Compares the digest and takes the file into the tree.
    async fn finish(mut self) -> Result<FileRecord, Error> {
        let (with, file) = (self.with, self.file);
        let size = self.written();
        let Some(sink) = self.sink.take() else {
            return Err(Error::new(Reason::DownloadFailed, format!("{}: nothing was received", file.path)));
        };
        let (path, digest) = tokio::task::spawn_blocking(move || sink.finish()).await.map_err(Error::task)??;
        if let Some(promised) = &self.promised
            && *promised != digest
        {
            with.meter.remove_bytes(size);
            std::fs::remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
            let message = format!("{}: its digest should be {promised} and is {digest}", file.path);
            return Err(Error::new(Reason::ChecksumMismatch, message));
        }
        let verified = self.promised.is_some();
        let record = FileRecord { path: file.path.clone(), size, digest, verified, etag: file.etag.clone() };
        with.staging.accept(&path, &record)?;
        with.meter.add_file();
        tracing::debug!(path = %record.path, size, digest = %record.digest, verified, "file is complete");
        Ok(record)
    }

    fn written(&self) -> u64 {
        self.sink.as_ref().map_or(0, Sink::written)
    }

    /// Starts the file over, with whatever the source promises next.
    fn restart(&mut self) {
        self.with.meter.remove_bytes(self.written());
        self.sink = None;
        self.validator = None;
        self.promised = None;
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// First byte and, where it is known, length of the whole from `bytes FIRST-LAST/WHOLE`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.parse().ok()?, whole.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::content_range;

    #[test]
    fn content_ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for text in ["", "bytes */10", "items 5-9/10", "bytes 5/10", "bytes -9/10"] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }
}
