//! The writing thread: batches to text to files.
//!
//! Order per sender and path is the order of arrival. A batch that does not decode leaves nothing
//! in a file. While a file cannot be written, nothing more is taken off the queue, which fills up
//! and holds the producers back.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use bstr::{BStr, BString};
use zcluster::queue::{self, Empty};
use zcluster::rate_limit::{KeyedRateLimit, RateLimit};
use zcluster::telemetry::{BatchFault, LoggerMetrics, PathCounters, SenderCounters};
use zcluster::wire::LogMessage;
use zcluster::wire::zeek_bin::{Batch, DecodeError};

use crate::clock;
use crate::end::Deadline;
use crate::format::{FormatError, RecordFormatter, WriterOptions};
use crate::intake::Incoming;
use crate::log_file::{self, LogFile};
use crate::path::LogPath;
use crate::plans::{Plan, Plans};

/// Text a log gathers before it is written.
const WRITE_SIZE: usize = 128 << 10;
/// Buffers larger than this are given back once written: one huge batch must not be remembered.
const KEEP_CAPACITY: usize = 4 * WRITE_SIZE;
/// Files open at a time.
const MAX_OPEN_FILES: usize = 500;
/// Logs in all. Further paths are refused: paths come from the network.
const MAX_LOGS: usize = 10_000;
/// Senders whose counters are kept. Beyond, all are forgotten and asked for anew: that is slow, not
/// wrong.
const MAX_SENDERS: usize = 4_096;
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
    /// Bytes of text all logs together may gather: a thousand paths must not hold a thousand
    /// buffers.
    pub(crate) max_unwritten: usize,
    /// Once it is set and over, what cannot be written is given up.
    pub(crate) deadline: Deadline,
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

