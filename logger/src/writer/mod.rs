//! The writing thread: writes text to files with headers and footers, syncs them, and decides when
//! to rotate.
//!
//! | module | what it owns |
//! |---|---|
//! | `schemas` | which of a log's files takes which columns (pure) |
//! | `table` | the logs and their files |
//!
//! While a file cannot be written, the thread takes nothing off the queue, which fills up and holds
//! back the formatters and, through them, the producers.

mod schemas;
mod table;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use zcluster::layout::Fsync;
use zcluster::queue::{self, Empty};
use zcluster::rate_limit::RateLimit;
use zcluster::telemetry::LoggerMetrics;

use crate::clock_watch::{self, Clock, ClockWatch};
use crate::end::Deadline;
use crate::files;
use crate::format::Times;
use crate::log_file::{How, WriteError};
use crate::logs::Log;
use crate::piece::{Piece, TextBuffers, ToWrite};
use crate::plans::Plan;
use crate::rotation::{BaseTime, RotationInfo, Rotator, Schedule, recover_one};
use crate::trouble::Trouble;
use schemas::{FIRST, Place};
use table::{Key, Open, Table};

/// Most files open at a time; fewer for gzip streams, which each have 256 KiB of state.
const MAX_OPEN_FILES: usize = 500;
const MAX_OPEN_STREAMS: usize = 50;
/// Time between attempts to write after an error.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Time between warnings of one kind.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Time between looks at the clock and at what else no text reports.
const CHECK: Duration = Duration::from_secs(1);
/// Least time until the next look.
const SHORTEST: Duration = Duration::from_millis(10);
/// Most columns a warning about a change lists by name.
const MAX_TOLD: usize = 10;
/// Bytes of text written to logs that sync each batch before a sync is forced.
const MAX_UNSYNCED: usize = 4 << 20;

/// The settings of a writer.
pub(crate) struct Settings {
    pub(crate) gzip_level: u32,
    pub(crate) fsync_interval: Duration,
    pub(crate) rotation_base: BaseTime,
    /// Where a log has several sets of columns, one that is unused for this long has its file
    /// completed.
    pub(crate) schema_timeout: Duration,
    /// Whether the first line of files has the names of the columns; the files do not show whether
    /// it does.
    pub(crate) bare_header: bool,
    pub(crate) rotator: Rotator,
    pub(crate) text_buffers: TextBuffers,
    /// After this, text that cannot be written is given up.
    pub(crate) deadline: Deadline,
}

