//! [`LogStream`]: collects typed records into batches for the loggers (WIRE.md §4.6).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bstr::ByteSlice;

use super::{LogBatch, NodeError, Shared, lock};
use crate::layout::{Log, LogHwmAction};
use crate::queue::{self, Rejected};
use crate::telemetry::{LogLoss, LogStreamCounters, NodeMetrics, Telemetry};
use crate::transport::Waker;
use crate::wire::zeek_bin::{
    BatchBuilder, Limits, LogSchema, LogValue, PushError, RecordWriter, Truncations,
};

/// A batch is sent once it has this many bytes, however few its records, so that the memory a
/// producer needs does not depend on the size of its records.
pub(crate) const MAX_BATCH_BYTES: usize = 4 << 20;

/// The stream of the messages that nodes themselves write about each other.
pub(super) const CLUSTER_LOG: &str = "Cluster::LOG";

/// Why a record was rejected.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It does not fit the schema of the stream, or is too large.
    #[error(transparent)]
    Record(#[from] PushError),
    /// The node has been shut down.
    #[error("the node has been shut down")]
    Closed,
}

/// A log stream of a node: one (stream, filter, path). Clones share it.
///
/// Records are collected and sent as one batch at `write_buffer_size` records, or when the oldest
/// has waited for `flush_interval`.
#[derive(Clone)]
pub struct LogStream {
    buffer: Arc<Buffer>,
    streams: Arc<Streams>,
    /// Keeps alive the node, which sends the batches; the node's own streams do not.
    _node: Option<Arc<Shared>>,
}

impl std::fmt::Debug for LogStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = lock(&self.buffer.inner);
        let path = &inner.builder.schema().path;
        f.debug_struct("LogStream").field("path", path).finish_non_exhaustive()
    }
}

/// The records a stream has collected.
struct Buffer {
    inner: Mutex<Inner>,
    counters: LogStreamCounters,
}

struct Inner {
    builder: BatchBuilder,
    /// When the oldest record of the batch was written.
    oldest: Option<Instant>,
}

/// How many buffers there are at least before `open` looks for those that nobody writes to.
const MIN_PRUNE_AT: usize = 64;

/// The buffers of a node.
struct All {
    /// Shared with whoever goes through them: a buffer may be locked for long, and the list must not
    /// be meanwhile.
    buffers: Arc<Vec<Arc<Buffer>>>,
    /// At that many buffers, `open` looks for those that nobody writes to. Without a logger, nobody
    /// else does.
    prune_at: usize,
}

impl Default for All {
    fn default() -> Self {
        All { buffers: Arc::default(), prune_at: MIN_PRUNE_AT }
    }
}

impl All {
    fn push(&mut self, buffer: Arc<Buffer>) {
        if self.buffers.len() >= self.prune_at {
            self.prune();
            self.prune_at = MIN_PRUNE_AT.max(self.buffers.len() * 2);
        }
        Arc::make_mut(&mut self.buffers).push(buffer);
    }

    /// Removes buffers that are empty and that nobody writes to. It waits for no lock: what only this
    /// list holds, nobody has locked.
    fn prune(&mut self) {
        let is_needed = |buffer: &Arc<Buffer>| {
            Arc::strong_count(buffer) > 1 || lock(&buffer.inner).oldest.is_some()
        };
        if !self.buffers.iter().all(is_needed) {
            Arc::make_mut(&mut self.buffers).retain(is_needed);
        }
    }
}

/// All streams of a node, and where their batches are sent.
pub(super) struct Streams {
    all: Mutex<All>,
    batches: queue::Sender<LogBatch>,
    write_buffer_size: usize,
    flush_interval: Duration,
    hwm_action: LogHwmAction,
    waker: Arc<Waker>,
    telemetry: Telemetry,
    /// When the application opened its first stream.
    used_since: OnceLock<Instant>,
    /// Set once the node has ended: nothing would send further records.
    closed: AtomicBool,
}

