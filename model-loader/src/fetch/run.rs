//! One download from its first request to its last file: starts streams, and minds how they end.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    os::unix::fs::MetadataExt as _,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use model_core::reason::Reason;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
    time::Instant,
};

use super::{
    Fetch,
    assembly::Assembly,
    limits,
    ramp::Ramp,
    schedule::{Left, Limits, Part, Schedule},
    spans::Spans,
    stream::{End, News, Stream, Target},
};
use crate::{
    Error,
    digest::{Algorithm, Digest, Hasher},
    manifest::FileRecord,
    plan::{Plan, PlannedFile},
    publish::{Earlier, UNSYNCED},
    space,
};

/// How often a file is fetched in all before a wrong digest counts.
const ROUNDS: u32 = 2;
/// How often a file may start over because its source changes its mind.
const STARTS: u32 = 5;

/// A download at work.
pub(super) struct Run<'a> {
    plan: &'a Plan,
    with: &'a Arc<Fetch>,
    limits: Limits,
    /// The name under which each file is kept for later runs. Absent for those that are not.
    kept: Vec<Option<String>>,
    schedule: Schedule,
    /// Large files that are not begun: each takes an open file.
    waiting: VecDeque<usize>,
    targets: BTreeMap<usize, Arc<Target>>,
    starts: BTreeMap<usize, u32>,
    rounds: BTreeMap<usize, u32>,
    tasks: JoinSet<Result<Done, Error>>,
    /// Large files that are begun and not complete.
    begun: usize,
    news: UnboundedReceiver<News>,
    tell: UnboundedSender<News>,
    records: Vec<FileRecord>,
}

/// What a task has done.
enum Done {
    Prepared(Arc<Target>),
    Ended(Part, End),
    Accepted(usize, FileRecord),
    /// All bytes came, and they are not the right ones.
    Wrong(usize, Error),
}

impl<'a> Run<'a> {
    pub(super) fn new(plan: &'a Plan, with: &'a Arc<Fetch>) -> Self {
        let limits = limits(with.buffers);
        let (tell, news) = unbounded_channel();
        Self {
            plan,
            with,
            limits,
            kept: plan.files.iter().map(kept_name).collect(),
            schedule: Schedule::new(plan.files.len(), limits),
            waiting: VecDeque::new(),
            targets: BTreeMap::new(),
            starts: BTreeMap::new(),
            rounds: BTreeMap::new(),
            tasks: JoinSet::new(),
            begun: 0,
            news,
            tell,
            records: Vec::new(),
        }
    }

    /// Fetches everything, and leaves no task behind.
    pub(super) async fn finish(mut self) -> Result<Vec<FileRecord>, Error> {
        let result = self.all().await;
        // Nothing may write any more when the lock of the staging directory is let go.
        self.tasks.shutdown().await;
        result.map(|()| self.records)
    }