/// The state of the thread.
pub(crate) struct Writer {
    settings: Settings,
    queue: queue::Receiver<ToWrite>,
    metrics: LoggerMetrics,
    trouble: Trouble,
    is_in_trouble: bool,
    /// Whether the trouble was logged: then its end is logged, too.
    has_told: bool,
    table: Table,
    clock: ClockWatch,
    max_open_files: usize,
    /// Files to sync once the queue is empty.
    unsynced: Vec<Key>,
    /// Bytes of text written to them since the last sync.
    unsynced_bytes: usize,
    /// Records given up because of the shutdown.
    lost_at_end: u64,
    uses: u64,
    /// When to look at what no text reports.
    next_check: Instant,
    write_error: RateLimit,
    rotation_error: RateLimit,
    schema_change: RateLimit,
    schema_loss: RateLimit,
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
            table: Table::default(),
            clock: ClockWatch::default(),
            max_open_files: most.min(half_of_all_descriptors()).max(1),
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            lost_at_end: 0,
            uses: 0,
            next_check: Instant::now() + CHECK,
            write_error: RateLimit::new(WARNING_INTERVAL),
            rotation_error: RateLimit::new(WARNING_INTERVAL),
            schema_change: RateLimit::new(WARNING_INTERVAL),
            schema_loss: RateLimit::new(WARNING_INTERVAL),
        }
    }

    /// The body of the thread. Writes until the queue is closed and empty, then closes all logs.
    /// Returns how many records could not be written before the deadline.
    pub(crate) fn run(mut self) -> u64 {
        let mut next_sync = Instant::now() + self.settings.fsync_interval;
        loop {
            // Logs that sync each batch do so when the queue is empty, so that one sync covers many
            // batches.
            let until = if self.unsynced.is_empty() { self.next_check } else { Instant::now() };
            match self.queue.receive_until(Some(until)) {
                Ok(ToWrite::Piece(piece)) => self.write_piece(piece),
                Ok(ToWrite::Rotate) => self.rotate_where(|_| true, false),
                Err(Empty::TimedOut) => self.sync_batches(),
                Err(Empty::Closed) => break,
            }
            let now = Instant::now();
            if now >= self.next_check {
                self.update_gauges();
                self.watch_the_clock();
                self.close_unused();
                let time = SystemTime::now();
                self.rotate_where(|log| log.next_rotation.is_some_and(|next| time >= next), false);
                self.next_check = now + CHECK;
                self.check_at_next_rotation();
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

    /// Makes sure that the next look is not later than the next rotation.
    fn check_at_next_rotation(&mut self) {
        let Some(next) = self.table.iter().filter_map(|open| open.next_rotation).min() else {
            return;
        };
        let wait = next.duration_since(SystemTime::now()).unwrap_or_default();
        self.next_check = self.next_check.min(Instant::now() + wait.clamp(SHORTEST, CHECK));
    }

    fn update_gauges(&self) {
        self.metrics.queue_bytes.set(self.queue.depth().1 as i64);
        self.metrics.open_files.set(self.open_files() as i64);
    }

    fn open_files(&self) -> usize {
        self.table.iter().filter(|open| open.file.is_open()).count()
    }

    fn write_piece(&mut self, piece: Piece) {
        let Piece { log, plan, text: buffer, skip, landing, records, times, received } = piece;
        let text = &buffer[skip..];
        if let Some(key) = self.file_for(&log, &plan) {
            self.write_text(key, &plan, text, records, times);
            if let Some(open) = self.table.get(key) {
                landing.landed(open.file.length());
            }
            log.counters.write_latency.observe(received.elapsed().as_secs_f64());
        } else {
            log.counters.lose(records);
            if let Some(more) = self.schema_loss.check(Instant::now()) {
                log::error!(
                    "{}: too many sets of columns at once; lost {records} records ({more} more \
                     like this)",
                    log.path.as_bstr()
                );
            }
        }
        log.counters.queue_bytes.sub(text.len());
        self.metrics.memory_bytes.dec_by(text.len() as i64);
        self.settings.text_buffers.give_back(buffer);
    }

    fn write_text(&mut self, key: Key, plan: &Plan, text: &[u8], records: u64, times: Times) {
        let Some(open) = self.table.get(key) else { return };
        let before = open.before(plan);
        if !self.write_out(key, before, text, Some(plan), records) {
            return;
        }
        let Some(open) = self.table.get(key) else { return };
        open.plan.get_or_insert_with(|| plan.clone());
        if let Some(all) = &mut open.times {
            *all += times;
        }
        if open.log.fsync == Fsync::Batch {
            if open.unsynced_records == 0 {
                self.unsynced.push(key);
            }
            open.unsynced_records += records;
            self.unsynced_bytes += text.len();
            if self.unsynced_bytes >= MAX_UNSYNCED {
                self.sync_batches();
            }
        } else {
            open.log.counters.records_written.inc_by(records);
        }
    }

    /// Returns the file for text of this plan: an existing one with its columns, or a new one.
    /// `None` if the log has too many.
    fn file_for(&mut self, log: &Arc<Log>, plan: &Plan) -> Option<Key> {
        let now = Instant::now();
        let timeout = self.settings.schema_timeout;
        let place = self.table.schemas(log.id).place(&plan.head, now, timeout);
        let first = Key { log: log.id, number: FIRST };
        // Before the rotation below: the warning shows how the columns differ.
        let before = self.table.get(first).and_then(|open| open.plan.clone());
        let (number, is_change) = match place {
            // The usual case: the file exists.
            Place::Known(number) => return Some(Key { log: log.id, number }),
            Place::New { number, is_change } => (number, is_change),
            Place::TakesOver if self.rotate(first, false) => {
                self.table.schemas(log.id).take_over(&plan.head, now);
                (FIRST, true)
            }
            // The file stays in use, and another one is started beside it.
            Place::TakesOver => (self.table.schemas(log.id).add(&plan.head, now)?, true),
            Place::Full => return None,
        };
        if is_change {
            self.report_change(log, before.as_ref(), plan, number);
        }
        let key = Key { log: log.id, number };
        if self.table.get(key).is_none() {
            let zone = self.settings.rotator.settings().zone.clone();
            let schedule = Schedule::new(log.rotation, self.settings.rotation_base, zone);
            self.table.insert(Open::new(log, number, self.settings.gzip_level, schedule));
            self.check_at_next_rotation();
        }
        Some(key)
    }

    /// Warns about columns that no file of the log has.
    fn report_change(&mut self, log: &Arc<Log>, before: Option<&Plan>, plan: &Plan, number: u32) {
        log.counters.schema_changes.inc();
        let Some(more) = self.schema_change.check(Instant::now()) else { return };
        let difference = before.map_or_else(String::new, |before| difference(before, plan));
        log::warn!(
            "{}: the columns changed{difference}; records with the new columns go to {} ({more} \
             more messages about columns)",
            log.path.as_bstr(),
            log.file(number).display()
        );
    }

    /// Completes files whose columns are no longer used, where a log has several files.
    fn close_unused(&mut self) {
        let now = Instant::now();
        for log in self.table.disagreeing() {
            for number in self.table.schemas(log).unused(now, self.settings.schema_timeout) {
                let key = Key { log, number };
                if self.table.get(key).is_some_and(|open| open.is_to_wait()) {
                    continue;
                }
                if let Some(open) = self.table.get(key) {
                    let file = open.file.target().display();
                    log::info!("{file}: its columns are no longer used");
                }
                if self.rotate(key, false) {
                    self.table.schemas(log).remove(number);
                    self.table.remove(key);
                }
            }
            if let Some(number) = self.table.schemas(log).heir() {
                let key = Key { log, number };
                if !self.table.get(key).is_some_and(|open| open.is_to_wait()) {
                    self.rotate(key, false);
                }
            }
        }
    }

    /// Plans rotations again after the clock was set.
    fn watch_the_clock(&mut self) {
        let Some(now) = clock_watch::now() else { return };
        let seen = self.clock.look(now);
        let back = match seen {
            Clock::Goes => return,
            Clock::SetBack(size) => size,
            Clock::HasDrifted | Clock::SetAhead(_) => Duration::ZERO,
        };
        if let Some((which, size)) = seen.step() {
            let size = humantime::format_duration(size);
            log::warn!("the clock was set {which} by {size}; rotations follow the new time");
        }
        for open in self.table.iter_mut() {
            open.clock_was_set(now.wall, back);
        }
    }

    /// Writes to a log and retries until it succeeds (`true`) or gives up. Without a plan, the text
    /// belongs only to the existing file.
    fn write_out(
        &mut self,
        key: Key,
        mut prefix: Vec<u8>,
        mut text: &[u8],
        plan: Option<&Plan>,
        records: u64,
    ) -> bool {
        self.make_room_for(key);
        loop {
            let Writer { table, settings, .. } = self;
            let Some(open) = table.get(key) else { return false };
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
                    open.log.counters.fail_write();
                    log::error!("cannot write {}: {error}", open.file.target().display());
                    self.give_up(key, records);
                    return false;
                }
                Err(WriteError::Gone(gone)) => {
                    replace_lost_file(open, gone.how);
                    let Some(plan) = plan else { return true };
                    if gone.complete > 0 {
                        // Some records of this text are in the other file.
                        open.times = None;
                    }
                    text = &text[gone.complete..];
                    prefix = open.before(plan);
                }
                Err(WriteError::Io(error)) => {
                    open.log.counters.fail_write();
                    if !self.go_on_after(key, &error, "write") {
                        self.give_up(key, records);
                        return false;
                    }
                }
            }
        }
    }

    /// Logs an error and waits a little; returns `false` if retrying is pointless.
    fn go_on_after(&mut self, key: Key, error: &io::Error, verb: &str) -> bool {
        let Some(open) = self.table.get(key) else { return false };
        let trouble = format!("cannot {verb} {}: {error}", open.file.target().display());
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
        if is_out_of_descriptors(error) && self.release_files(key) {
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

    /// Discards text that cannot be written.
    fn give_up(&mut self, key: Key, records: u64) {
        let Some(open) = self.table.get(key) else { return };
        open.file.give_up();
        if open.file.length() == 0 {
            // The header is discarded, too.
            open.plan = None;
        }
        open.log.counters.lose(records);
        if records > 0 {
            log::error!("lost {records} records of {}", open.file.target().display());
        }
        if self.settings.deadline.get().is_some() {
            self.lost_at_end += records;
        }
    }

    /// Syncs the logs that sync each batch.
    fn sync_batches(&mut self) {
        self.unsynced_bytes = 0;
        for key in std::mem::take(&mut self.unsynced) {
            self.sync(key);
        }
    }

    fn sync_where(&mut self, wanted: impl Fn(&Open) -> bool) {
        for key in self.table.keys(|open| wanted(open) && open.file.is_dirty()) {
            self.sync(key);
        }
    }

    /// Syncs a log. For logs that sync each batch, it retries until that succeeds.
    fn sync(&mut self, key: Key) {
        loop {
            let Some(open) = self.table.get(key) else { return };
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
                Err(WriteError::Gone(gone)) => {
                    replace_lost_file(open, gone.how);
                    return;
                }
                Err(WriteError::Io(error) | WriteError::BadName(error)) => error,
            };
            let is_promised = open.log.fsync == Fsync::Batch;
            self.metrics.sync_failures.inc();
            if !is_promised {
                if let Some(more) = self.write_error.check(Instant::now()) {
                    let target = open.file.target().display();
                    log::error!("cannot sync {target}: {error} ({more} more like this)");
                }
                return;
            }
            if !self.go_on_after(key, &error, "sync") {
                if let Some(open) = self.table.get(key) {
                    let records = std::mem::take(&mut open.unsynced_records);
                    self.give_up(key, records);
                }
                return;
            }
        }
    }

    /// Closes the least recently used file if opening this one would exceed the limit.
    fn make_room_for(&mut self, key: Key) {
        self.uses += 1;
        let uses = self.uses;
        let Some(open) = self.table.get(key) else { return };
        open.file.last_used = uses;
        if open.file.is_open() || self.open_files() < self.max_open_files {
            return;
        }
        let others = self.table.iter_mut().filter(|open| open.file.is_open());
        if let Some(oldest) = others.min_by_key(|open| open.file.last_used) {
            release(oldest, &self.metrics);
        }
    }

    /// Closes half of the other files, because the system is out of descriptors. Returns `false` if
    /// there are none.
    fn release_files(&mut self, but: Key) -> bool {
        let others = self.table.iter_mut();
        let mut others: Vec<_> =
            others.filter(|open| open.file.is_open() && open.key() != but).collect();
        others.sort_unstable_by_key(|open| open.file.last_used);
        let half = others.len().div_ceil(2);
        others[..half].iter_mut().for_each(|open| release(open, &self.metrics));
        half > 0
    }

    /// Ends a log's file with its footer. Returns the length without the footer, or `None` if there
    /// is no file.
    fn end_file(&mut self, key: Key) -> Option<u64> {
        // A compressed file gets a separate stream for the footer, so that the footer can be
        // removed again.
        if !self.end_stream(key) {
            return None;
        }
        let open = self.table.get(key)?;
        let length = open.file.length();
        let footer = open.footer();
        if !footer.is_empty() {
            let is_written = self.write_out(key, footer, b"", None, 0);
            if !is_written || !self.end_stream(key) {
                return None;
            }
        }
        if self.table.get(key)?.log.fsync != Fsync::Never {
            self.sync(key);
        }
        self.table.get(key)?.file.is_begun().then_some(length)
    }

    /// Ends a log's compressed stream, if any; returns `false` if there is no file.
    fn end_stream(&mut self, key: Key) -> bool {
        loop {
            let Some(open) = self.table.get(key) else { return false };
            if !open.file.is_begun() {
                return false;
            }
            match open.file.end_stream() {
                Ok(()) => return true,
                Err(WriteError::Gone(gone)) => {
                    replace_lost_file(open, gone.how);
                    return false;
                }
                Err(WriteError::Io(error) | WriteError::BadName(error)) => {
                    if !self.go_on_after(key, &error, "end") {
                        return false;
                    }
                }
            }
        }
    }

    fn rotate_where(&mut self, wanted: impl Fn(&Open) -> bool, terminating: bool) {
        for key in self.table.keys(wanted) {
            self.rotate(key, terminating);
        }
    }

    /// Renames a log's file to its rotated name; the next record starts a new file. Returns whether
    /// the name is free now. If not, the file stays in use and rotation is retried soon.
    fn rotate(&mut self, key: Key, terminating: bool) -> bool {
        let Some(open) = self.table.get(key) else { return true };
        let now = SystemTime::now();
        open.plan_rotation(now);
        // A footer that is removed again would confuse programs that follow the file.
        if open.file.is_begun()
            && let Err(error) = self.settings.rotator.check()
        {
            self.cannot_rotate(key, &error);
            return false;
        }
        let length = self.end_file(key);
        let Some(open) = self.table.get(key) else { return true };
        let Some(length) = length else {
            if open.file.is_begun() {
                return false;
            }
            open.start_over();
            self.free_name(key);
            return true;
        };
        let info = RotationInfo {
            path: open.log.path.clone(),
            open: open.opened.min(now),
            close: now,
            terminating,
            bare_header: self.settings.bare_header,
            times: open.times,
        };
        let in_place = open.file.check_in_place();
        let target = open.file.target();
        match in_place.and_then(|()| self.settings.rotator.rotate(target, &info)) {
            Ok(_) => {}
            // Another process has already renamed it, and perhaps created a new one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                log::warn!("cannot rotate {}: {error}", target.display());
            }
            Err(error) => {
                if let Err(error) = open.file.shorten(length) {
                    log::warn!(
                        "{}: continuing below its footer: {error}",
                        open.file.target().display()
                    );
                }
                self.cannot_rotate(key, &error);
                return false;
            }
        }
        open.file.forget();
        open.start_over();
        self.free_name(key);
        true
    }

    fn cannot_rotate(&mut self, key: Key, error: &io::Error) {
        let Some(open) = self.table.get(key) else { return };
        open.retry_rotation();
        if let Some(more) = self.rotation_error.check(Instant::now()) {
            let target = open.file.target().display();
            log::error!("cannot rotate {target}: {error} ({more} more like this)");
        }
    }

    /// Gives the key's next file the log's own name if that is free after a rotation.
    fn free_name(&mut self, key: Key) {
        let number = self.table.schemas(key.log).next_number(key.number);
        if number != key.number
            && let Some(open) = self.table.get(key)
        {
            open.renumber(number, self.settings.gzip_level);
        }
    }

    fn close_all(&mut self) {
        self.sync_batches();
        for key in self.table.keys(|open| open.log.rotation.is_zero()) {
            self.end_file(key);
        }
        self.rotate_where(|open| !open.log.rotation.is_zero(), true);
    }
}