impl Streams {
    pub(super) fn new(
        options: &Log,
        hwm_action: LogHwmAction,
        batches: queue::Sender<LogBatch>,
        waker: Arc<Waker>,
        telemetry: Telemetry,
    ) -> Self {
        Streams {
            all: Mutex::default(),
            batches,
            write_buffer_size: options.write_buffer_size.max(1) as usize,
            flush_interval: options.flush_interval,
            hwm_action,
            waker,
            telemetry,
            used_since: OnceLock::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// When the application opened its first stream; `None` if it has opened none.
    pub(super) fn used_since(&self) -> Option<Instant> {
        self.used_since.get().copied()
    }

    fn open(&self, schema: LogSchema, limits: Limits) -> Result<Arc<Buffer>, NodeError> {
        let counters = self.telemetry.log_sender().stream(
            &schema.stream.to_str_lossy(),
            &schema.writer.to_str_lossy(),
            &schema.filter.to_str_lossy(),
            &schema.path.to_str_lossy(),
        );
        let builder = BatchBuilder::with_limits(schema, limits)?;
        let inner = Mutex::new(Inner { builder, oldest: None });
        let buffer = Arc::new(Buffer { inner, counters });
        lock(&self.all).push(Arc::clone(&buffer));
        Ok(buffer)
    }

    fn buffers(&self) -> Arc<Vec<Arc<Buffer>>> {
        Arc::clone(&lock(&self.all).buffers)
    }

    /// When the next batch is due; `None` if no records are waiting.
    pub(super) fn next_flush(&self) -> Option<Instant> {
        if self.flush_interval.is_zero() {
            return None;
        }
        let buffers = self.buffers();
        let oldest = buffers.iter().filter_map(|buffer| lock(&buffer.inner).oldest).min();
        oldest.map(|oldest| oldest + self.flush_interval)
    }

    /// Takes all batches, and rejects further records. Called by the I/O thread at its end.
    pub(super) fn close(&self) -> Vec<LogBatch> {
        // A writer that finds this unset writes before the buffer is locked below; one that finds
        // it set gives up.
        self.closed.store(true, Ordering::SeqCst);
        self.take_due(Instant::now(), true)
    }

    /// Takes the batches that are due; all of them with `everything`. Called by the I/O thread.
    pub(super) fn take_due(&self, now: Instant, everything: bool) -> Vec<LogBatch> {
        let mut due = Vec::new();
        for buffer in &*self.buffers() {
            let mut inner = lock(&buffer.inner);
            let is_due = inner.oldest.is_some_and(|oldest| {
                everything
                    || (!self.flush_interval.is_zero() && now >= oldest + self.flush_interval)
            });
            if is_due {
                due.push(inner.take());
            }
        }
        lock(&self.all).prune();
        due
    }
}

impl Inner {
    fn take(&mut self) -> LogBatch {
        self.oldest = None;
        let records = self.builder.len() as u64;
        let is_own = self.builder.schema().stream == CLUSTER_LOG;
        LogBatch { payload: self.builder.take(), records, is_own }
    }
}

impl LogStream {
    pub(super) fn open(
        streams: &Arc<Streams>,
        node: Option<Arc<Shared>>,
        schema: LogSchema,
        limits: Limits,
    ) -> Result<Self, NodeError> {
        let buffer = streams.open(schema, limits)?;
        if node.is_some() {
            streams.used_since.get_or_init(Instant::now);
            // Once a node logs, its I/O thread reports whether a logger accepts that.
            streams.waker.wake();
        }
        Ok(LogStream { buffer, streams: Arc::clone(streams), _node: node })
    }

    /// Writes a record.
    ///
    /// Blocks when the batch it completes finds the queue of batches full and `log_hwm_action` is
    /// `block`; with `drop` that batch is dropped and counted.
    ///
    /// # Errors
    /// When the record does not fit the schema, or the node has been shut down.
    pub fn write(&self, record: &[LogValue<'_>]) -> Result<(), LogError> {
        self.buffer.counters.stream_writes.inc();
        match self.gather(|builder| builder.push(record))?.0 {
            Some(batch) => self.send(batch),
            None => Ok(()),
        }
    }

    /// Writes a record that a function writes value by value, and returns what the limits cut off.
    /// Blocks like [`LogStream::write`].
    ///
    /// The function runs while the batch is locked: it must not write to a log, nor open one. If it
    /// panics, the batch is as before.
    ///
    /// It does not count as a write to the stream (`zeek_log_stream_writes_total`), which may have
    /// several writers for one record: that is up to the caller.
    ///
    /// # Errors
    /// As [`LogStream::write`].
    pub fn write_with(
        &self,
        write: impl FnOnce(&mut RecordWriter<'_>),
    ) -> Result<Truncations, LogError> {
        let (batch, cut) = self.gather(|builder| builder.push_with(write))?;
        batch.map_or(Ok(()), |batch| self.send(batch))?;
        Ok(cut)
    }

    /// Writes a record from the I/O thread itself, which must not wait for itself: a batch that
    /// finds the queue full is dropped and counted, whatever `log_hwm_action` says.
    pub(super) fn write_unblocking(&self, record: &[LogValue<'_>]) -> Result<(), LogError> {
        self.buffer.counters.stream_writes.inc();
        match self.gather(|builder| builder.push(record))?.0 {
            Some(batch) => self.try_send(batch),
            None => Ok(()),
        }
    }

    /// Sends the collected records. Blocks like [`LogStream::write`].
    ///
    /// # Errors
    /// When the node has been shut down.
    pub fn flush(&self) -> Result<(), LogError> {
        let batch = {
            let mut inner = lock(&self.buffer.inner);
            inner.oldest.is_some().then(|| inner.take())
        };
        batch.map_or(Ok(()), |batch| self.send(batch))
    }

    /// Adds a record to the batch. Returns the batch if that completes it, and what the limits cut
    /// off.
    fn gather(
        &self,
        push: impl FnOnce(&mut BatchBuilder) -> Result<(), PushError>,
    ) -> Result<(Option<LogBatch>, Truncations), LogError> {
        let counters = &self.buffer.counters;
        let mut inner = lock(&self.buffer.inner);
        if self.streams.closed.load(Ordering::SeqCst) {
            self.metrics().log_records_dropped[LogLoss::Shutdown].inc();
            return Err(LogError::Closed);
        }
        let before = inner.builder.truncations();
        let pushed = push(&mut inner.builder);
        let cut = inner.builder.truncations().since(before);
        counters.truncated_string_fields.inc_by(cut.strings);
        counters.truncated_containers.inc_by(cut.containers);
        if let Err(error) = pushed {
            counters.discarded_writes.inc();
            if cut.records > 0 {
                self.metrics().log_records_dropped[LogLoss::RecordTooLarge].inc();
            }
            return Err(error.into());
        }
        counters.writer_writes.inc();
        let streams = &self.streams;
        if inner.builder.len() >= streams.write_buffer_size
            || inner.builder.bytes() >= MAX_BATCH_BYTES
        {
            return Ok((Some(inner.take()), cut));
        }
        let first = inner.oldest.is_none();
        if first {
            inner.oldest = Some(Instant::now());
        }
        drop(inner);
        if first {
            // The I/O thread does not know yet that there is something to flush.
            streams.waker.wake();
        }
        Ok((None, cut))
    }

    fn send(&self, batch: LogBatch) -> Result<(), LogError> {
        let streams = &self.streams;
        if streams.hwm_action == LogHwmAction::Drop {
            return self.try_send(batch);
        }
        let bytes = batch.payload.len();
        streams.batches.send(batch, bytes).map_err(|rejected| self.lost(rejected))
    }

    fn try_send(&self, batch: LogBatch) -> Result<(), LogError> {
        let bytes = batch.payload.len();
        match self.streams.batches.try_send(batch, bytes) {
            Ok(()) => Ok(()),
            Err(Rejected::Full(batch)) => {
                self.metrics().log_records_dropped[LogLoss::QueueFull].inc_by(batch.records);
                Ok(())
            }
            Err(closed) => Err(self.lost(closed)),
        }
    }

    fn lost(&self, rejected: Rejected<LogBatch>) -> LogError {
        let (Rejected::Full(batch) | Rejected::Closed(batch)) = rejected;
        self.metrics().log_records_dropped[LogLoss::Shutdown].inc_by(batch.records);
        LogError::Closed
    }

    fn metrics(&self) -> &NodeMetrics {
        self.streams.telemetry.node()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc;

    use super::*;
    use crate::wire::zeek_bin::{Batch, FieldSpec, Scalar, ValueRef};

    fn streams() -> (Arc<Streams>, queue::Receiver<LogBatch>) {
        let (batches, received) = queue::bounded(queue::Limits { messages: 0, bytes: 0 }, || {});
        let waker = Arc::new(Waker::new().unwrap());
        let telemetry = Telemetry::new("worker-1", "node");
        let (options, action) = (Log::default(), LogHwmAction::default());
        (Arc::new(Streams::new(&options, action, batches, waker, telemetry)), received)
    }

    fn open(streams: &Arc<Streams>, path: &str) -> LogStream {
        let schema = LogSchema::new("X::LOG", path, vec![FieldSpec::new("n", Scalar::Count)]);
        LogStream::open(streams, None, schema, Limits::default()).unwrap()
    }

    fn len(streams: &Streams) -> usize {
        lock(&streams.all).buffers.len()
    }

    #[test]
    fn closed_streams_are_forgotten_though_nothing_is_sent() {
        let (streams, _received) = streams();
        let kept = open(&streams, "kept");
        open(&streams, "waiting").write(&[LogValue::Count(1)]).unwrap();
        for n in 0..1000 {
            open(&streams, &format!("closed-{n}"));
            assert!(len(&streams) <= MIN_PRUNE_AT, "{n}");
        }
        // Those that are open are not, however many.
        let open: Vec<_> = (0..1000).map(|n| open(&streams, &format!("open-{n}"))).collect();
        kept.write(&[LogValue::Count(2)]).unwrap();
        for stream in &open {
            stream.write(&[LogValue::Count(3)]).unwrap();
        }
        assert_eq!(streams.take_due(Instant::now(), true).len(), 1002);
        drop((kept, open));
        assert_eq!(streams.take_due(Instant::now(), true).len(), 0);
        assert_eq!(len(&streams), 0);
    }

    #[test]
    fn a_stream_opens_while_the_thread_that_sends_waits_for_a_record() {
        let (streams, _received) = streams();
        let stream = open(&streams, "slow");
        stream.write(&[LogValue::Count(1)]).unwrap();
        let (tell, told) = mpsc::channel();
        // The record is being written, and its batch is locked.
        let inner = lock(&stream.buffer.inner);
        let (sender, started) = (Arc::clone(&streams), tell.clone());
        let sender = std::thread::spawn(move || {
            started.send(()).unwrap();
            assert!(sender.next_flush().is_some());
            sender.take_due(Instant::now(), true).len()
        });
        told.recv().unwrap();
        let others = Arc::clone(&streams);
        let opener = std::thread::spawn(move || {
            for n in 0..1000 {
                open(&others, &format!("more-{n}"));
                std::thread::yield_now();
            }
            tell.send(()).unwrap();
        });
        told.recv_timeout(Duration::from_secs(30)).expect("opening does not wait for the record");
        drop(inner);
        assert_eq!(sender.join().unwrap(), 1);
        opener.join().unwrap();
    }

    #[test]
    fn a_panic_while_a_record_is_written_spoils_no_batch() {
        let (streams, _received) = streams();
        let stream = open(&streams, "x");
        let panics = |stream: &LogStream| {
            let write = |record: &mut RecordWriter<'_>| {
                record.put(LogValue::Count(9));
                panic!("on purpose");
            };
            catch_unwind(AssertUnwindSafe(|| stream.write_with(write))).unwrap_err();
        };
        panics(&stream);
        assert_eq!(streams.next_flush(), None);
        stream.write(&[LogValue::Count(1)]).unwrap();
        panics(&stream);
        stream.write(&[LogValue::Count(2)]).unwrap();
        let batches = streams.take_due(Instant::now(), true);
        let batch = Batch::decode(&batches[0].payload).unwrap();
        assert_eq!((batches.len(), batches[0].records, batch.num_records()), (1, 2, 2));
        let mut cursor = batch.cursor();
        let values = [1, 2].map(|_| cursor.next_value(Scalar::Count.into()).unwrap());
        assert_eq!(values, [ValueRef::Count(1), ValueRef::Count(2)]);
    }
}
