//! The writing thread: batches to text to files.
//!
//! Order per sender and path is the order of arrival. A batch that does not decode leaves nothing
//! in a file. While a file cannot be written, nothing more is taken off the queue, which fills up
//! and holds the producers back.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use bstr::{BStr, BString};
use zcluster::queue::{self, Empty};
use zcluster::rate_limit::{KeyedRateLimit, RateLimit};
use zcluster::telemetry::{BatchFault, LoggerMetrics, PathCounters, SenderCounters};
use zcluster::wire::LogMessage;
use zcluster::wire::zeek_bin::{Batch, DecodeError, KnownHeader};

use crate::clock;
use crate::format::{FormatError, RecordFormatter, WriterOptions};
use crate::intake::Incoming;
use crate::log_file::{self, LogFile};
use crate::path::LogPath;

/// Text a log gathers before it is written.
const WRITE_SIZE: usize = 128 << 10;
/// Text all logs together may gather: a thousand paths must not hold a thousand buffers.
const TOTAL_UNWRITTEN: usize = 32 << 20;
/// Buffers larger than this are given back once written: one huge batch must not be remembered.
const KEEP_CAPACITY: usize = 4 * WRITE_SIZE;
/// Files open at a time.
const MAX_OPEN_FILES: usize = 500;
/// Logs in all. Further paths are refused: paths come from the network.
const MAX_LOGS: usize = 10_000;
/// Headers whose plan is kept, and senders whose counters are. Beyond, all are forgotten and made
/// anew: that is slow, not wrong.
const MAX_CACHED: usize = 4_096;
/// Sets of columns kept for one stream, writer, filter and path.
const MAX_PLANS_OF_ONE_NAME: usize = 16;
/// Time between attempts to write where writing fails.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// How often each kind of trouble is told.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// What keeps the writer from writing, for whoever asks after its health.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, trouble: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// How a writer is set up.
pub(crate) struct Settings {
    pub(crate) dir: PathBuf,
    pub(crate) extension: String,
    pub(crate) options: WriterOptions,
    pub(crate) flush_interval: Duration,
    pub(crate) shutdown_timeout: Duration,
}

/// One log: its file and the schema that is in force in it.
struct Log {
    file: LogFile,
    /// The header that stands above the next record; `None` before the first.
    formatter: Option<Arc<RecordFormatter>>,
    counters: PathCounters,
    /// Records in the buffer.
    unwritten_records: u64,
}

/// What to do with batches of one header, worked out once.
#[derive(Clone)]
struct Plan {
    log: usize,
    header: Arc<KnownHeader>,
    formatter: Arc<RecordFormatter>,
}

/// The state of the thread.
pub(crate) struct Writer {
    settings: Settings,
    queue: queue::Receiver<Incoming>,
    metrics: LoggerMetrics,
    trouble: Trouble,
    /// Set when the process is to end: writing is then attempted until the deadline only.
    stopping: Arc<AtomicBool>,
    logs: Vec<Log>,
    by_path: HashMap<LogPath, usize>,
    /// Plans by the names in the header; one each for every set of columns.
    plans: AHashMap<Box<[u8]>, Vec<Plan>>,
    /// How many there are.
    plan_count: usize,
    senders: AHashMap<BString, SenderCounters>,
    unwritten: usize,
    uses: u64,
    bad_batch: KeyedRateLimit<[u8; 64]>,
    write_error: RateLimit,
}

impl Writer {
    pub(crate) fn new(
        settings: Settings,
        queue: queue::Receiver<Incoming>,
        metrics: LoggerMetrics,
        trouble: Trouble,
        stopping: Arc<AtomicBool>,
    ) -> Self {
        Writer {
            settings,
            queue,
            metrics,
            trouble,
            stopping,
            logs: Vec::new(),
            by_path: HashMap::new(),
            plans: AHashMap::new(),
            plan_count: 0,
            senders: AHashMap::new(),
            unwritten: 0,
            uses: 0,
            bad_batch: KeyedRateLimit::new(WARNING_INTERVAL, 100),
            write_error: RateLimit::new(WARNING_INTERVAL),
        }
    }

