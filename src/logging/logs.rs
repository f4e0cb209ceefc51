//! [`Logs`]: the log streams of a process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::path::default_path;
use super::stream::AnyStream;
use super::{Filter, LogRecord, LogsError, Sinks, Stream, filter, lock};
use crate::node::Node;
use crate::rate_limit::KeyedRateLimit;
use crate::telemetry::{LogSenderMetrics, Telemetry};
use crate::wire::zeek_bin::Limits;

/// How often a warning of one kind is logged.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Kinds of warnings that are told apart.
const MAX_WARNINGS: usize = 100;

type OnWeird = Box<dyn Fn(&Logs, &str, &str) + Send + Sync>;
type LogTopic = Box<dyn Fn(&str, &str) -> String + Send + Sync>;

/// What all streams share.
pub(super) struct Shared {
    pub(super) sinks: Sinks,
    pub(super) metrics: LogSenderMetrics,
    pub(super) on_weird: ArcSwapOption<OnWeird>,
    log_topic: ArcSwapOption<LogTopic>,
    pub(super) warnings: Mutex<KeyedRateLimit<String>>,
    /// Not held: see there.
    streams: Weak<Streams>,
}

/// All streams by name. Streams hold [`Shared`], so it must not hold them.
type Streams = Mutex<BTreeMap<String, Arc<dyn AnyStream>>>;

impl Shared {
    /// The streams, without any once the application has dropped its last [`Logs`].
    pub(super) fn logs(self: &Arc<Self>) -> Logs {
        let streams = self.streams.upgrade().unwrap_or_default();
        Logs { shared: Arc::clone(self), streams }
    }

    /// The topic of a log, `Broker::log_topic` of Zeek.
    pub(super) fn topic(&self, stream: &str, path: &str) -> String {
        match &*self.log_topic.load() {
            Some(hook) => hook(stream, path),
            None => format!("zeek/logs/{stream}"),
        }
    }
}

/// The log streams of a process, Zeek's module `Log`. Clones share them, and any thread may use
/// them.
///
/// ```no_run
/// use zcluster::LogRecord;
/// use zcluster::logging::{Filter, Logs};
/// use zcluster::value::{Address, Timestamp};
///
/// #[derive(LogRecord)]
/// struct Seen {
///     ts: Timestamp,
///     host: Address,
///     note: Option<String>,
/// }
///
/// # fn log(node: zcluster::Node) -> Result<(), Box<dyn std::error::Error>> {
/// let logs = Logs::new(&node);
/// let seen = logs.create_stream::<Seen>("Scan::LOG")?; // scan.log
/// seen.add_filter(
///     Filter::<Seen>::new("noted").path("scan_noted").policy(|seen, _, _| seen.note.is_some()),
/// )?;
/// # let (ts, host) = (Timestamp(0), Address([0; 16]));
/// seen.write(&Seen { ts, host, note: None })?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Logs {
    shared: Arc<Shared>,
    streams: Arc<Streams>,
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs").field("streams", &self.active_streams()).finish_non_exhaustive()
    }
}

/// Options of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    path: Option<String>,
    limits: Limits,
    has_default_filter: bool,
}

impl Default for StreamOptions {
    fn default() -> Self {
        StreamOptions { path: None, limits: Limits::default(), has_default_filter: true }
    }
}

impl StreamOptions {
    /// The defaults of Zeek.
    pub fn new() -> Self {
        Self::default()
    }

    /// The path of filters that name none. Default: from the name of the stream, `Notice::LOG` →
    /// `notice`, `FooBar::LOG` → `foo_bar`, `Notice::POLICY_LOG` → `notice_policy`.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// How large records may be (`max_field_string_bytes`, `max_log_record_size`, …); 0 means no
    /// limit where it does in Zeek. Default: Zeek's limits, which other producers of the same log
    /// then have, too.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Without the filter `default`: nothing is logged until there is a filter.
    #[must_use]
    pub fn without_default_filter(mut self) -> Self {
        self.has_default_filter = false;
        self
    }
}

impl Logs {
    /// The streams of a node, which sends them to the loggers; a node that is a logger writes them
    /// itself.
    pub fn new(node: &Node) -> Self {
        Self::with_sinks(Sinks::of(node))
    }

    /// Streams that go elsewhere, too, or in a test only to a [`Recorder`](super::Recorder).
    pub fn with_sinks(mut sinks: Sinks) -> Self {
        let telemetry = sinks.telemetry.get_or_insert_with(|| Telemetry::new("", "node"));
        let metrics = telemetry.log_sender().clone();
        let warnings = KeyedRateLimit::new(WARNING_INTERVAL, MAX_WARNINGS);
        let streams = Arc::default();
        let shared = Shared {
            sinks,
            metrics,
            on_weird: ArcSwapOption::empty(),
            log_topic: ArcSwapOption::empty(),
            warnings: Mutex::new(warnings),
            streams: Arc::downgrade(&streams),
        };
        Logs { shared: Arc::new(shared), streams }
    }