/// The state of the thread.
pub(crate) struct Writer {
    settings: Settings,
    queue: queue::Receiver<Incoming>,
    metrics: LoggerMetrics,
    trouble: Trouble,
    logs: Vec<Log>,
    by_path: HashMap<LogPath, usize>,
    plans: Plans,
    senders: AHashMap<BString, SenderCounters>,
    unwritten: usize,
    /// Records given up because the process is to end.
    lost_at_end: u64,
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
    ) -> Self {
        Writer {
            settings,
            queue,
            metrics,
            trouble,
            logs: Vec::new(),
            by_path: HashMap::new(),
            plans: Plans::default(),
            senders: AHashMap::new(),
            unwritten: 0,
            lost_at_end: 0,
            uses: 0,
            bad_batch: KeyedRateLimit::new(WARNING_INTERVAL, 100),
            write_error: RateLimit::new(WARNING_INTERVAL),
        }
    }

    /// Writes until the queue is closed and empty, then closes all logs. The body of the thread.
    /// Returns how many records could not be written before the deadline.
    pub(crate) fn run(mut self) -> u64 {
        let mut next_flush = Instant::now() + self.settings.flush_interval;
        loop {
            match self.queue.receive_until(Some(next_flush)) {
                Ok(incoming) => self.take_in(&incoming),
                Err(Empty::TimedOut) => {}
                Err(Empty::Closed) => break,
            }
            let now = Instant::now();
            if now >= next_flush {
                self.update_queue_gauge();
                self.flush_older_than(now.checked_sub(self.settings.flush_interval));
                next_flush = now + self.settings.flush_interval.max(Duration::from_millis(10));
            }
        }
        self.close_all();
        self.update_queue_gauge();
        self.lost_at_end
    }

    fn update_queue_gauge(&self) {
        self.metrics.queue_bytes.set(self.queue.depth().1 as i64);
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
        if self.senders.len() >= MAX_SENDERS {
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
        let (batch, plan) = match self.plans.find(payload) {
            Some((batch, plan)) => (batch.map_err(undecodable)?, Some(plan.clone())),
            None => (Batch::decode(payload).map_err(undecodable)?, None),
        };
        // Without records it makes no log, and nothing is remembered of it.
        if batch.num_records() == 0 {
            return Ok(());
        }
        let plan = match plan {
            Some(plan) => plan,
            None => self.make_plan(&batch)?,
        };
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
        if self.unwritten >= self.settings.max_unwritten {
            self.flush_older_than(None);
        }
        Ok(())
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
        let plan = Plan { log, formatter: Arc::new(formatter) };
        self.plans.insert(batch, plan.clone());
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

    /// Writes a log's buffer, again and again until it is written or given up.
    fn write_out(&mut self, index: usize) {
        self.make_room_for(index);
        loop {
            let log = &mut self.logs[index];
            let before = log.file.buffer.len();
            let outcome = log.file.write_out();
            let written = before - log.file.buffer.len();
            self.unwritten -= written;
            log.counters.written_bytes.inc_by(written as u64);
            let Err(error) = outcome else {
                if written > 0 && self.trouble.get().is_some() {
                    self.trouble.set(None);
                    log::info!("log files can be written again");
                }
                break;
            };
            log.counters.write_errors.inc();
            let trouble = format!("cannot write {}: {error}", log.file.target().display());
            let is_over = self.settings.deadline.is_over();
            if is_over || log_file::is_about_the_name(&error) {
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
            self.update_queue_gauge();
            std::thread::park_timeout(RETRY_INTERVAL);
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

    /// Throws away what cannot be written. Records that come later get a header of their own, and
    /// without any the file gets no footer: it does not end as it should.
    fn give_up(&mut self, index: usize, why: &str) {
        let log = &mut self.logs[index];
        log.counters.records_lost.inc_by(log.unwritten_records);
        if self.settings.deadline.get().is_some() {
            self.lost_at_end += log.unwritten_records;
        }
        self.unwritten -= log.file.buffer.len();
        log.file.discard();
        log.formatter = None;
        if log.unwritten_records > 0 {
            log::error!("{why}; lost {} records", log.unwritten_records);
        } else {
            log::error!("{why}");
        }
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
        if self.file.is_mid_line() {
            self.file.buffer.push(b'\n');
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use zcluster::queue::Limits;
    use zcluster::telemetry::Telemetry;
    use zcluster::wire::zeek_bin::{BatchBuilder, FieldSpec, LogSchema, LogValue, Scalar};

    fn writer(dir: PathBuf, deadline: Deadline) -> (Writer, queue::Sender<Incoming>) {
        let (sender, queue) = queue::bounded(Limits { messages: 0, bytes: 0 }, || {});
        let settings = Settings {
            dir,
            extension: "log".into(),
            options: WriterOptions::default(),
            flush_interval: Duration::from_secs(3600),
            max_unwritten: 1 << 20,
            deadline,
        };
        let metrics = Telemetry::new("", "").logger().clone();
        (Writer::new(settings, queue, metrics, Trouble::default()), sender)
    }

    fn batch(path: &str, numbers: &[u64]) -> Vec<u8> {
        let fields = vec![FieldSpec::new("n", Scalar::Count)];
        let mut batch = BatchBuilder::new(LogSchema::new("S", path, fields)).unwrap();
        for n in numbers {
            batch.push(&[LogValue::Count(*n)]).unwrap();
        }
        batch.finish()
    }

    fn records(text: &str) -> Vec<&str> {
        text.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn records_after_a_loss_stand_under_a_header() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.log");
        fs::create_dir(&target).unwrap();
        let (mut writer, _sender) = writer(dir.path().into(), Deadline::default());
        writer.write_batch(&batch("a", &[1, 2])).unwrap();
        writer.flush_older_than(None);
        assert_eq!(writer.logs[0].counters.records_lost.get(), 2);
        assert_eq!((writer.unwritten, writer.lost_at_end), (0, 0));
        fs::remove_dir(&target).unwrap();
        writer.close_all();
        assert!(!target.exists(), "no footer without a header");

        writer.write_batch(&batch("a", &[3])).unwrap();
        writer.close_all();
        let text = fs::read_to_string(&target).unwrap();
        assert!(text.starts_with("#separator"), "{text}");
        assert!(text.lines().last().unwrap().starts_with("#close"), "{text}");
        assert_eq!(records(&text), ["3"]);
    }

    #[test]
    fn beyond_the_deadline_nothing_is_tried_twice() {
        let dir = tempfile::tempdir().unwrap();
        let deadline = Deadline::default();
        deadline.set(Instant::now());
        let (writer, sender) = writer(dir.path().join("missing"), deadline);
        let trouble = writer.trouble.clone();
        for n in 0..1000 {
            sender.send(Incoming::Own(batch(&format!("p{n}"), &[1, 2, 3])), 1).unwrap();
        }
        sender.close();
        assert_eq!(writer.run(), 3000);
        assert_eq!(trouble.get(), None);
    }

    #[test]
    fn writing_goes_on_where_it_failed() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs");
        let (writer, sender) = writer(logs.clone(), Deadline::default());
        let trouble = writer.trouble.clone();
        sender.send(Incoming::Own(batch("a", &[1, 2])), 1).unwrap();
        sender.close();
        let writer = std::thread::spawn(|| writer.run());
        while trouble.get().is_none() {
            std::thread::yield_now();
        }
        fs::create_dir(&logs).unwrap();
        assert_eq!(writer.join().unwrap(), 0);
        assert_eq!(trouble.get(), None);
        assert_eq!(records(&fs::read_to_string(logs.join("a.log")).unwrap()), ["1", "2"]);
    }

    #[test]
    fn a_batch_without_records_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, _sender) = writer(dir.path().into(), Deadline::default());
        let payload = batch("a", &[]);
        assert_eq!(writer.write_batch(&payload), Ok(()));
        assert!(writer.plans.find(&payload).is_none());
        assert!(writer.logs.is_empty());
    }
}