    /// Writes until the queue is closed and empty, then closes all logs. The body of the thread.
    pub(crate) fn run(mut self) {
        let mut next_flush = Instant::now() + self.settings.flush_interval;
        loop {
            match self.queue.receive_until(Some(next_flush)) {
                Ok(incoming) => self.take_in(&incoming),
                Err(Empty::TimedOut) => {}
                Err(Empty::Closed) => break,
            }
            let now = Instant::now();
            if now >= next_flush {
                self.metrics.queue_bytes.set(self.queue.depth().1 as i64);
                self.flush_older_than(now.checked_sub(self.settings.flush_interval));
                next_flush = now + self.settings.flush_interval.max(Duration::from_millis(10));
            }
        }
        self.close_all();
    }

    fn take_in(&mut self, incoming: &Incoming) {
        match incoming {
            Incoming::Own(payload) => self.take_batch(b"", LogMessage::ZEEK_BIN, payload),
            Incoming::Messages(messages) => {
                for message in messages {
                    // The intake lets four frames pass only.
                    if let Ok(message) = LogMessage::parse(&message.frames) {
                        self.take_batch(message.sender, message.format, message.payload);
                    }
                }
            }
        }
    }

    fn take_batch(&mut self, sender: &[u8], format: &[u8], payload: &[u8]) {
        let counters = self.sender(sender);
        counters.batches.inc();
        if format != LogMessage::ZEEK_BIN {
            counters.rejected[BatchFault::Format].inc();
            let ours = BStr::new(LogMessage::ZEEK_BIN);
            let what = format!(
                "Got log message in format '{}', but have deserializer '{ours}'",
                BStr::new(&format[..format.len().min(64)]),
            );
            self.warn_batch(sender, &what);
            return;
        }
        if let Err((fault, what)) = self.write_batch(payload) {
            counters.rejected[fault].inc();
            self.warn_batch(sender, &what);
        }
    }

    fn sender(&mut self, sender: &[u8]) -> SenderCounters {
        if let Some(counters) = self.senders.get(BStr::new(sender)) {
            return counters.clone();
        }
        if self.senders.len() >= MAX_CACHED {
            self.senders.clear();
        }
        let counters = self.metrics.sender(&sender[..sender.len().min(256)]);
        // Longer ids are nobody's; they are looked up each time.
        if sender.len() <= 256 {
            self.senders.insert(sender.into(), counters.clone());
        }
        counters
    }

    fn warn_batch(&mut self, sender: &[u8], what: &str) {
        let mut key = [0; 64];
        let length = sender.len().min(64);
        key[..length].copy_from_slice(&sender[..length]);
        if let Some(more) = self.bad_batch.check(&key, Instant::now()) {
            let sender = BStr::new(&sender[..sender.len().min(256)]);
            log::error!("rejected a log batch from '{sender}': {what} ({more} more like this)");
        }
    }

    /// Appends a batch to its log's buffer, and writes that if it is large enough.
    fn write_batch(&mut self, payload: &[u8]) -> Result<(), (BatchFault, String)> {
        let undecodable =
            |error: DecodeError| (BatchFault::Payload, format!("Failed to unserialize: {error}"));
        let (batch, plan) = if let Some((batch, plan)) = self.find_plan(payload) {
            (batch.map_err(undecodable)?, plan.clone())
        } else {
            let batch = Batch::decode(payload).map_err(undecodable)?;
            let plan = self.make_plan(&batch)?;
            (batch, plan)
        };
        if batch.num_records() == 0 {
            return Ok(());
        }
        let log = &mut self.logs[plan.log];
        let before = log.file.buffer.len();
        let in_force = log.formatter.clone();
        log.switch_to(&plan.formatter);
        let records = match plan.formatter.format_batch(&batch, &mut log.file.buffer) {
            Ok(records) => records,
            Err(error) => {
                // Its header goes, too: a refused batch makes no file.
                log.file.buffer.truncate(before);
                log.formatter = in_force;
                return Err((BatchFault::Payload, format!("path {}: {error}", batch.path)));
            }
        };
        log.counters.batches.inc();
        log.counters.records.inc_by(records.into());
        log.unwritten_records += u64::from(records);
        log.file.unwritten_since.get_or_insert_with(Instant::now);
        self.unwritten += log.file.buffer.len() - before;
        if log.file.buffer.len() >= WRITE_SIZE {
            self.write_out(plan.log);
        }
        if self.unwritten >= TOTAL_UNWRITTEN {
            self.flush_older_than(None);
        }
        Ok(())
    }

