//! The background threads that finish rotated files: one compresses and announces, the other runs
//! the postprocessor, so that a slow command does not delay compression.
//!
//! Each processes the jobs of its stage in order. If a file cannot be finished, for example on a
//! full disk, the source stays where it is, the other jobs continue, and the file is retried at
//! growing intervals.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use zcluster::rate_limit::RateLimit;
use zcluster::telemetry::LoggerMetrics;

use super::RotationSettings;
use super::compress::{self, Compression, Passed, Source, Unfinished};
use super::job::{Finished, Job, JobDir, JobId, Stage};
use super::leftovers;
use super::manifest::Manifest;
use super::name::NameRules;
use super::postprocess::{Arguments, Outcome};
use super::rotator::{NUMBERS, candidate, is_taken, no_free_name};
use super::signal::Waker;
use crate::end::TellEnd;
use crate::files::{self, FileId};
use crate::trouble::Trouble;

/// Job names held in memory at a time.
const SWEEP: usize = 1000;
/// Time before a failed job is retried; doubled with every failure.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// Time between warnings of one kind.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Extra time for a step still running at the deadline; then it is abandoned, and the next start
/// recovers.
const GRACE: Duration = Duration::from_millis(500);
/// Niceness of the compressing thread: receiving and writing take precedence.
const NICENESS: i32 = 10;
const THREADS: usize = 2;

/// Handle of the background threads.
#[derive(Debug)]
pub(crate) struct Finisher {
    jobs: JobDir,
    waker: Waker,
}

impl Finisher {
    /// Settles the unfinished steps of a previous process, and starts the threads, which first
    /// process its remaining jobs. Must be called before any rotation, while no other process uses
    /// the log directory. `guard` returns a value whose drop reports that the named thread ended.
    ///
    /// # Errors
    /// If the job directory cannot be read or written, or the system refuses a thread.
    pub(crate) fn start(
        settings: &Arc<RotationSettings>,
        metrics: &LoggerMetrics,
        trouble: &Trouble,
        guard: impl Fn(&'static str) -> TellEnd,
    ) -> io::Result<Self> {
        let waker = Waker::default();
        let finisher = Finisher { jobs: settings.jobs(), waker: waker.clone() };
        finisher.jobs.settle()?;
        leftovers::settle(settings, &finisher.jobs);
        for (name, stage) in [("finisher", Stage::Rotated), ("postprocessor", Stage::Announced)] {
            let worker = Worker {
                settings: Arc::clone(settings),
                names: settings.names(),
                jobs: settings.jobs(),
                manifest: Manifest::new(&settings.log_dir),
                metrics: metrics.clone(),
                waker: waker.clone(),
                trouble: trouble.clone(),
                warnings: Mutex::new(RateLimit::new(WARNING_INTERVAL)),
            };
            let ended = TellEnded(waker.clone());
            let guard = guard(name);
            let body = move || {
                // Dropped last: `stop` must not return before `guard` has reported.
                let _ended = ended;
                let _guard = guard;
                worker.run(stage);
            };
            std::thread::Builder::new().name(name.into()).spawn(body)?;
        }
        Ok(finisher)
    }

    /// Returns the waker that tells the threads about new jobs.
    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Finishes as many jobs as possible before the deadline, and returns how many are left for the
    /// next start. Blocks until then. Must be called after the last rotation. A compression still
    /// running at the deadline is abandoned; a postprocessor is left running.
    pub(crate) fn stop(self, deadline: Instant) -> usize {
        self.waker.stop(deadline);
        self.waker.wait_for_end(THREADS, deadline + GRACE);
        self.jobs.count().unwrap_or(0)
    }
}

/// Reports the end of a thread when dropped, also when the thread panics.
struct TellEnded(Waker);

impl Drop for TellEnded {
    fn drop(&mut self) {
        self.0.tell_ended();
    }
}

/// The result of a step.
enum Step {
    Done,
    /// The deadline has passed.
    Stopped,
}

/// The state of a thread.
struct Worker {
    settings: Arc<RotationSettings>,
    names: NameRules,
    jobs: JobDir,
    manifest: Manifest,
    metrics: LoggerMetrics,
    waker: Waker,
    trouble: Trouble,
    warnings: Mutex<RateLimit>,
}

impl Worker {
    /// The body of a thread.
    fn run(&self, stage: Stage) {
        if stage == Stage::Rotated {
            // Applies to this thread only. If refused, the thread runs at normal priority.
            let _ = rustix::process::setpriority_process(None, NICENESS);
            if let Err(error) = self.manifest.repair() {
                self.warn(&format!("cannot repair {}: {error}", super::manifest::MANIFEST));
            }
        }
        let mut after = None;
        let mut retry = FIRST_RETRY;
        let mut has_failed = false;
        loop {
            let seen = self.waker.seen();
            // Read before the sweep: jobs added in between are part of it.
            let is_last =
                self.waker.is_stopping() && (stage == Stage::Rotated || self.waker.ended() > 0);
            let ids = self.jobs.list(stage, after.as_ref(), SWEEP).unwrap_or_else(|error| {
                has_failed = true;
                self.fail(stage, &format!("cannot read {}: {error}", self.jobs.path().display()));
                self.back_off(&mut retry);
                Vec::new()
            });
            for id in &ids {
                if self.waker.is_over() {
                    return;
                }
                match self.step(stage, id) {
                    Ok(Step::Done) => retry = FIRST_RETRY,
                    Ok(Step::Stopped) => return,
                    Err(error) => {
                        has_failed = true;
                        self.fail(stage, &format!("cannot finish a rotated log: {error}"));
                        self.back_off(&mut retry);
                    }
                }
            }
            after = (ids.len() == SWEEP).then(|| ids.last().cloned()).flatten();
            if after.is_some() {
                continue;
            }
            if is_last {
                return;
            }
            let has_failed = std::mem::take(&mut has_failed);
            if has_failed && !self.waker.is_stopping() {
                continue;
            }
            if !has_failed && stage == Stage::Rotated && self.trouble.get().is_some() {
                self.trouble.set(None);
                log::info!("rotated logs can be finished again");
            }
            self.waker.wait(seen);
        }
    }

