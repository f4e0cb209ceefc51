//! The writing thread: text to files, their headers and footers, syncing, and when to rotate.
//!
//! While a file cannot be written, nothing more is taken off the queue, which fills up and holds
//! the formatters back, and through them the producers.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::tz::TimeZone;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use zcluster::layout::Fsync;
use zcluster::queue::{self, Empty};
use zcluster::rate_limit::RateLimit;
use zcluster::telemetry::LoggerMetrics;

use crate::clock;
use crate::end::Deadline;
use crate::files;
use crate::formatter::{Piece, TextBuffers};
use crate::log_file::{LogFile, WriteError};
use crate::logs::Log;
use crate::plans::Plan;
use crate::rotation::{BaseTime, RotationInfo, Rotator, Schedule, recover_one};
use crate::trouble::Trouble;

/// Files open at a time; fewer where each is a gzip stream, which has a quarter of a MiB of state.
const MAX_OPEN_FILES: usize = 500;
const MAX_OPEN_STREAMS: usize = 50;
/// Time between attempts to write where writing fails.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// How often each kind of trouble is told.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// How often it is looked whether a log is to be rotated.
const ROTATION_CHECK: Duration = Duration::from_millis(200);
/// Text written to all logs that sync each batch, before they do.
const MAX_UNSYNCED: usize = 4 << 20;

/// What the writer is asked to do.
pub(crate) enum ToWrite {
    /// Write text.
    Piece(Piece),
    /// Rotate all logs now (SIGHUP).
    Rotate,
}

/// How a writer is set up.
pub(crate) struct Settings {
    pub(crate) gzip_level: u32,
    pub(crate) fsync_interval: Duration,
    pub(crate) rotation_base: BaseTime,
    /// Whether the first line of files is the names of the columns, as nothing in them says.
    pub(crate) bare_header: bool,
    pub(crate) rotator: Rotator,
    pub(crate) text_buffers: TextBuffers,
    /// Once it is set and over, what cannot be written is given up.
    pub(crate) deadline: Deadline,
}

/// One log: its file and the header that is in force in it.
struct Open {
    log: Arc<Log>,
    file: LogFile,
    /// What the last text was formatted by; `None` before the first of a file.
    plan: Option<Plan>,
    /// The time of the rotation before, or of the first record.
    opened: SystemTime,
    schedule: Schedule,
    next_rotation: Option<SystemTime>,
    /// Records in the file that are not synced.
    unsynced_records: u64,
}

/// The state of the thread.
pub(crate) struct Writer {
    settings: Settings,
    queue: queue::Receiver<ToWrite>,
    metrics: LoggerMetrics,
    trouble: Trouble,
    is_in_trouble: bool,
    /// Whether people were told of it: then they are told of its end, too.
    has_told: bool,
    /// By the number of the log.
    logs: Vec<Option<Open>>,
    max_open_files: usize,
    /// Logs that are to be synced once the queue is empty.
    unsynced: Vec<usize>,
    /// Bytes of text in them, since they were synced.
    unsynced_bytes: usize,
    /// Records given up because the process is to end.
    lost_at_end: u64,
    uses: u64,
    write_error: RateLimit,
    rotation_error: RateLimit,
}

impl Writer {
    pub(crate) fn new(
        settings: Settings,
        queue: queue::Receiver<ToWrite>,
        metrics: LoggerMetrics,
        trouble: Trouble,
    ) -> Self {
        let most = if settings.gzip_level > 0 { MAX_OPEN_STREAMS } else { MAX_OPEN_FILES };
        Writer {
            settings,
            queue,
            metrics,
            trouble,
            is_in_trouble: false,
            has_told: false,
            logs: Vec::new(),
            max_open_files: most.min(half_of_all_descriptors()).max(1),
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            lost_at_end: 0,
            uses: 0,
            write_error: RateLimit::new(WARNING_INTERVAL),
            rotation_error: RateLimit::new(WARNING_INTERVAL),
        }
    }