    /// The plan for a payload whose header is known, and the batch read by it.
    fn find_plan<'a>(&self, payload: &'a [u8]) -> Option<(Result<Batch<'a>, DecodeError>, &Plan)> {
        let plans = self.plans.get(Batch::names_bytes(payload)?)?;
        plans.iter().find_map(|plan| plan.header.decode(payload).map(|batch| (batch, plan)))
    }

    fn make_plan(&mut self, batch: &Batch<'_>) -> Result<Plan, (BatchFault, String)> {
        let path =
            LogPath::new(batch.path).map_err(|error| (BatchFault::Path, error.to_string()))?;
        let formatter = RecordFormatter::new(batch, &self.settings.options).map_err(|error| {
            let fault = match error {
                FormatError::FieldName { .. } => BatchFault::Schema,
                _ => BatchFault::Payload,
            };
            (fault, format!("path {}: {error}", batch.path))
        })?;
        let log = match self.by_path.get(&path) {
            Some(log) => *log,
            None if self.logs.len() >= MAX_LOGS => {
                let what = format!("path {}: more than {MAX_LOGS} logs", batch.path);
                return Err((BatchFault::Limit, what));
            }
            None => {
                self.logs.push(Log {
                    file: LogFile::new(&self.settings.dir, &path, &self.settings.extension),
                    formatter: None,
                    counters: self.metrics.path(path.as_bstr()),
                    unwritten_records: 0,
                });
                self.by_path.insert(path, self.logs.len() - 1);
                self.logs.len() - 1
            }
        };
        if self.plan_count >= MAX_CACHED {
            self.plans.clear();
            self.plan_count = 0;
        }
        let header = Arc::new(KnownHeader::of(batch));
        let plan = Plan { log, header, formatter: Arc::new(formatter) };
        if let Some(names) = Batch::names_bytes(batch.header_bytes()) {
            let plans = self.plans.entry(names.into()).or_default();
            // So many sets of columns under one name are no schema but an attack: forget them.
            if plans.len() >= MAX_PLANS_OF_ONE_NAME {
                self.plan_count -= plans.len();
                plans.clear();
            }
            plans.push(plan.clone());
            self.plan_count += 1;
        }
        Ok(plan)
    }

    /// Writes what has waited since that time or longer; everything for `None`.
    fn flush_older_than(&mut self, time: Option<Instant>) {
        for index in 0..self.logs.len() {
            let since = self.logs[index].file.unwritten_since;
            if since.is_some_and(|since| time.is_none_or(|time| since <= time)) {
                self.write_out(index);
            }
        }
    }

    /// Writes a log's buffer, again and again until it is written.
    fn write_out(&mut self, index: usize) {
        self.make_room_for(index);
        let mut give_up_at = None;
        loop {
            let log = &mut self.logs[index];
            let before = log.file.buffer.len();
            let outcome = log.file.write_out();
            let written = before - log.file.buffer.len();
            self.unwritten -= written;
            log.counters.written_bytes.inc_by(written as u64);
            let Err(error) = outcome else { break };
            log.counters.write_errors.inc();
            let trouble = format!("cannot write {}: {error}", log.file.target().display());
            let name_is_bad = log_file::is_about_the_name(&error);
            if name_is_bad || self.is_out_of_time(&mut give_up_at) {
                self.give_up(index, &trouble);
                break;
            }
            if let Some(more) = self.write_error.check(Instant::now()) {
                log::error!("{trouble}; trying again ({more} attempts since the last message)");
            }
            self.trouble.set(Some(trouble));
            if is_out_of_descriptors(&error) {
                self.release_files(index);
            }
            std::thread::park_timeout(RETRY_INTERVAL);
        }
        if self.trouble.get().is_some() {
            self.trouble.set(None);
            log::info!("log files can be written again");
        }
        let log = &mut self.logs[index];
        log.unwritten_records = 0;
        if log.file.buffer.capacity() > KEEP_CAPACITY {
            log.file.buffer = Vec::new();
        }
        self.metrics
            .open_files
            .set(self.logs.iter().filter(|log| log.file.is_open()).count() as i64);
    }

    /// Whether the process is to end and has tried for long enough.
    fn is_out_of_time(&self, give_up_at: &mut Option<Instant>) -> bool {
        if !self.stopping.load(Ordering::Relaxed) {
            return false;
        }
        let now = Instant::now();
        now >= *give_up_at.get_or_insert(now + self.settings.shutdown_timeout)
    }

    fn give_up(&mut self, index: usize, why: &str) {
        let log = &mut self.logs[index];
        log.counters.records_lost.inc_by(log.unwritten_records);
        self.unwritten -= log.file.buffer.len();
        log.file.buffer.clear();
        log.file.unwritten_since = None;
        log::error!("{why}; lost {} records", log.unwritten_records);
    }

    /// Keeps the number of open files within bounds.
    fn make_room_for(&mut self, index: usize) {
        self.uses += 1;
        self.logs[index].file.last_used = self.uses;
        if self.logs[index].file.is_open() {
            return;
        }
        let open = self.logs.iter().filter(|log| log.file.is_open());
        if open.clone().count() >= MAX_OPEN_FILES
            && let Some(oldest) = open.map(|log| log.file.last_used).min()
        {
            let log = self.logs.iter_mut().find(|log| log.file.last_used == oldest);
            if let Some(log) = log {
                log.file.release();
            }
        }
    }

    /// The system has no more descriptors: gives back those of half of the other logs.
    fn release_files(&mut self, but: usize) {
        let mut open: Vec<usize> = (0..self.logs.len())
            .filter(|index| *index != but && self.logs[*index].file.is_open())
            .collect();
        open.sort_by_key(|index| self.logs[*index].file.last_used);
        for index in &open[..open.len().div_ceil(2)] {
            self.logs[*index].file.release();
        }
    }

    fn close_all(&mut self) {
        let time = clock::now_text();
        for index in 0..self.logs.len() {
            let log = &mut self.logs[index];
            if let Some(formatter) = log.formatter.take() {
                let before = log.file.buffer.len();
                formatter.footer(&time, &mut log.file.buffer);
                self.unwritten += log.file.buffer.len() - before;
            }
            self.write_out(index);
        }
    }
}

impl Log {
    /// Makes the next records stand under the header of this formatter: writes it, and the footer
    /// of the one before, where the schema changes in the middle of a file.
    fn switch_to(&mut self, formatter: &Arc<RecordFormatter>) {
        if self.formatter.as_ref().is_some_and(|current| Arc::ptr_eq(current, formatter)) {
            return;
        }
        let time = clock::now_text();
        let mut old = Vec::new();
        let mut new = Vec::new();
        if let Some(current) = &self.formatter {
            current.header("", &mut old);
            formatter.header("", &mut new);
            if old == new {
                // Another stream, filter or writer with the same columns: the same log.
                self.formatter = Some(Arc::clone(formatter));
                return;
            }
            current.footer(&time, &mut self.file.buffer);
        }
        formatter.header(&time, &mut self.file.buffer);
        self.formatter = Some(Arc::clone(formatter));
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let number = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| number == Some(errno.raw_os_error()))
}
