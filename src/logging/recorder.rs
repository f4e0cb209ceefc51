//! [`Recorder`]: a sink that keeps what it gets.

use std::sync::{Arc, Mutex};

use super::{LogSink, LogWriter, WriterInfo, lock};
use crate::node::{LogError, NodeError};
use crate::wire::zeek_bin::{BatchBuilder, RecordWriter, Truncations};

/// Keeps the batches that a node would have sent: for tests. Clones share them.
///
/// ```
/// use zcluster::LogRecord;
/// use zcluster::logging::{Logs, Recorder, Sinks};
/// use zcluster::wire::zeek_bin::{Batch, ValueRef};
///
/// #[derive(LogRecord)]
/// struct Seen<'a> {
///     host: &'a str,
/// }
///
/// let recorder = Recorder::new();
/// let logs = Logs::with_sinks(Sinks::remote(recorder.clone()));
/// let stream = logs.create_stream::<Seen<'_>>("Scan::LOG")?;
/// stream.write(&Seen { host: "example.org" })?;
/// logs.flush_logs()?;
/// let batches = recorder.take();
/// let batch = Batch::decode(&batches[0].payload)?;
/// assert_eq!(batch.path, "scan");
/// let field = batch.fields().next().unwrap();
/// assert_eq!(batch.cursor().next_value(field.log_type)?, ValueRef::String(b"example.org"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    batches: Arc<Mutex<Vec<Recorded>>>,
}

/// A batch that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What [`Logs::log_topic`](super::Logs::log_topic) returned.
    pub topic: String,
    /// The batch (WIRE.md §4.3): [`Batch`](crate::wire::zeek_bin::Batch) reads it.
    pub payload: Vec<u8>,
}

impl Recorder {
    /// A recorder that has nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the batches so far. Streams have to be flushed first, or dropped.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *lock(&self.batches))
    }
}

impl LogSink for Recorder {
    fn open(&self, info: WriterInfo) -> Result<Box<dyn LogWriter>, NodeError> {
        let builder = BatchBuilder::with_limits(info.schema, info.limits)?;
        let batches = Arc::clone(&self.batches);
        Ok(Box::new(Writer { builder: Mutex::new(builder), topic: info.topic, batches }))
    }
}

struct Writer {
    builder: Mutex<BatchBuilder>,
    topic: String,
    batches: Arc<Mutex<Vec<Recorded>>>,
}

impl LogWriter for Writer {
    fn write(&self, record: &dyn Fn(&mut RecordWriter<'_>)) -> Result<Truncations, LogError> {
        let mut builder = lock(&self.builder);
        let before = builder.truncations();
        builder.push_with(record)?;
        Ok(builder.truncations().since(before))
    }

    fn flush(&self) -> Result<(), LogError> {
        let mut builder = lock(&self.builder);
        if !builder.is_empty() {
            let (topic, payload) = (self.topic.clone(), builder.take());
            lock(&self.batches).push(Recorded { topic, payload });
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It never fails.
        let _ = self.flush();
    }
}