    async fn all(&mut self) -> Result<(), Error> {
        self.look()?;
        let mut ramp = Ramp::new(self.limits.streams, self.with.http.quickest_answer());
        let (mut before, mut looked) = (0, Instant::now());
        loop {
            self.schedule.set_streams(ramp.streams());
            self.start()?;
            if self.tasks.is_empty() && !self.schedule.waits_for_digests() {
                // Nothing runs and nothing is left to ask for: then every file is there, or the loader is wrong.
                return if self.records.len() == self.plan.files.len() { Ok(()) } else { Err(self.lost_one()) };
            }
            tokio::select! {
                // What a stream tells comes before its end.
                biased;
                Some(news) = self.news.recv() => match news {
                    News::Ranges(file) => self.schedule.gives_ranges(file),
                    News::Whole(file) => self.schedule.gives_whole(file),
                },
                Some(done) = self.tasks.join_next() => self.mind(done.map_err(Error::task)??)?,
                () = self.with.waiting.got_on.notified() => {}
                () = tokio::time::sleep_until(looked + ramp.pause()) => {
                    let (bytes, active) = (self.with.meter.totals().received_bytes, self.schedule.streams());
                    let millis = u64::try_from(looked.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
                    let speed = (bytes - before).saturating_mul(1000) / millis;
                    ramp.look(speed, active);
                    self.with.typical_speed.store(speed / active.max(1) as u64, Relaxed);
                    (before, looked) = (bytes, Instant::now());
                }
            }
        }
    }

    /// Finds what is complete already, or can be linked, and whether there is room for the rest.
    fn look(&mut self) -> Result<(), Error> {
        let Fetch { staging, meter, .. } = &**self.with;
        meter.expect(self.plan.bytes(), self.plan.files.len() as u64);
        let earlier = Earlier::beside(staging.target());
        let (mut kept, mut missing) = (BTreeSet::new(), Vec::new());
        for (index, file) in self.plan.files.iter().enumerate() {
            let link = staging.incoming(&index.to_string());
            let complete = match staging.complete(file) {
                Some(record) => Some(record.clone()),
                None => earlier
                    .link(file, &link)?
                    .map(|record| staging.accept(&link, &record).map(|()| record))
                    .transpose()?,
            };
            if let Some(record) = complete {
                meter.add_bytes(record.size);
                meter.add_file();
                self.records.push(record);
                continue;
            }
            if let Some(name) = &self.kept[index] {
                kept.extend([records_name(name), name.clone()]);
            }
            missing.push(index);
        }
        staging.keep_incoming(&kept)?;
        space::check(staging.path(), missing.iter().filter_map(|&index| self.room(index)))?;
        for index in missing {
            let file = &self.plan.files[index];
            if self.kept[index].is_some() {
                self.waiting.push_back(index);
            } else {
                let target = Arc::new(Target::new(index, file.clone()));
                self.targets.insert(index, target);
                self.schedule.add(index, file.size, Spans::default());
            }
        }
        Ok(())
    }

    /// Bytes that a file will still take.
    fn room(&self, index: usize) -> Option<u64> {
        let kept = self.kept[index].as_ref();
        let begun = kept.and_then(|name| fs::symlink_metadata(self.with.staging.incoming(name)).ok());
        // Blocks of 512 bytes, whatever the file system uses.
        let there = begun.map_or(0, |found| found.blocks() * 512);
        Some(self.plan.files[index].size?.saturating_sub(there))
    }

    /// Starts everything that may run now.
    fn start(&mut self) -> Result<(), Error> {
        while self.begun < self.limits.streams
            && let Some(index) = self.waiting.pop_front()
        {
            self.begun += 1;
            let (with, file) = (self.with.clone(), self.plan.files[index].clone());
            let name = self.kept[index].clone().unwrap_or_default();
            self.tasks.spawn(async move { Ok(Done::Prepared(prepare(with, index, file, name).await?)) });
        }
        let hashed = |targets: &BTreeMap<usize, Arc<Target>>, file: usize| {
            targets.get(&file).and_then(|target| target.assembly.get()).map_or(0, |assembly| assembly.hashed())
        };
        while let Some(part) = self.schedule.next(|file| hashed(&self.targets, file)) {
            let target = self.targets.get(&part.file).ok_or_else(|| lost(&self.plan.files[part.file]))?.clone();
            let stream = Stream { with: self.with.clone(), target, part, news: self.tell.clone(), whole_answers: 0 };
            self.tasks.spawn(async move { Ok(Done::Ended(part, stream.run().await?)) });
        }
        Ok(())
    }

    /// Takes the result of a task.
    fn mind(&mut self, done: Done) -> Result<(), Error> {
        match done {
            Done::Prepared(target) => {
                let there = target.assembly.get().map(|assembly| assembly.there()).unwrap_or_default();
                self.with.meter.add_bytes(there.bytes());
                let (index, size) = (target.index, target.file.size);
                self.targets.insert(index, target);
                if self.schedule.add(index, size, there) {
                    self.complete(index)?;
                }
            }
            Done::Ended(part, end) => {
                if let End::StartOver { whole, why } = end {
                    self.schedule.start_over(part.file, whole);
                    let starts = self.starts.entry(part.file).or_default();
                    *starts += 1;
                    if *starts >= STARTS {
                        return Err(why);
                    }
                }
                match self.schedule.ended(part) {
                    Left::More => {}
                    Left::Complete => self.complete(part.file)?,
                    Left::StartOver => self.start_over(part.file)?,
                }
            }
            Done::Accepted(index, record) => {
                self.targets.remove(&index);
                self.begun -= usize::from(self.kept[index].is_some());
                self.with.meter.add_file();
                self.records.push(record);
            }
            Done::Wrong(index, error) => {
                let rounds = self.rounds.entry(index).or_insert(1);
                *rounds += 1;
                let last = *rounds > ROUNDS;
                // Before anything else: wrong bytes must not be taken up by a later run.
                self.start_over(index)?;
                if last {
                    return Err(error);
                }
                tracing::warn!("{error}; fetches it again");
            }
        }
        Ok(())
    }

    /// Checks a file whose bytes are all there.
    fn complete(&mut self, index: usize) -> Result<(), Error> {
        let (with, target) =
            (self.with.clone(), self.targets.get(&index).ok_or_else(|| lost(&self.plan.files[index]))?.clone());
        let kept = self.kept[index].clone();
        self.tasks.spawn_blocking(move || accept(&with, &target, kept));
        Ok(())
    }

    /// The fault of ours that some file of the plan was never fetched.
    fn lost_one(&self) -> Error {
        let is_there = |file: &PlannedFile| self.records.iter().any(|record| record.path == file.path);
        let missing = self.plan.files.iter().find(|file| !is_there(file));
        missing.map_or_else(|| Error::new(Reason::DownloadFailed, "the loader fetched a file twice"), lost)
    }

    /// Begins a file anew.
    fn start_over(&mut self, index: usize) -> Result<(), Error> {
        let target = self.targets.get(&index).ok_or_else(|| lost(&self.plan.files[index]))?;
        if let Some(assembly) = target.assembly.get() {
            self.with.dismiss(assembly.there().bytes());
            assembly.restart()?;
        }
        let fresh = Arc::new(target.again());
        let size = fresh.file.size;
        self.targets.insert(index, fresh);
        self.schedule.add(index, size, Spans::default());
        Ok(())
    }
}

/// The name under which a large file is kept for later runs, if anything tells its content from another one.
fn kept_name(file: &PlannedFile) -> Option<String> {
    let large = file.size? > UNSYNCED;
    let content = file.digest.as_ref().map(ToString::to_string).or_else(|| file.etag.clone())?;
    large.then(|| {
        let mut hasher = Hasher::new(Algorithm::Sha256, 0);
        hasher.update(serde_json::json!([file.path, file.size, content]).to_string().as_bytes());
        hasher.finish().hex()[..32].to_owned()
    })
}

/// Opens a large file, with what an earlier run has left of it.
async fn prepare(with: Arc<Fetch>, index: usize, file: PlannedFile, name: String) -> Result<Arc<Target>, Error> {
    let promised = with.remote.promise(&with.http, &file).await?;
    let take_up = move || {
        let algorithm = promised.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let (path, records) = (with.staging.incoming(&name), with.staging.incoming(&records_name(&name)));
        let assembly = Assembly::take_up(path, &records, file.size.unwrap_or(0), algorithm, with.waiting.clone())?;
        Ok(Arc::new(Target::begun(index, file, assembly, promised)))
    };
    tokio::task::spawn_blocking(take_up).await.map_err(Error::task)?
}

/// Compares the digest, and takes the file into the tree.
fn accept(with: &Fetch, target: &Target, kept: Option<String>) -> Result<Done, Error> {
    let (index, file) = (target.index, &target.file);
    let assembly = target.assembly.get().ok_or_else(|| lost(file))?;
    // Small files are synced together, before they are published.
    let (path, size, digest) = assembly.finish(kept.is_some())?;
    if let Some(promised) = target.promised.get().filter(|promised| **promised != digest) {
        let message = format!("{}: its digest should be {promised} and is {digest}", file.path);
        return Ok(Done::Wrong(index, Error::new(Reason::ChecksumMismatch, message)));
    }
    let verified = target.promised.get().is_some();
    if verified {
        with.meter.verified(size);
    }
    let record = FileRecord { path: file.path.clone(), size, digest, verified, etag: file.etag.clone() };
    with.staging.accept(&path, &record)?;
    if let Some(name) = kept {
        let records = with.staging.incoming(&records_name(&name));
        fs::remove_file(&records).map_err(|error| Error::io("remove", &records, error))?;
    }
    tracing::debug!(path = %record.path, size, digest = %record.digest, verified, "file is complete");
    Ok(Done::Accepted(index, record))
}

/// The name of the records of a file.
fn records_name(name: &str) -> String {
    format!("{name}.chunks")
}

/// A file that nobody fetches: a fault of ours.
fn lost(file: &PlannedFile) -> Error {
    Error::new(Reason::DownloadFailed, format!("{}: the loader lost track of it", file.path))
}
