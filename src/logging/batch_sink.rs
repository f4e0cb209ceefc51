//! [`BatchSink`]: collects the records of each log, and passes them on in batches.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::entered::Entered;
use super::{LogSink, LogWriter, WriterInfo, lock};
use crate::layout::Log;
use crate::node::{LogError, MAX_BATCH_BYTES, NodeError};
use crate::rate_limit::RateLimit;
use crate::wire::zeek_bin::{BatchBuilder, RecordWriter, Truncations};

/// How often the log says that the function panicked.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// How many writers there are at least before `open` looks for those that are closed.
const MIN_PRUNE_AT: usize = 64;

thread_local! {
    /// Whether this thread is in the function of a sink, which may write logs itself.
    static PASSING_ON: Cell<bool> = const { Cell::new(false) };
    /// Batches of logs that were closed meanwhile: they are passed on after it.
    static LEFT: RefCell<VecDeque<Left>> = const { RefCell::new(VecDeque::new()) };
}

/// A batch with its number of records, and who gets it.
type Left = (Arc<Receiving>, Vec<u8>, usize);

type Receive = Box<dyn Fn(&[u8]) + Send + Sync>;

/// The function that gets batches.
struct Receiving {
    receive: Receive,
    panics: Mutex<RateLimit>,
}

impl Receiving {
    /// A panic loses this batch, and nothing else.
    fn call(&self, payload: &[u8], records: usize) {
        let called = catch_unwind(AssertUnwindSafe(|| (self.receive)(payload)));
        if called.is_err()
            && let Some(more) = lock(&self.panics).check(Instant::now())
        {
            log::warn!(
                "the function that gets batches of logs panicked: a batch of {records} records may \
                 be lost ({more} more like this)"
            );
        }
    }
}

/// A sink that passes batches to a function: for a process that writes logs itself, beside what it
/// sends to loggers.
///
/// A batch is passed on at `write_buffer_size` records, or once the oldest has waited for
/// `flush_interval`, or when the log is flushed or closed. A thread watches the time; it ends with
/// the sink and its logs.
///
/// ```
/// use std::sync::Arc;
/// use zcluster::logging::{BatchSink, Logs, Sinks};
/// use zcluster::wire::zeek_bin::Batch;
///
/// # fn logs(node: &zcluster::Node) -> Result<Logs, std::io::Error> {
/// let sink = BatchSink::new(&node.layout().log, |payload| {
///     let batch = Batch::decode(payload).expect("it was encoded here");
///     println!("{} records of {}", batch.num_records(), batch.path);
/// })?;
/// let local = Some(Arc::new(sink) as _);
/// Ok(Logs::with_sinks(Sinks { local, enable_local_logging: true, ..Sinks::of(node) }))
/// # }
/// ```
pub struct BatchSink {
    receiving: Arc<Receiving>,
    size: usize,
    writers: Arc<Mutex<Writers>>,
    /// Tells the thread that there is a batch to wait for, and at its end that there is none. `None`
    /// if there is no thread.
    wake: Option<Sender<()>>,
}

/// The writers whose time the thread watches.
struct Writers {
    open: Vec<Weak<Writer>>,
    /// At that many, `open` looks for those that are closed: the thread may sleep for long.
    prune_at: usize,
}

impl Writers {
    fn push(&mut self, writer: Weak<Writer>) {
        if self.open.len() >= self.prune_at {
            self.prune();
            self.prune_at = MIN_PRUNE_AT.max(self.open.len() * 2);
        }
        self.open.push(writer);
    }

    fn prune(&mut self) {
        self.open.retain(|writer| writer.strong_count() > 0);
    }
}

impl std::fmt::Debug for BatchSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchSink").field("size", &self.size).finish_non_exhaustive()
    }
}

