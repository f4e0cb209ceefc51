//! The job directory, `.rotated` in the log directory: unfinished rotations, on disk.
//!
//! A job is one small JSON file, written atomically, whose extension is its [`Stage`]. The
//! directory is the queue between the writer and the finisher, so a slow disk or postprocessor
//! costs no memory, and a killed process loses no jobs.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bstr::BString;
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};
use zcluster::file_name::escape;

use super::json_bytes;
use crate::files::{self, FileId};

/// The name of the directory in the log directory.
pub(crate) const JOB_DIR: &str = ".rotated";
/// What names of temporary files beside rotated ones begin with; the job follows.
const TEMPORARY: &str = ".tmp.";
/// The end of the names of files that wait in the job directory.
const HELD: &str = ".held";
/// Real job files are far smaller: the paths in them are file names.
const MAX_JOB: u64 = 64 << 10;

/// A time in microseconds since 1970, the precision of times in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Micros(pub(crate) i64);

impl From<SystemTime> for Micros {
    fn from(time: SystemTime) -> Self {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Micros(micros(after)),
            Err(before) => Micros(-micros(before.duration())),
        }
    }
}

impl Micros {
    /// Converts with rounding; saturates out of range.
    pub(crate) fn from_seconds(seconds: f64) -> Self {
        Micros((seconds * 1e6).round() as i64)
    }
}

impl From<Micros> for SystemTime {
    fn from(time: Micros) -> Self {
        let distance = Duration::from_micros(time.0.unsigned_abs());
        let epoch = SystemTime::UNIX_EPOCH;
        let time =
            if time.0 < 0 { epoch.checked_sub(distance) } else { epoch.checked_add(distance) };
        time.unwrap_or(epoch)
    }
}

/// The progress of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The log is about to be renamed. After a crash, the next start resolves it.
    Intent,
    /// Renamed; not yet compressed and announced.
    Rotated,
    /// Announced; the postprocessor has not run yet.
    Announced,
}

impl Stage {
    fn extension(self) -> &'static str {
        match self {
            Stage::Intent => "intent",
            Stage::Rotated => "json",
            Stage::Announced => "post",
        }
    }
}

/// The name of a job. Names sort by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JobId(String);

impl JobId {
    /// Returns a name that is unique, also among other directories.
    pub(crate) fn new() -> Self {
        let now = Micros::from(SystemTime::now()).0.max(0);
        let mut random = [0; 6];
        // If this fails, the time is unique enough: jobs are created one after the other.
        let _ = getrandom(&mut random, GetRandomFlags::NONBLOCK);
        let random = random.map(|byte| format!("{byte:02x}")).concat();
        JobId(format!("{now:017}-{random}"))
    }

    /// Returns the name of the temporary file next to the rotated one.
    pub(crate) fn temporary_name(&self) -> String {
        format!("{TEMPORARY}{}", self.0)
    }

    /// The name under which its file waits in the job directory.
    pub(crate) fn held_name(&self) -> String {
        format!("{}{HELD}", self.0)
    }

    /// The job that a temporary file of that name is of, if it is one.
    pub(crate) fn of_temporary(name: &str) -> Option<Self> {
        Self::parse(name.strip_prefix(TEMPORARY)?)
    }

    /// A name that [`new`](Self::new) makes.
    fn parse(text: &str) -> Option<Self> {
        let (time, random) = text.split_once('-')?;
        let is_id = time.len() >= 17
            && random.len() == 12
            && time.bytes().all(|b| b.is_ascii_digit())
            && random.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        is_id.then(|| JobId(text.to_owned()))
    }
}

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The rotation of one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The log's path (WIRE.md §5.7), as the producer sent it.
    #[serde(with = "json_bytes")]
    pub(crate) path: BString,
    /// The file's previous name in the log directory.
    #[serde(with = "json_bytes")]
    pub(crate) live: BString,
    /// The part of both names after the path and a dot.
    #[serde(with = "json_bytes")]
    pub(crate) extension: BString,
    /// The rotated file, uncompressed; absolute.
    #[serde(with = "json_bytes")]
    pub(crate) file: BString,
    /// The name in the job directory under which the file waits to be copied to another file
    /// system.
    #[serde(default)]
    pub(crate) held: Option<String>,
    pub(crate) open: Micros,
    pub(crate) close: Micros,
    pub(crate) terminating: bool,
    /// Whether the file is a gzip stream already (`gzip_level`).
    pub(crate) gzipped: bool,
    /// Whether the first line has the names of the columns (`tsv`).
    pub(crate) bare_header: bool,
    /// Earliest and latest time of its records, from their producers; if `None`, they are read from
    /// the text.
    #[serde(default)]
    pub(crate) times: Option<(Micros, Micros)>,
    /// Identifies the rotated file.
    pub(crate) source: FileId,
    /// The result, written just before it gets its name.
    #[serde(default)]
    pub(crate) finished: Option<Finished>,
}