    /// Creates a stream: its name is that of a `Log::ID` in Zeek, its columns are the fields of the
    /// record. A filter `default` logs everything.
    ///
    /// A Zeek logger has to know the stream, with the same types of columns (WIRE.md §4.5); loggers
    /// of zcluster accept any.
    ///
    /// # Errors
    /// When there is a stream of that name, or the names are nothing that a log can have.
    pub fn create_stream<T: LogRecord + 'static>(
        &self,
        id: impl Into<String>,
    ) -> Result<Stream<T>, LogsError> {
        self.create_stream_with(id, StreamOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Logs::create_stream`].
    pub fn create_stream_with<T: LogRecord + 'static>(
        &self,
        id: impl Into<String>,
        options: StreamOptions,
    ) -> Result<Stream<T>, LogsError> {
        let id = id.into();
        let path = options.path.unwrap_or_else(|| default_path(&id));
        let stream = Stream::new(Arc::clone(&self.shared), id.clone(), path, options.limits);
        if options.has_default_filter {
            stream.add_filter(Filter::new(filter::DEFAULT))?;
        }
        let mut streams = lock(&self.streams);
        if streams.contains_key(&id) {
            return Err(LogsError::StreamExists(id));
        }
        streams.insert(id, stream.erased());
        Ok(stream)
    }

    /// Another handle of a stream.
    ///
    /// # Errors
    /// When there is no such stream, or its records are of another type.
    pub fn stream<T: LogRecord + 'static>(&self, id: &str) -> Result<Stream<T>, LogsError> {
        Stream::from_erased(self.find(id)?).ok_or_else(|| LogsError::OtherRecords(id.into()))
    }

    /// Ends a stream: what it holds is sent, and writing to it is an error. Its policy and its
    /// filters are dropped.
    ///
    /// # Errors
    /// When there is no such stream, or a sink takes no more.
    pub fn remove_stream(&self, id: &str) -> Result<(), LogsError> {
        let stream = lock(&self.streams).remove(id);
        stream.ok_or_else(|| LogsError::NoStream(id.into()))?.end()
    }

    /// Writes to a stream are logged again.
    ///
    /// # Errors
    /// When there is no such stream.
    pub fn enable_stream(&self, id: &str) -> Result<(), LogsError> {
        self.find(id)?.set_enabled(true);
        Ok(())
    }

    /// Writes to a stream are ignored from now on.
    ///
    /// # Errors
    /// When there is no such stream.
    pub fn disable_stream(&self, id: &str) -> Result<(), LogsError> {
        self.find(id)?.set_enabled(false);
        Ok(())
    }

    fn find(&self, id: &str) -> Result<Arc<dyn AnyStream>, LogsError> {
        let stream = lock(&self.streams).get(id).cloned();
        stream.ok_or_else(|| LogsError::NoStream(id.into()))
    }

    /// The names of all streams.
    pub fn active_streams(&self) -> Vec<String> {
        lock(&self.streams).keys().cloned().collect()
    }

    /// Sends what all streams hold, without waiting for `flush_interval`. Blocks as writing does.
    ///
    /// # Errors
    /// When a sink takes no more; the others are flushed all the same.
    pub fn flush_logs(&self) -> Result<(), LogsError> {
        let streams: Vec<_> = lock(&self.streams).values().cloned().collect();
        streams.into_iter().map(|stream| stream.flush()).fold(Ok(()), Result::and)
    }

    /// Calls this when limits cut something off a record, with the streams, the name that Zeek gives
    /// it ([`weird`](super::weird)) and the name of the stream. Replaces the function before.
    ///
    /// It may write to streams: [`Logs::stream`] finds them. It should not hold [`Logs`] or streams
    /// itself: as it is kept with them, they and the node below them would not end before it is
    /// replaced. What is cut off the records that it writes only gets a line in the log of the
    /// process, for it would call itself.
    ///
    /// ```
    /// # use zcluster::logging::{LogRecord, Logs};
    /// #[derive(LogRecord)]
    /// struct Weird<'a> {
    ///     name: &'a str,
    ///     source: &'a str,
    /// }
    ///
    /// # fn weirds(logs: &Logs) -> Result<(), zcluster::logging::LogsError> {
    /// logs.create_stream::<Weird<'_>>("Weird::LOG")?;
    /// logs.on_weird(|logs, name, source| {
    ///     let written = logs.stream::<Weird<'_>>("Weird::LOG");
    ///     let written = written.and_then(|weirds| weirds.write(&Weird { name, source }));
    ///     written.unwrap_or_else(|error| eprintln!("{error}"));
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_weird(&self, hook: impl Fn(&Logs, &str, &str) + Send + Sync + 'static) {
        self.shared.on_weird.store(Some(Arc::new(Box::new(hook))));
    }

    /// Asks this for the topic of a log (`Broker::log_topic` of Zeek), with the names of its stream
    /// and path, when it is opened; sinks get the answer. Default: `zeek/logs/` and the name of the
    /// stream. Replaces the function before. Two threads that open a log at once both ask.
    ///
    /// The function should not hold [`Logs`] or streams: as it is kept with them, they and the node
    /// below them would not end before it is replaced.
    pub fn log_topic(&self, hook: impl Fn(&str, &str) -> String + Send + Sync + 'static) {
        self.shared.log_topic.store(Some(Arc::new(Box::new(hook))));
    }
}