    /// Writes until the queue is closed and empty, then closes all logs. The body of the thread.
    /// Returns how many records could not be written before the deadline.
    pub(crate) fn run(mut self) -> u64 {
        let mut next_check = Instant::now() + ROTATION_CHECK;
        let mut next_sync = Instant::now() + self.settings.fsync_interval;
        loop {
            // Logs that sync each batch do so when no other batch can join in.
            let until = if self.unsynced.is_empty() { next_check } else { Instant::now() };
            match self.queue.receive_until(Some(until)) {
                Ok(ToWrite::Piece(piece)) => self.write_piece(piece),
                Ok(ToWrite::Rotate) => self.rotate_where(|_| true, false),
                Err(Empty::TimedOut) => self.sync_batches(),
                Err(Empty::Closed) => break,
            }
            let now = Instant::now();
            if now >= next_check {
                self.update_gauges();
                let time = SystemTime::now();
                self.rotate_where(|log| log.next_rotation.is_some_and(|next| time >= next), false);
                next_check = now + ROTATION_CHECK;
            }
            if now >= next_sync {
                self.sync_where(|log| log.log.fsync == Fsync::Interval);
                next_sync = now + self.settings.fsync_interval;
            }
        }
        self.close_all();
        self.update_gauges();
        self.lost_at_end
    }

    fn update_gauges(&self) {
        self.metrics.queue_bytes.set(self.queue.depth().1 as i64);
        self.metrics.open_files.set(self.open_files() as i64);
    }

    fn open_files(&self) -> usize {
        self.logs.iter().flatten().filter(|open| open.file.is_open()).count()
    }

    fn write_piece(&mut self, piece: Piece) {
        let Piece { log, plan, text, records, received } = piece;
        let id = log.id;
        if self.logs.len() <= id {
            self.logs.resize_with(id + 1, || None);
        }
        let settings = &self.settings;
        let open = self.logs[id].get_or_insert_with(|| {
            let now = SystemTime::now();
            let zone = settings.rotator.settings().zone.clone();
            let schedule = Schedule::new(log.rotation, settings.rotation_base, zone);
            Open {
                file: LogFile::new(&log.target, settings.gzip_level, log.fsync == Fsync::Batch),
                plan: None,
                opened: now,
                next_rotation: schedule.next_after(now),
                schedule,
                unsynced_records: 0,
                log: Arc::clone(&log),
            }
        });
        let is_continued = open.plan.as_ref().is_some_and(|before| before.continues(&plan));
        let prefix = if is_continued {
            Vec::new()
        } else {
            open.start_of(&plan, &settings.rotator.settings().zone)
        };
        if self.write_out(id, prefix, &text, Some(&plan), records) {
            if let Some(open) = &mut self.logs[id] {
                open.plan = Some(plan);
                if log.fsync == Fsync::Batch {
                    if open.unsynced_records == 0 {
                        self.unsynced.push(id);
                    }
                    open.unsynced_records += records;
                    self.unsynced_bytes += text.len();
                    if self.unsynced_bytes >= MAX_UNSYNCED {
                        self.sync_batches();
                    }
                } else {
                    log.counters.records_written.inc_by(records);
                }
            }
            log.counters.write_latency.observe(received.elapsed().as_secs_f64());
        }
        log.counters.queue_bytes.sub(text.len());
        self.metrics.memory_bytes.dec_by(text.len() as i64);
        self.settings.text_buffers.give_back(text);
    }

    /// Writes to a log, again and again until it is done (`true`) or given up. Without a plan the
    /// text belongs to the file that is there, and to no other.
    fn write_out(
        &mut self,
        id: usize,
        mut prefix: Vec<u8>,
        mut text: &[u8],
        plan: Option<&Plan>,
        records: u64,
    ) -> bool {
        self.make_room_for(id);
        loop {
            let Writer { logs, settings, .. } = self;
            let Some(open) = &mut logs[id] else { return false };
            let rotator = &settings.rotator;
            let outcome =
                open.file.write(&prefix, text, |live| recover_one(rotator, live).map(drop));
            match outcome {
                Ok(bytes) => {
                    open.log.counters.written_bytes.inc_by(bytes as u64);
                    self.end_trouble();
                    return true;
                }
                Err(WriteError::BadName(error)) => {
                    open.log.counters.write_errors.inc();
                    log::error!("cannot write {}: {error}", open.log.target.display());
                    self.give_up(id, records);
                    return false;
                }
                Err(WriteError::Replaced(complete)) => {
                    log::warn!(
                        "{} was removed or renamed; it is begun anew",
                        open.log.target.display()
                    );
                    open.plan = None;
                    // What the old file holds is nobody's to sync any more.
                    open.unsynced_records = 0;
                    let Some(plan) = plan else { return true };
                    text = &text[complete..];
                    prefix = open.start_of(plan, &settings.rotator.settings().zone);
                }
                Err(WriteError::Io(error)) => {
                    open.log.counters.write_errors.inc();
                    if !self.go_on_after(id, &error, "write") {
                        self.give_up(id, records);
                        return false;
                    }
                }
            }
        }
    }

