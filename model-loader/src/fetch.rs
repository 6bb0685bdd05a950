//! Second step: bring each file of the plan to the staging directory, verified.

mod file;
mod sink;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    Error,
    http::Http,
    manifest::FileRecord,
    plan::{Plan, PlannedFile, Remote},
    progress::Meter,
    publish::Staging,
    space,
};

/// Files that are fetched at the same time.
const FILES_AT_ONCE: usize = 4;

/// What every file of a download shares.
pub(crate) struct Fetch<'a> {
    pub(crate) http: &'a Http,
    pub(crate) remote: &'a Remote,
    pub(crate) staging: &'a Staging,
    pub(crate) meter: &'a Meter,
}

/// Fetches all files that are not complete yet.
///
/// # Errors
/// The first file that cannot be fetched ends the whole; files that are complete stay in the staging directory.
pub(crate) async fn fetch(plan: &Plan, with: &Fetch<'_>) -> Result<Vec<FileRecord>, Error> {
    with.meter.expect(plan.bytes(), plan.files.len() as u64);
    let mut done = Vec::new();
    let mut missing: Vec<(usize, &PlannedFile)> = Vec::new();
    for (index, file) in plan.files.iter().enumerate() {
        match with.staging.complete(file) {
            Some(record) => {
                with.meter.add_bytes(record.size);
                with.meter.add_file();
                done.push(record.clone());
            }
            None => missing.push((index, file)),
        }
    }
    space::check(with.staging.path(), missing.iter().filter_map(|(_, file)| file.size))?;
    let fetched =
        stream::iter(missing).map(|(index, file)| file::fetch(with, index, file)).buffer_unordered(FILES_AT_ONCE);
    done.extend(fetched.try_collect::<Vec<_>>().await?);
    Ok(done)
}