impl BatchSink {
    /// Passes batches to that function, with the `write_buffer_size` and `flush_interval` of these
    /// options. Whoever completes a batch waits for the function; it gets the batches of a log one
    /// at a time and in order.
    ///
    /// The function may write logs. What it writes to logs of a `BatchSink` is passed on with their
    /// next batch or after `flush_interval`, never while it runs. If it holds
    /// [`Logs`](super::Logs) that use the sink, they never end. If it panics, a line in the log of
    /// the process says so, and the next batch is passed on as usual.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn new(
        options: &Log,
        receive: impl Fn(&[u8]) + Send + Sync + 'static,
    ) -> Result<Self, std::io::Error> {
        let (wake, woken) = bounded(1);
        let interval = options.flush_interval;
        let writers = Writers { open: Vec::new(), prune_at: MIN_PRUNE_AT };
        let writers = Arc::new(Mutex::new(writers));
        let is_timed = !interval.is_zero();
        if is_timed {
            let writers = Arc::clone(&writers);
            let thread = std::thread::Builder::new().name("local-logs".into());
            thread.spawn(move || watch(&writers, interval, &woken))?;
        }
        let size = options.write_buffer_size.max(1) as usize;
        let panics = Mutex::new(RateLimit::new(WARNING_INTERVAL));
        let receiving = Arc::new(Receiving { receive: Box::new(receive), panics });
        Ok(BatchSink { receiving, size, writers, wake: is_timed.then_some(wake) })
    }
}

