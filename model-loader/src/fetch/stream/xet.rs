//! A part of a file from Xet storage instead of from the hub's CDN.

use bytes::Bytes;
use model_core::reason::Reason;

use super::{End, News, Pieces, Stream};
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
            let Some(mut pieces) = with.remote.xet(&with.http, &dir, &target.file, begun..end).await? else {
                return Ok(None);
            };
            if self.part.alone {
                self.part.alone = false;
                // Nobody listens any more when the download has failed.
                let _ = self.news.send(News::Ranges(self.part.file));
            }
            self.receive(&mut pieces, assembly, at).await?;
            if *at == begun {
                let message = format!("{}: Xet storage gives nothing from byte {begun} on", target.file.path);
                return Err(Trouble::passing(Error::new(Reason::SourceInvalid, message)));
            }
        }
        Ok(Some(End::Written))
    }
}

impl Pieces for XetPieces {
    async fn next(&mut self, what: &str) -> Result<Option<Bytes>, Trouble> {
        XetPieces::next(self, what).await
    }
}
