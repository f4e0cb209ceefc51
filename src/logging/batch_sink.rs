//! [`BatchSink`]: collects the records of each log, and passes them on in batches.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{LogSink, LogWriter, WriterInfo, lock};
use crate::layout::Log;
use crate::node::{LogError, NodeError};
use crate::wire::zeek_bin::{BatchBuilder, RecordWriter, Truncations};

/// A batch is passed on once it has this many bytes, however few its records.
const MAX_BATCH_BYTES: usize = 4 << 20;

type Receive = Arc<dyn Fn(&[u8]) + Send + Sync>;

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
    receive: Receive,
    size: usize,
    interval: Duration,
    writers: Writers,
    /// Tells the thread that there is a batch to wait for, and at its end that there is none.
    wake: Sender<()>,
}

type Writers = Arc<Mutex<Vec<Weak<Writer>>>>;

impl std::fmt::Debug for BatchSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchSink").field("size", &self.size).finish_non_exhaustive()
    }
}

impl BatchSink {
    /// Passes batches to that function, with the `write_buffer_size` and `flush_interval` of these
    /// options. Whoever writes a record waits for the function.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn new(
        options: &Log,
        receive: impl Fn(&[u8]) + Send + Sync + 'static,
    ) -> Result<Self, std::io::Error> {
        let (wake, woken) = bounded(1);
        let interval = options.flush_interval;
        let writers = Writers::default();
        if !interval.is_zero() {
            let writers = Arc::clone(&writers);
            let thread = std::thread::Builder::new().name("local-logs".into());
            thread.spawn(move || watch(&writers, interval, &woken))?;
        }
        let size = options.write_buffer_size.max(1) as usize;
        Ok(BatchSink { receive: Arc::new(receive), size, interval, writers, wake })
    }
}

/// Flushes what has waited long enough, until no writer can wake it any more.
fn watch(writers: &Writers, interval: Duration, woken: &Receiver<()>) {
    loop {
        let mut next: Option<Instant> = None;
        let alive: Vec<Arc<Writer>> = {
            let mut writers = lock(writers);
            writers.retain(|writer| writer.strong_count() > 0);
            writers.iter().filter_map(Weak::upgrade).collect()
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
            receive: Arc::clone(&self.receive),
            size: self.size,
            wake: (!self.interval.is_zero()).then(|| self.wake.clone()),
        });
        lock(&self.writers).push(Arc::downgrade(&writer));
        Ok(Box::new(Handle(writer)))
    }
}

/// Passes on what is left when the log is closed.
struct Handle(Arc<Writer>);

struct Writer {
    waiting: Mutex<Waiting>,
    receive: Receive,
    size: usize,
    wake: Option<Sender<()>>,
}

/// The records of a batch that is not complete.
struct Waiting {
    builder: BatchBuilder,
    oldest: Option<Instant>,
}

impl Writer {
    /// Passes on the batch; the lock keeps batches in order.
    fn pass_on(&self, waiting: &mut Waiting) {
        waiting.oldest = None;
        if !waiting.builder.is_empty() {
            (self.receive)(&waiting.builder.take());
        }
    }

    /// Passes on a batch that has waited for `interval`; otherwise returns when it will have.
    fn flush_before(&self, now: Instant, interval: Duration) -> Option<Instant> {
        let mut waiting = lock(&self.waiting);
        let due = waiting.oldest? + interval;
        if now < due {
            return Some(due);
        }
        self.pass_on(&mut waiting);
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
        if waiting.builder.len() >= writer.size || waiting.builder.bytes() >= MAX_BATCH_BYTES {
            writer.pass_on(&mut waiting);
        } else if let (None, Some(wake)) = (waiting.oldest, &writer.wake) {
            waiting.oldest = Some(Instant::now());
            // If it is full, the thread is about to look anyway.
            let _ = wake.try_send(());
        }
        Ok(cut)
    }

    fn flush(&self) -> Result<(), LogError> {
        self.0.pass_on(&mut lock(&self.0.waiting));
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.pass_on(&mut lock(&self.0.waiting));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::logging::{LogRecord, Logs, Sinks};
    use crate::wire::zeek_bin::Batch;

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