    fn back_off(&self, retry: &mut Duration) {
        self.waker.pause(*retry);
        *retry = (*retry * 2).min(LAST_RETRY);
    }

    fn fail(&self, stage: Stage, what: &str) {
        if stage == Stage::Rotated {
            self.metrics.compression_failures.inc();
            self.trouble.set(Some(what.to_owned()));
        } else {
            self.metrics.postprocessor_failures.inc();
        }
        self.warn(what);
    }

    fn warn(&self, what: &str) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(more) = warnings.check(Instant::now()) {
            log::error!("{what} ({more} more like this)");
        }
    }

    fn step(&self, stage: Stage, id: &JobId) -> io::Result<Step> {
        let job = match self.jobs.load(id, stage) {
            Ok(job) => job,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Step::Done),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                log::error!("dropped the rotation job {id}, which cannot be read: {error}");
                self.jobs.remove(id, stage)?;
                return Ok(Step::Done);
            }
            Err(error) => return Err(error),
        };
        if stage == Stage::Rotated { self.finish(id, job) } else { self.postprocess(id, &job) }
    }

    /// Takes a file from its rotated name to its line in the manifest.
    fn finish(&self, id: &JobId, mut job: Job) -> io::Result<Step> {
        let source = self.jobs.source_path(&job);
        let of_source = |error: io::Error| about(&source, &error);
        let finished = match former_result(&job, &source)? {
            Some(finished) => Some(finished),
            None => match self.make(id, &mut job, &source) {
                Ok(finished) => finished,
                Err(Unfinished::Stopped) => return Ok(Step::Stopped),
                Err(Unfinished::Io(error)) => return Err(of_source(error)),
            },
        };
        // Left by a run that compressed otherwise, or was killed between a link and an unlink.
        files::remove_if_there(&dir_of(job.file_path()).join(id.temporary_name()))?;
        let Some(finished) = finished else {
            log::warn!("{} disappeared before it was announced", source.display());
            self.jobs.remove(id, Stage::Rotated)?;
            return Ok(Step::Done);
        };
        if source != finished.file_path() && job.source.is_at(&source)? {
            files::remove_if_there(&source).map_err(of_source)?;
        }
        self.manifest.add(&job, &finished).map_err(|error| about(&self.manifest_path(), &error))?;
        if self.settings.postprocessor.is_none() {
            self.jobs.remove(id, Stage::Rotated)?;
            return Ok(Step::Done);
        }
        self.jobs.promote(id, Stage::Rotated, Stage::Announced)?;
        self.waker.wake();
        Ok(Step::Done)
    }

    fn manifest_path(&self) -> PathBuf {
        self.settings.log_dir.join(super::manifest::MANIFEST)
    }

    /// Creates the file to ship and gives it its name. `None` if the source is gone.
    fn make(
        &self,
        id: &JobId,
        job: &mut Job,
        source: &Path,
    ) -> Result<Option<Finished>, Unfinished> {
        let Some((from, metadata)) = files::open_regular(source)? else { return Ok(None) };
        if FileId::new(&metadata) != job.source {
            return Ok(None);
        }
        let compression = if job.gzipped { Compression::None } else { self.settings.compress };
        let how = Source { gzipped: job.gzipped, bare_header: job.bare_header };
        let is_over = || self.waker.is_over();
        if job.held.is_none() && compression == Compression::None {
            let passed = compress::pass(&from, how, compression, None, &is_over)?;
            from.sync_all()?;
            files::sync_dir(dir_of(source))?;
            let finished = self.result(job, source, job.source, passed);
            job.finished = Some(finished.clone());
            self.jobs.write(id, Stage::Rotated, job)?;
            return Ok(Some(finished));
        }
        let target_dir = dir_of(job.file_path()).to_owned();
        files::make_dir(&target_dir, false)?;
        let temporary = target_dir.join(id.temporary_name());
        files::remove_if_there(&temporary)?;
        let mut make = || {
            let to = files::create_new(&temporary)?;
            leftovers::mark_in_use(&to);
            let passed = compress::pass(&from, how, compression, Some(&to), &is_over)?;
            to.set_modified(metadata.modified()?)?;
            to.sync_all()?;
            let new = FileId::new(&to.metadata()?);
            Ok(self.publish(id, job, &temporary, compression, new, &passed)?)
        };
        let finished = make().inspect_err(|_: &Unfinished| {
            // If that fails too, the next attempt removes it.
            let _ = files::remove_if_there(&temporary);
        })?;
        files::sync_dir(&target_dir)?;
        if compression != Compression::None {
            self.metrics.path(&job.path_text()).compressions.inc();
        }
        Ok(Some(finished))
    }

    /// Gives the new file its name, after writing the name to the job.
    fn publish(
        &self,
        id: &JobId,
        job: &mut Job,
        temporary: &Path,
        compression: Compression,
        new: FileId,
        passed: &Passed,
    ) -> io::Result<Finished> {
        // The name next to its source, or another if that has been taken meanwhile. A file from
        // another file system has no name yet.
        let first = job.file_path().to_owned();
        let is_ours = job.held.is_none();
        for number in std::iter::once(None).chain(NUMBERS.map(Some)) {
            let base = match number {
                None => first.clone(),
                Some(number) => candidate(&self.settings, &self.names, job, number),
            };
            if !(number.is_none() && is_ours) && is_taken(&base)? {
                continue;
            }
            let target = files::with_end(&base, compression.extension());
            let finished = self.result(job, &target, new, passed.clone());
            job.finished = Some(finished.clone());
            self.jobs.write(id, Stage::Rotated, job)?;
            match files::rename_new(temporary, &target) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                outcome => return outcome.map(|()| finished),
            }
        }
        Err(no_free_name(job))
    }

    fn result(&self, job: &Job, file: &Path, id: FileId, passed: Passed) -> Finished {
        if let Some(damage) = &passed.damage {
            let source = self.jobs.source_path(job);
            log::warn!("{} is not a complete gzip stream: {damage}", source.display());
        }
        let figures = passed.figures;
        Finished {
            file: file.as_os_str().as_encoded_bytes().into(),
            id,
            size: passed.size,
            sha256: passed.sha256,
            records: figures.records,
            bytes: figures.bytes,
            first: job.times.map_or(figures.first, |(first, _)| Some(first)),
            last: job.times.map_or(figures.last, |(_, last)| Some(last)),
        }
    }

    /// Runs the command. It runs again after a crash of the logger, but not after a failure.
    fn postprocess(&self, id: &JobId, job: &Job) -> io::Result<Step> {
        let (Some(postprocessor), Some(finished)) = (&self.settings.postprocessor, &job.finished)
        else {
            self.jobs.remove(id, Stage::Announced)?;
            return Ok(Step::Done);
        };
        let file = finished.file_path();
        if files::look_at(file)?.is_none() {
            log::warn!("{} disappeared before its postprocessor ran", file.display());
            self.jobs.remove(id, Stage::Announced)?;
            return Ok(Step::Done);
        }
        let time = |time| self.names.short_time(std::time::SystemTime::from(time));
        let (open, close) = (time(job.open), time(job.close));
        let arguments = Arguments {
            file,
            path: &job.path_text(),
            open: &open,
            close: &close,
            terminating: job.terminating,
        };
        let outcome = postprocessor.run(arguments, &|| self.waker.is_over())?;
        self.jobs.remove(id, Stage::Announced)?;
        match outcome {
            Outcome::Success => {}
            Outcome::Failure(why) => {
                self.fail(Stage::Announced, &format!("postprocessor of {}: {why}", file.display()));
            }
            Outcome::LeftAlone => {
                let file = file.display();
                log::warn!("the postprocessor of {file} is still running; not waiting for it");
                return Ok(Step::Stopped);
            }
        }
        Ok(Step::Done)
    }
}

/// Returns the result of a previous attempt if it must not be repeated. If the source is gone too,
/// a consumer has already fetched the result.
fn former_result(job: &Job, source: &Path) -> io::Result<Option<Finished>> {
    let Some(finished) = &job.finished else { return Ok(None) };
    let is_valid = finished.id.is_at(finished.file_path())? || !job.source.is_at(source)?;
    Ok(is_valid.then(|| finished.clone()))
}

fn dir_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("/"))
}

fn about(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}