/// A file ready to be shipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finished {
    /// Its absolute path.
    #[serde(with = "json_bytes")]
    pub(crate) file: BString,
    pub(crate) id: FileId,
    pub(crate) size: u64,
    pub(crate) sha256: String,
    pub(crate) records: u64,
    /// Length of the text.
    pub(crate) bytes: u64,
    /// Earliest and latest time of a record.
    pub(crate) first: Option<Micros>,
    pub(crate) last: Option<Micros>,
}

impl Job {
    /// The path as it appears in file names and elsewhere.
    pub(crate) fn path_text(&self) -> String {
        escape(&self.path)
    }

    /// The log's file before rotation.
    pub(crate) fn live_path(&self, log_dir: &Path) -> PathBuf {
        log_dir.join(OsStr::from_bytes(&self.live))
    }

    /// The rotated file, uncompressed.
    pub(crate) fn file_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.file))
    }
}

impl Finished {
    pub(crate) fn file_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.file))
    }
}

/// The job directory.
#[derive(Clone, Debug)]
pub(crate) struct JobDir {
    log_dir: PathBuf,
    dir: PathBuf,
    /// Whether jobs are synced to survive a power cut.
    sync: bool,
}

impl JobDir {
    /// Returns the job directory of a log directory. It is created when first needed.
    pub(crate) fn new(log_dir: &Path, sync: bool) -> Self {
        JobDir { log_dir: log_dir.to_owned(), dir: log_dir.join(JOB_DIR), sync }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    fn file(&self, id: &JobId, stage: Stage) -> PathBuf {
        self.dir.join(format!("{id}.{}", stage.extension()))
    }

    /// Returns where the file of a job waits: under its held name, or under its rotated name.
    pub(crate) fn source_path(&self, job: &Job) -> PathBuf {
        match &job.held {
            Some(name) => self.dir.join(name),
            None => job.file_path().to_owned(),
        }
    }

    /// Writes a job, replacing its previous contents.
    pub(crate) fn write(&self, id: &JobId, stage: Stage, job: &Job) -> io::Result<()> {
        let text = serde_json::to_vec(job)?;
        let file = self.file(id, stage);
        let temporary = self.dir.join(format!("{id}.tmp"));
        match files::replace(&file, &temporary, &text, self.sync) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // The log directory is not created: it was removed on purpose, or is not mounted.
                self.make()?;
                files::replace(&file, &temporary, &text, self.sync)
            }
            outcome => outcome,
        }
    }

    /// Creates the directory.
    pub(crate) fn make(&self) -> io::Result<()> {
        match fs::create_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            outcome => outcome,
        }
    }

    /// Returns the path of a temporary file, which the next start removes if it is left behind.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.dir.join(format!("{}.tmp", JobId::new()))
    }

    /// Moves a job to a later stage.
    pub(crate) fn promote(&self, id: &JobId, from: Stage, to: Stage) -> io::Result<()> {
        fs::rename(self.file(id, from), self.file(id, to))
    }

    /// Removes a job.
    pub(crate) fn remove(&self, id: &JobId, stage: Stage) -> io::Result<()> {
        files::remove_if_there(&self.file(id, stage))
    }

    /// Reads a job; fails with `InvalidData` if the file is not one.
    pub(crate) fn load(&self, id: &JobId, stage: Stage) -> io::Result<Job> {
        let file = self.file(id, stage);
        if fs::metadata(&file)?.len() > MAX_JOB {
            return Err(io::Error::new(ErrorKind::InvalidData, "too large for a rotation job"));
        }
        let job: Job = serde_json::from_slice(&fs::read(&file)?)
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        let is_name = |name: &[u8]| !name.contains(&b'/') && name != b".." && !name.is_empty();
        let held_is_name = job.held.as_ref().is_none_or(|name| is_name(name.as_bytes()));
        if !is_name(&job.live) || !held_is_name || !job.file_path().is_absolute() {
            return Err(io::Error::new(ErrorKind::InvalidData, "contains an invalid file name"));
        }
        Ok(job)
    }

    /// Returns the first jobs of a stage after `after`, at most `limit`, in order.
    pub(crate) fn list(
        &self,
        stage: Stage,
        after: Option<&JobId>,
        limit: usize,
    ) -> io::Result<Vec<JobId>> {
        let mut found = BTreeSet::new();
        self.for_each_name(|name| {
            let id = name.strip_suffix(stage.extension()).and_then(|name| name.strip_suffix('.'));
            let Some(id) = id.map(|id| JobId(id.to_owned())) else { return Ok(()) };
            if after.is_none_or(|after| id > *after) {
                found.insert(id);
                if found.len() > limit {
                    found.pop_last();
                }
            }
            Ok(())
        })?;
        Ok(found.into_iter().collect())
    }

    /// Counts the jobs past `Intent`.
    pub(crate) fn count(&self) -> io::Result<usize> {
        let mut count = 0;
        let stages = [Stage::Rotated, Stage::Announced].map(Stage::extension);
        self.for_each_name(|name| {
            let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
            count += usize::from(stages.contains(&extension));
            Ok(())
        })?;
        Ok(count)
    }

    /// The files that wait here, and the jobs that they are of.
    pub(crate) fn held(&self) -> io::Result<Vec<(JobId, PathBuf)>> {
        let mut found = Vec::new();
        self.for_each_name(|name| {
            if let Some(id) = name.strip_suffix(HELD).and_then(JobId::parse) {
                found.push((id, self.dir.join(name)));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Returns whether a readable job of that name exists.
    pub(crate) fn is_known(&self, id: &JobId) -> io::Result<bool> {
        for stage in [Stage::Intent, Stage::Rotated, Stage::Announced] {
            match self.load(id, stage) {
                Ok(_) => return Ok(true),
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn for_each_name(&self, mut f: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            outcome => outcome?,
        };
        for entry in entries {
            // The logger's own names are ASCII.
            entry?.file_name().to_str().map_or(Ok(()), &mut f)?;
        }
        Ok(())
    }

    /// Resolves the unfinished steps of a killed process: removes half-written jobs, and turns each
    /// rotation that was about to happen into a job if the log was renamed, or drops it if not.
    ///
    /// Must run before any thread uses the directory, while no other process does.
    pub(crate) fn settle(&self) -> io::Result<()> {
        let mut temporary = Vec::new();
        self.for_each_name(|name| {
            if name.strip_suffix(".tmp").is_some() {
                temporary.push(self.dir.join(name));
            }
            Ok(())
        })?;
        temporary.iter().try_for_each(|file| files::remove_if_there(file))?;
        let mut after = None;
        loop {
            let ids = self.list(Stage::Intent, after.as_ref(), 1000)?;
            let Some(last) = ids.last() else { return Ok(()) };
            ids.iter().try_for_each(|id| self.settle_intent(id))?;
            after = Some(last.clone());
        }
    }

    fn settle_intent(&self, id: &JobId) -> io::Result<()> {
        let job = match self.load(id, Stage::Intent) {
            Ok(job) => job,
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                log::warn!("dropped the rotation job {id}, which cannot be read: {error}");
                return self.remove(id, Stage::Intent);
            }
            Err(error) => return Err(error),
        };
        if !job.source.is_at(&self.source_path(&job))? {
            return self.remove(id, Stage::Intent);
        }
        let live = job.live_path(&self.log_dir);
        // Killed between the two steps of a rename by link: the file has two names.
        if job.source.is_at(&live)? {
            files::remove_if_there(&live)?;
        }
        self.promote(id, Stage::Intent, Stage::Rotated)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn job(dir: &Path) -> Job {
        fs::write(dir.join("conn.log"), "1\n").unwrap();
        Job {
            path: "conn".into(),
            live: "conn.log".into(),
            extension: "log".into(),
            file: dir.join("conn.x.log").into_os_string().into_encoded_bytes().into(),
            held: None,
            open: Micros(1),
            close: Micros(-2),
            terminating: true,
            gzipped: false,
            bare_header: false,
            times: None,
            source: FileId::new(&fs::metadata(dir.join("conn.log")).unwrap()),
            finished: None,
        }
    }

    #[test]
    fn jobs_come_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut job = job(dir.path());
        job.path = b"caf\xe9".into();
        job.finished = Some(Finished {
            file: b"/a\xff".into(),
            id: job.source,
            size: 1,
            sha256: "0".into(),
            records: 2,
            bytes: 3,
            first: None,
            last: Some(Micros(4)),
        });
        let jobs = JobDir::new(dir.path(), true);
        assert_eq!(jobs.list(Stage::Rotated, None, 10).unwrap(), []);
        let ids: Vec<JobId> = (0..5).map(|n| JobId(format!("{n}-x"))).collect();
        for id in ids.iter().rev() {
            jobs.write(id, Stage::Rotated, &job).unwrap();
        }
        jobs.promote(&ids[4], Stage::Rotated, Stage::Announced).unwrap();
        assert_eq!(jobs.list(Stage::Rotated, None, 3).unwrap(), ids[..3]);
        assert_eq!(jobs.list(Stage::Rotated, Some(&ids[1]), 3).unwrap(), ids[2..4]);
        assert_eq!(jobs.list(Stage::Announced, None, 3).unwrap(), ids[4..]);
        assert_eq!(jobs.load(&ids[0], Stage::Rotated).unwrap(), job);
        assert_eq!(jobs.count().unwrap(), 5);
        jobs.remove(&ids[0], Stage::Rotated).unwrap();
        assert_eq!(jobs.count().unwrap(), 4);
        assert!(JobId::new() < JobId::new() || JobId::new() != JobId::new());
    }

    #[test]
    fn an_intent_is_settled_by_where_the_file_is() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = JobDir::new(dir.path(), false);
        let id = JobId::new();
        let job = job(dir.path());
        let (live, file) = (dir.path().join("conn.log"), dir.path().join("conn.x.log"));
        let settle = || {
            jobs.write(&id, Stage::Intent, &job).unwrap();
            jobs.settle().unwrap();
            assert_eq!(jobs.list(Stage::Intent, None, 1).unwrap(), []);
            let is_job = jobs.load(&id, Stage::Rotated).is_ok();
            jobs.remove(&id, Stage::Rotated).unwrap();
            (is_job, live.exists(), file.exists())
        };
        assert_eq!(settle(), (false, true, false), "not renamed");
        fs::write(&file, "2\n").unwrap();
        assert_eq!(settle(), (false, true, true), "the name is taken");
        fs::remove_file(&file).unwrap();
        fs::hard_link(&live, &file).unwrap();
        assert_eq!(settle(), (true, false, true), "half renamed");
        assert_eq!(settle(), (true, false, true), "renamed");
    }

    #[test]
    fn what_is_no_job_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = JobDir::new(dir.path(), false);
        jobs.settle().unwrap();
        let path = dir.path().join(JOB_DIR);
        fs::create_dir(&path).unwrap();
        let mut elsewhere = job(dir.path());
        elsewhere.live = "../x".into();
        let elsewhere = serde_json::to_string(&elsewhere).unwrap();
        for text in ["", "{", "{}", &elsewhere] {
            fs::write(path.join("1-a.intent"), text).unwrap();
            fs::write(path.join("1-b.tmp"), text).unwrap();
            jobs.settle().unwrap();
            assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "{text}");
        }
    }

    #[test]
    fn names_of_temporary_files_are_exact() {
        let id = JobId::new();
        assert_eq!(JobId::of_temporary(&id.temporary_name()), Some(id));
        for name in [
            ".tmp.",
            ".tmp.x",
            ".tmp.shadow.conn.log",
            ".tmp.00000000000000001-00000000000",
            ".tmp.00000000000000001-00000000000g",
            ".tmp.0000000000000001-000000000000",
            ".tmp.00000000000000001-000000000000.x",
            "tmp.00000000000000001-000000000000",
        ] {
            assert_eq!(JobId::of_temporary(name), None, "{name}");
        }
    }

    #[test]
    fn times_before_1970_are_times() {
        for micros in [0, 1, -1, 1_767_225_600_250_000, -1_000_001] {
            let time = SystemTime::from(Micros(micros));
            assert_eq!(Micros::from(time), Micros(micros));
        }
    }
}