/// Starts a new file after the old one was replaced or truncated. Its unsynced records count as
/// written if the file was renamed, and as lost if it was truncated.
fn replace_lost_file(open: &mut Open, how: How) {
    let file = open.file.target();
    let counters = &open.log.counters;
    let records = open.unsynced_records;
    log::warn!("{} was {how}; starting a new file", file.display());
    if records > 0 {
        log::warn!("{} was {how} before {records} records in it were synced", file.display());
    }
    match how {
        How::Replaced => {
            counters.records_written.inc_by(records);
        }
        How::Truncated => {
            counters.truncations.inc();
            counters.lose(records);
        }
    }
    open.start_over();
}

fn release(open: &mut Open, metrics: &LoggerMetrics) {
    // If the stream cannot be ended, it continues when the file is opened again.
    let _ = open.file.end_stream();
    // The regular sync covers only open files.
    if open.log.fsync != Fsync::Never && open.file.is_dirty() && open.file.sync().is_err() {
        metrics.sync_failures.inc();
    }
    open.file.release();
}

/// Describes how the columns differ, for messages.
fn difference(before: &Plan, after: &Plan) -> String {
    let columns = |plan: &Plan| -> BTreeSet<String> {
        let columns = plan.formatter.columns();
        columns.iter().map(|(name, log_type)| format!("{name}: {log_type}")).collect()
    };
    let (before, after) = (columns(before), columns(after));
    let list = |what: &str, some: Vec<&str>| match some.len() {
        0 => String::new(),
        1..=MAX_TOLD => format!("; {what} {}", some.join(", ")),
        many => format!("; {what} {many} columns"),
    };
    let added = after.difference(&before).map(String::as_str).collect();
    let removed = before.difference(&after).map(String::as_str).collect();
    list("added", added) + &list("removed", removed)
}

/// Returns half of the process's descriptors: peers and metrics clients need the others.
fn half_of_all_descriptors() -> usize {
    let granted = getrlimit(Resource::Nofile).current;
    granted.and_then(|all| usize::try_from(all / 2).ok()).unwrap_or(usize::MAX)
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    files::is(error, Errno::MFILE) || files::is(error, Errno::NFILE)
}