/// Flushes what has waited long enough, until no writer can wake it any more.
fn watch(writers: &Mutex<Writers>, interval: Duration, woken: &Receiver<()>) {
    loop {
        let mut next: Option<Instant> = None;
        let alive: Vec<Arc<Writer>> = {
            let mut writers = lock(writers);
            writers.prune();
            writers.open.iter().filter_map(Weak::upgrade).collect()
        };
        for writer in &alive {
            if let Some(due) = writer.flush_before(Instant::now(), interval) {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        // They hold the other end of the channel.
        drop(alive);
        let outcome = match next {
            Some(due) => woken.recv_deadline(due),
            None => woken.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        if outcome == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

impl LogSink for BatchSink {
    fn open(&self, info: WriterInfo) -> Result<Box<dyn LogWriter>, NodeError> {
        let builder = BatchBuilder::with_limits(info.schema, info.limits)?;
        let writer = Arc::new(Writer {
            waiting: Mutex::new(Waiting { builder, oldest: None }),
            passing_on: Mutex::default(),
            receiving: Arc::clone(&self.receiving),
            size: self.size,
            wake: self.wake.clone(),
        });
        if self.wake.is_some() {
            lock(&self.writers).push(Arc::downgrade(&writer));
        }
        Ok(Box::new(Handle(writer)))
    }
}

/// Passes on what is left when the log is closed.
struct Handle(Arc<Writer>);

struct Writer {
    waiting: Mutex<Waiting>,
    /// Held while a batch is passed on, so that they stay in order. Locked before `waiting`.
    passing_on: Mutex<()>,
    receiving: Arc<Receiving>,
    size: usize,
    wake: Option<Sender<()>>,
}

/// The records of a batch that is not complete.
struct Waiting {
    builder: BatchBuilder,
    oldest: Option<Instant>,
}

impl Writer {
    /// Passes on the batch. `false` if this thread is in the function already.
    fn pass_on(&self) -> bool {
        let Some(_entered) = Entered::new(&PASSING_ON) else { return false };
        let one_at_a_time = lock(&self.passing_on);
        let (payload, records) = {
            let mut waiting = lock(&self.waiting);
            waiting.oldest = None;
            if waiting.builder.is_empty() {
                return true;
            }
            let records = waiting.builder.len();
            (waiting.builder.take(), records)
        };
        self.receiving.call(&payload, records);
        drop(one_at_a_time);
        while let Ok(Some((receiving, payload, records))) =
            LEFT.try_with(|left| left.borrow_mut().pop_front())
        {
            receiving.call(&payload, records);
        }
        true
    }

    /// Passes on a batch that has waited for `interval`; otherwise returns when it will have.
    fn flush_before(&self, now: Instant, interval: Duration) -> Option<Instant> {
        let due = lock(&self.waiting).oldest? + interval;
        if now < due {
            return Some(due);
        }
        self.pass_on();
        None
    }
}

impl LogWriter for Handle {
    fn write(&self, record: &dyn Fn(&mut RecordWriter<'_>)) -> Result<Truncations, LogError> {
        let Handle(writer) = self;
        let mut waiting = lock(&writer.waiting);
        let before = waiting.builder.truncations();
        waiting.builder.push_with(record)?;
        let cut = waiting.builder.truncations().since(before);
        let is_first = waiting.oldest.is_none();
        waiting.oldest.get_or_insert_with(Instant::now);
        let is_full =
            waiting.builder.len() >= writer.size || waiting.builder.bytes() >= MAX_BATCH_BYTES;
        drop(waiting);
        let is_passed_on = is_full && writer.pass_on();
        if let (true, false, Some(wake)) = (is_first, is_passed_on, &writer.wake) {
            // If it is full, the thread is about to look anyway.
            let _ = wake.try_send(());
        }
        Ok(cut)
    }

    fn flush(&self) -> Result<(), LogError> {
        self.0.pass_on();
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.0.pass_on() {
            return;
        }
        let mut waiting = lock(&self.0.waiting);
        if !waiting.builder.is_empty() {
            let records = waiting.builder.len();
            let left = (Arc::clone(&self.0.receiving), waiting.builder.take(), records);
            LEFT.with_borrow_mut(|all| all.push_back(left));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::logging::{LogRecord, Logs, Sinks};
    use crate::wire::zeek_bin::{Batch, FieldSpec, Limits, LogSchema, Scalar};

    #[derive(LogRecord)]
    struct Number {
        n: u64,
    }

    /// A sink, and the numbers of records in what it passes on.
    fn sink(size: u32, interval: Duration) -> (Logs, mpsc::Receiver<u32>) {
        let options = Log { write_buffer_size: size, flush_interval: interval, ..Log::default() };
        let (tell, told) = mpsc::channel();
        let receive =
            move |payload: &[u8]| tell.send(Batch::decode(payload).unwrap().num_records()).unwrap();
        let sink = BatchSink::new(&options, receive).unwrap();
        let local = Some(Arc::new(sink) as _);
        let sinks = Sinks { local, enable_local_logging: true, ..Sinks::default() };
        (Logs::with_sinks(sinks), told)
    }

    #[test]
    fn batches_are_passed_on_when_full_flushed_or_closed() {
        let (logs, told) = sink(3, Duration::ZERO);
        let stream = logs.create_stream::<Number>("Numbers::LOG").unwrap();
        let write = |count: u64| (0..count).for_each(|n| stream.write(&Number { n }).unwrap());
        write(7);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [3, 3]);
        stream.flush().unwrap();
        stream.flush().unwrap();
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [1]);
        write(2);
        drop((logs, stream));
        // Then nobody holds the other end.
        assert_eq!(told.iter().collect::<Vec<_>>(), [2]);
    }

    /// A sink with a function that may use the streams that it belongs to.
    fn reentrant(
        size: u32,
        receive: impl Fn(&Logs, u32) + Send + Sync + 'static,
    ) -> (Logs, Arc<BatchSink>) {
        let options =
            Log { write_buffer_size: size, flush_interval: Duration::ZERO, ..Log::default() };
        let logs = Arc::new(Mutex::new(None::<Logs>));
        let own = Arc::clone(&logs);
        let sink = BatchSink::new(&options, move |payload| {
            let logs = lock(&own).clone().unwrap();
            receive(&logs, Batch::decode(payload).unwrap().num_records());
        });
        let sink = Arc::new(sink.unwrap());
        let local = Some(Arc::clone(&sink) as _);
        let sinks = Sinks { local, enable_local_logging: true, ..Sinks::default() };
        *lock(&logs) = Some(Logs::with_sinks(sinks));
        let logs = lock(&logs).clone().unwrap();
        (logs, sink)
    }

    #[test]
    fn the_function_may_log_even_to_the_same_log() {
        let (tell, told) = mpsc::channel();
        let (logs, _sink) = reentrant(2, move |logs, records| {
            tell.send(records).unwrap();
            let stream = logs.stream::<Number>("Numbers::LOG").unwrap();
            // As many as a batch has, the first time.
            (0..records.min(3)).for_each(|n| stream.write(&Number { n: n.into() }).unwrap());
            stream.flush().unwrap();
            if records == 1 {
                logs.remove_stream("Numbers::LOG").unwrap();
            }
        });
        let stream = logs.create_stream::<Number>("Numbers::LOG").unwrap();
        (0..2).for_each(|n| stream.write(&Number { n }).unwrap());
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [2]);
        // The two that it wrote are passed on with the next one.
        stream.write(&Number { n: 0 }).unwrap();
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [3]);
        stream.flush().unwrap();
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_log_that_the_function_closes_is_passed_on() {
        let (tell, told) = mpsc::channel();
        let (logs, _sink) = reentrant(2, move |logs, records| {
            tell.send(records).unwrap();
            if records == 2 {
                let other = logs.create_stream::<Number>("Other::LOG").unwrap();
                other.write(&Number { n: 0 }).unwrap();
                logs.remove_stream("Other::LOG").unwrap();
            }
        });
        let stream = logs.create_stream::<Number>("Numbers::LOG").unwrap();
        (0..2).for_each(|n| stream.write(&Number { n }).unwrap());
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_panic_of_the_function_loses_one_batch() {
        let (tell, told) = mpsc::channel();
        let (logs, _sink) = reentrant(2, move |_, records| {
            tell.send(records).unwrap();
            assert!(records != 1, "on purpose");
        });
        let stream = logs.create_stream::<Number>("Numbers::LOG").unwrap();
        for _ in 0..2 {
            stream.write(&Number { n: 0 }).unwrap();
            stream.flush().unwrap();
            (0..2).for_each(|n| stream.write(&Number { n }).unwrap());
        }
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [1, 2, 1, 2]);
    }

    #[test]
    fn closed_logs_are_forgotten() {
        for interval in [Duration::ZERO, Duration::from_secs(3600)] {
            let options = Log { flush_interval: interval, ..Log::default() };
            let sink = BatchSink::new(&options, |_| ()).unwrap();
            let schema = || {
                let fields = vec![FieldSpec::new("n", Scalar::Count)];
                LogSchema::new("X::LOG", "x", fields)
            };
            let open = || {
                let (limits, topic) = (Limits::NONE, String::new());
                sink.open(WriterInfo { schema: schema(), limits, topic }).unwrap()
            };
            for _ in 0..1000 {
                drop(open());
                assert!(lock(&sink.writers).open.len() <= MIN_PRUNE_AT);
            }
            let kept: Vec<_> = (0..100).map(|_| open()).collect();
            let known = lock(&sink.writers).open.len();
            assert!(if interval.is_zero() { known == 0 } else { known >= kept.len() }, "{known}");
        }
    }

    #[test]
    fn batches_are_passed_on_in_time_and_the_thread_ends() {
        let (logs, told) = sink(1000, Duration::from_millis(5));
        let stream = logs.create_stream::<Number>("Numbers::LOG").unwrap();
        for n in 0..3 {
            stream.write(&Number { n }).unwrap();
            assert_eq!(told.recv_timeout(Duration::from_secs(30)), Ok(1));
        }
        drop((logs, stream));
        let end = told.recv_timeout(Duration::from_secs(30));
        assert_eq!(end, Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
