//! Whether a volume has room.

use std::path::Path;

use model_core::reason::Reason;

use crate::Error;

/// Refuses when files of these sizes do not fit where `dir` lies.
///
/// What counts is the space that this user may take, and that each file takes whole blocks.
pub(crate) fn check(dir: &Path, sizes: impl Iterator<Item = u64>) -> Result<(), Error> {
    let found = rustix::fs::statvfs(dir).map_err(|error| Error::io("look at the free space of", dir, error.into()))?;
    let block = found.f_frsize.max(1);
    let needed = sizes.map(|size| size.div_ceil(block).saturating_mul(block)).fold(0, u64::saturating_add);
    let free = found.f_bavail.saturating_mul(block);
    if needed > free {
        let message =
            format!("the model does not fit: {needed} bytes are needed, {free} are free at {}", dir.display());
        return Err(Error::new(Reason::DiskFull, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_fit_is_refused_with_figures() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check(dir.path(), [0, 1, 4096].into_iter()).is_ok());
        let error = check(dir.path(), [u64::MAX / 2, 1].into_iter()).unwrap_err();
        assert_eq!(error.reason(), Reason::DiskFull);
        assert!(error.to_string().contains("bytes are needed"), "{error}");
    }
}
