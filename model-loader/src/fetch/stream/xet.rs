//! A part of a file from Xet storage instead of from the hub's CDN.

use std::{path::Path, sync::Arc};

use model_core::reason::Reason;

use super::{Assembly, End, News, Recorder, Stream};
use crate::{Error, http::Trouble, plan::XetPieces};

impl Stream {
    /// Fetches the part from the byte that was reached. `None` where the file does not lie in Xet storage.
    pub(super) async fn attempt_xet(&mut self, at: &mut u64) -> Result<Option<End>, Trouble> {
        let (with, target) = (self.with.clone(), self.target.clone());
        // A small file is not begun before its first answer: one request to the hub costs less than two to the storage.
        let (Some(assembly), Some(end)) = (target.assembly.get(), self.part.end) else { return Ok(None) };
        let dir = with.staging.incoming("xet");
        while *at < end {
            let begun = *at;
            let Some(pieces) = with.remote.xet(&with.http, &dir, &target.file, begun..end).await? else {
                return Ok(None);
            };
            if self.part.alone {
                self.part.alone = false;
                // Nobody listens any more when the download has failed.
                let _ = self.news.send(News::Ranges(self.part.file));
            }
            self.receive_xet(pieces, assembly, at, end).await?;
            if *at == begun {
                let message = format!("{}: Xet storage gives nothing from byte {begun} on", target.file.path);
                return Err(Trouble::passing(Error::new(Reason::SourceInvalid, message)));
            }
        }
        Ok(Some(End::Written))
    }

    /// Writes pieces to the file as they come.
    async fn receive_xet(
        &self,
        mut pieces: XetPieces,
        assembly: &Arc<Assembly>,
        at: &mut u64,
        end: u64,
    ) -> Result<(), Trouble> {
        let what = self.target.file.path.as_str();
        let unrecorded = |error| Trouble::lasting(Error::io("record a chunk of", Path::new(what), error));
        let mut recorder = Recorder::new(assembly.records(), *at);
        let ended = loop {
            let piece = match pieces.next(what).await {
                Ok(Some(piece)) => piece,
                Ok(None) => break Ok(()),
                Err(trouble) => break Err(trouble),
            };
            let length = piece.len() as u64;
            if *at + length > end {
                let message = format!("{what}: Xet storage gives more bytes than it was asked for");
                break Err(Trouble::passing(Error::new(Reason::SourceInvalid, message)));
            }
            assembly.write(*at, piece.clone()).map_err(Trouble::lasting)?;
            recorder.written(&piece).map_err(unrecorded)?;
            *at += length;
            self.with.meter.add_bytes(length);
            self.with.meter.received(length);
        };
        recorder.flush().map_err(unrecorded)?;
        ended
    }
}