    /// Tells of an error and waits a little; `false` when trying again is of no use.
    fn go_on_after(&mut self, id: usize, error: &io::Error, verb: &str) -> bool {
        let Some(open) = &self.logs[id] else { return false };
        let trouble = format!("cannot {verb} {}: {error}", open.log.target.display());
        if self.settings.deadline.is_over() {
            log::error!("{trouble}");
            return false;
        }
        if let Some(more) = self.write_error.check(Instant::now()) {
            log::error!("{trouble}; trying again ({more} attempts since the last message)");
            self.has_told = true;
        }
        self.trouble.set(Some(trouble));
        self.is_in_trouble = true;
        if is_out_of_descriptors(error) && self.release_files(id) {
            return true;
        }
        self.update_gauges();
        std::thread::park_timeout(RETRY_INTERVAL);
        true
    }

    fn end_trouble(&mut self) {
        if std::mem::take(&mut self.is_in_trouble) {
            self.trouble.set(None);
        }
        if std::mem::take(&mut self.has_told) {
            log::info!("log files can be written again");
        }
    }

    /// Throws away what cannot be written. Records that come later get a header of their own, and
    /// without any the file gets no footer: it does not end as it should.
    fn give_up(&mut self, id: usize, records: u64) {
        let Some(open) = &mut self.logs[id] else { return };
        open.file.give_up();
        open.plan = None;
        open.log.counters.records_lost.inc_by(records);
        if self.settings.deadline.get().is_some() {
            self.lost_at_end += records;
        }
        if records > 0 {
            log::error!("lost {records} records of {}", open.log.target.display());
        }
    }

    /// Syncs the logs that sync each batch.
    fn sync_batches(&mut self) {
        self.unsynced_bytes = 0;
        for id in std::mem::take(&mut self.unsynced) {
            self.sync(id);
        }
    }

    fn sync_where(&mut self, wanted: impl Fn(&Open) -> bool) {
        for id in 0..self.logs.len() {
            if self.logs[id].as_ref().is_some_and(|open| wanted(open) && open.file.is_dirty()) {
                self.sync(id);
            }
        }
    }

    /// Syncs a log. One that promises it for each batch is tried again until it is done.
    fn sync(&mut self, id: usize) {
        loop {
            let Some(open) = &mut self.logs[id] else { return };
            if !open.file.is_begun() {
                return;
            }
            let error = match open.file.sync() {
                Ok(()) => {
                    let records = std::mem::take(&mut open.unsynced_records);
                    open.log.counters.records_written.inc_by(records);
                    self.end_trouble();
                    return;
                }
                Err(WriteError::Replaced(_)) => {
                    let records = std::mem::take(&mut open.unsynced_records);
                    open.plan = None;
                    log::warn!(
                        "{} was removed or renamed before {records} records in it were synced",
                        open.log.target.display()
                    );
                    return;
                }
                Err(WriteError::Io(error) | WriteError::BadName(error)) => error,
            };
            let is_promised = open.log.fsync == Fsync::Batch;
            self.metrics.sync_failures.inc();
            if !is_promised {
                if let Some(more) = self.write_error.check(Instant::now()) {
                    log::error!(
                        "cannot sync {}: {error} ({more} more like this)",
                        open.log.target.display()
                    );
                }
                return;
            }
            if !self.go_on_after(id, &error, "sync") {
                if let Some(open) = &mut self.logs[id] {
                    let records = std::mem::take(&mut open.unsynced_records);
                    self.give_up(id, records);
                }
                return;
            }
        }
    }

    /// Keeps the number of open files within bounds.
    fn make_room_for(&mut self, id: usize) {
        self.uses += 1;
        let Some(open) = &mut self.logs[id] else { return };
        open.file.last_used = self.uses;
        if open.file.is_open() || self.open_files() < self.max_open_files {
            return;
        }
        let others = self.logs.iter_mut().flatten().filter(|open| open.file.is_open());
        if let Some(oldest) = others.min_by_key(|open| open.file.last_used) {
            let id = oldest.log.id;
            self.release(id);
        }
    }

    /// The system has no more descriptors: gives back those of half of the other logs. `false`
    /// where there are none.
    fn release_files(&mut self, but: usize) -> bool {
        let others = self.logs.iter().flatten();
        let others = others.filter(|open| open.file.is_open() && open.log.id != but);
        let mut others: Vec<_> = others.map(|open| (open.file.last_used, open.log.id)).collect();
        others.sort_unstable();
        for (_, id) in &others[..others.len().div_ceil(2)] {
            self.release(*id);
        }
        !others.is_empty()
    }

    fn release(&mut self, id: usize) {
        let Some(open) = &mut self.logs[id] else { return };
        // If it cannot be ended, the stream goes on when the file is opened again.
        let _ = open.file.end_stream();
        // What was written before would no longer be synced by whoever syncs what is open.
        if open.log.fsync != Fsync::Never && open.file.is_dirty() && open.file.sync().is_err() {
            self.metrics.sync_failures.inc();
        }
        open.file.release();
    }

    /// Ends a log's file with its footer, as far as that can be written.
    fn end_file(&mut self, id: usize) -> bool {
        let Some(open) = &mut self.logs[id] else { return false };
        if !open.file.is_begun() {
            return false;
        }
        let mut footer = Vec::new();
        if let Some(plan) = open.plan.take() {
            plan.formatter
                .footer(&clock::now_text(&self.settings.rotator.settings().zone), &mut footer);
        }
        if !footer.is_empty() && !self.write_out(id, footer, b"", None, 0) {
            return false;
        }
        loop {
            let Some(open) = &mut self.logs[id] else { return false };
            match open.file.end_stream() {
                Ok(()) => break,
                Err(WriteError::Replaced(_)) => return false,
                Err(WriteError::Io(error) | WriteError::BadName(error)) => {
                    if !self.go_on_after(id, &error, "end") {
                        return false;
                    }
                }
            }
        }
        let Some(open) = &mut self.logs[id] else { return false };
        if open.log.fsync != Fsync::Never {
            self.sync(id);
        }
        self.logs[id].as_ref().is_some_and(|open| open.file.is_begun())
    }

    fn rotate_where(&mut self, wanted: impl Fn(&Open) -> bool, terminating: bool) {
        for id in 0..self.logs.len() {
            if self.logs[id].as_ref().is_some_and(&wanted) {
                self.rotate(id, terminating);
            }
        }
    }

    /// Gives a log's file its rotated name; the next record begins another.
    fn rotate(&mut self, id: usize, terminating: bool) {
        let is_complete = self.end_file(id);
        let Writer { logs, settings, .. } = self;
        let Some(open) = &mut logs[id] else { return };
        let now = SystemTime::now();
        open.next_rotation = open.schedule.next_after(now);
        if !is_complete {
            if !open.file.is_begun() {
                open.opened = now;
            }
            return;
        }
        let info = RotationInfo {
            path: open.log.path.clone(),
            open: open.opened,
            close: now,
            terminating,
            bare_header: settings.bare_header,
        };
        open.file.release();
        let in_place = open.file.check_in_place();
        match in_place.and_then(|()| settings.rotator.rotate(&open.log.target, &info)) {
            Ok(_) => {
                open.file.forget();
                open.opened = now;
            }
            // Somebody has renamed it already, and perhaps made a new one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                log::warn!("cannot rotate {}: {error}", open.log.target.display());
                open.file.forget();
                open.opened = now;
            }
            Err(error) => {
                // The file goes on, below another header; at the next look it is tried again.
                open.next_rotation = Some(now);
                if let Some(more) = self.rotation_error.check(Instant::now()) {
                    log::error!(
                        "cannot rotate {}: {error} ({more} more like this)",
                        open.log.target.display()
                    );
                }
            }
        }
    }

    fn close_all(&mut self) {
        self.sync_batches();
        for id in 0..self.logs.len() {
            match &self.logs[id] {
                None => {}
                Some(open) if open.log.rotation.is_zero() => {
                    self.end_file(id);
                }
                Some(_) => self.rotate(id, true),
            }
        }
    }
}

impl Open {
    /// What stands before text of that plan: the header of a new file or, in the middle of a file
    /// where the columns change, the footer of those before and a header.
    fn start_of(&self, plan: &Plan, zone: &TimeZone) -> Vec<u8> {
        let time = clock::now_text(zone);
        let mut text = Vec::new();
        if self.file.is_mid_line() {
            text.push(b'\n');
        }
        if let Some(before) = &self.plan {
            before.formatter.footer(&time, &mut text);
        }
        plan.formatter.header(&time, &mut text);
        text
    }
}

/// Peers and whoever asks for metrics need the others.
fn half_of_all_descriptors() -> usize {
    let granted = getrlimit(Resource::Nofile).current;
    granted.and_then(|all| usize::try_from(all / 2).ok()).unwrap_or(usize::MAX)
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    files::is(error, Errno::MFILE) || files::is(error, Errno::NFILE)
}
