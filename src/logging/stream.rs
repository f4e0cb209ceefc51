//! [`Stream`]: typed records on their way through the filters (WIRE.md §4.6).

use std::any::Any;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwap;
use bstr::{BString, ByteSlice};

use super::logs::Shared;
use super::plan::Plan;
use super::writers::{Frontend, Ways, Writers};
use super::{Filter, LogRecord, LogsError, lock};
use crate::telemetry::Counter;
use crate::wire::zeek_bin::{Limits, LogSchema, RecordWriter};

/// What the filters of a stream share, whatever its records are.
pub(super) struct Core {
    pub(super) shared: Arc<Shared>,
    pub(super) id: String,
    pub(super) limits: Limits,
    path: String,
    is_enabled: AtomicBool,
    is_removed: AtomicBool,
    local: AtomicBool,
    remote: AtomicBool,
    writes: Counter,
    paths_closed: Counter,
    /// Which filter has which (writer, path).
    claims: Mutex<HashMap<(BString, BString), BString>>,
}

/// A filter writes to another path than it says.
pub(super) struct PathTaken {
    filter: BString,
    wanted: String,
    /// The filter that writes there.
    owner: BString,
    instead: String,
}

impl Core {
    /// The path of a schema if no other filter has it, or else `<path>-2`, `-3`, …, which is to be
    /// [reported](Core::path_taken).
    pub(super) fn claim(&self, schema: &LogSchema) -> (String, Option<PathTaken>) {
        let wanted = schema.path.to_str_lossy().into_owned();
        let mut claims = lock(&self.claims);
        let mut path = wanted.clone();
        let mut owner = None;
        for number in 2_u64.. {
            let key = (schema.writer.clone(), BString::from(path.as_str()));
            match claims.get(&key) {
                Some(other) if *other != schema.filter => {
                    owner.get_or_insert_with(|| other.clone());
                    path = format!("{wanted}-{number}");
                }
                _ => {
                    claims.insert(key, schema.filter.clone());
                    break;
                }
            }
        }
        drop(claims);
        let taken = owner.map(|owner| {
            let (filter, instead) = (schema.filter.clone(), path.clone());
            PathTaken { filter, wanted, owner, instead }
        });
        (path, taken)
    }

    /// Reports that a filter writes elsewhere. Not while anything is locked: the log of the process
    /// may be a stream, too.
    pub(super) fn path_taken(&self, taken: &PathTaken) {
        let id = &self.id;
        let PathTaken { filter, wanted, owner, instead } = taken;
        self.shared.warn(&format!("{id}/{filter} path"), || {
            format!(
                "log stream {id}: filter {filter} writes to the path {instead:?}, because filter \
                 {owner} writes to {wanted:?}"
            )
        });
    }

    pub(super) fn release(&self, schema: &LogSchema) {
        lock(&self.claims).remove(&(schema.writer.clone(), schema.path.clone()));
    }

    /// Reports that a log was closed because its filter has too many.
    pub(super) fn closed_for_room(&self, schema: &LogSchema, max: usize) {
        self.paths_closed.inc();
        let (id, filter) = (&self.id, &schema.filter);
        self.shared.warn(&format!("{id}/{filter} paths"), || {
            format!(
                "log stream {id}: filter {filter} has more than {max} paths, so they are closed early \
                 and batches are small"
            )
        });
    }

    /// Gives back all paths of a filter.
    fn release_all(&self, filter: &str) {
        lock(&self.claims).retain(|_, owner| owner != filter);
    }

    fn no_sink(&self, filter: Option<&str>, which: &'static str) -> LogsError {
        let (stream, filter) = (self.id.clone(), filter.map(str::to_owned));
        LogsError::NoSink { stream, filter, which }
    }

    fn removed(&self) -> LogsError {
        LogsError::NoStream(self.id.clone())
    }
}

type StreamPolicy<T> =
    Box<dyn for<'r, 'a> Fn(&'r <T as LogRecord>::Of<'a>, &str) -> bool + Send + Sync>;

/// What changes while a stream is written to: replaced as a whole.
struct State<T: LogRecord> {
    policy: Option<Arc<StreamPolicy<T>>>,
    filters: Vec<Arc<Active<T>>>,
}

impl<T: LogRecord> Clone for State<T> {
    fn clone(&self) -> Self {
        State { policy: self.policy.clone(), filters: self.filters.clone() }
    }
}

/// A filter of a stream.
struct Active<T: LogRecord> {
    filter: Filter<T>,
    plan: Plan,
    writers: Writers,
    /// What its `path_func` returned first.
    first_path: OnceLock<String>,
}

impl<T: LogRecord> Active<T> {
    fn write(&self, core: &Core, record: &T::Of<'_>) -> Result<(), LogsError> {
        let filter = &self.filter;
        if let Some(policy) = &filter.policy
            && !policy(record, &core.id, &filter.name)
        {
            return Ok(());
        }
        let ways = Ways {
            local: filter.log_local.unwrap_or_else(|| core.local.load(Ordering::Relaxed)),
            remote: filter.log_remote.unwrap_or_else(|| core.remote.load(Ordering::Relaxed)),
        };
        if !ways.local && !ways.remote {
            return Ok(());
        }
        let schema = |path: &str| self.plan.schema(&core.id, filter, path);
        let Some(path_func) = &filter.path_func else {
            let path = filter.path.as_deref().unwrap_or(&core.path);
            let frontend = self.writers.fixed(core, || schema(path));
            return self.write_to(frontend, core, ways, path, record);
        };
        let so_far = filter.path.as_deref().or(self.first_path.get().map(String::as_str));
        let path = path_func(&core.id, so_far.unwrap_or_default(), record);
        if so_far.is_none() {
            let _ = self.first_path.set(path.clone().into_owned());
        }
        let (frontend, closed) = self.writers.at(core, &path, || schema(&path));
        let written = self.write_to(&frontend, core, ways, &path, record);
        // What became of another path is no reason not to write this record.
        written.and(closed.map_or(Ok(()), |closed| self.writers.close(core, &closed)))
    }

    /// Writes the record to a log, with what the filter adds.
    #[inline]
    fn write_to(
        &self,
        frontend: &Frontend,
        core: &Core,
        ways: Ways,
        path: &str,
        record: &T::Of<'_>,
    ) -> Result<(), LogsError> {
        let Some(ext) = &self.filter.ext else {
            return frontend.write(core, ways, &|out| self.put(record, out));
        };
        let mut outcome = Ok(());
        (ext.with)(path, &mut |ext| {
            outcome = frontend.write(core, ways, &|out| {
                ext(out);
                self.put(record, out);
            });
        });
        outcome
    }

    /// Writes the values of the columns of this filter.
    #[inline]
    fn put(&self, record: &T::Of<'_>, out: &mut RecordWriter<'_>) {
        if let Some(keep) = &self.plan.keep {
            out.select(keep);
        }
        record.log(out);
    }
}

struct Inner<T: LogRecord> {
    core: Core,
    state: ArcSwap<State<T>>,
    /// Held while the state changes.
    changing: Mutex<()>,
}

impl<T: LogRecord> Inner<T> {
    /// Changes the state, unless the stream has been removed.
    fn change<R>(&self, change: impl FnOnce(&mut State<T>) -> R) -> Option<R> {
        let one_at_a_time = lock(&self.changing);
        if self.core.is_removed.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = State::clone(&self.state.load());
        let outcome = change(&mut state);
        let before = self.state.swap(Arc::new(state));
        drop(one_at_a_time);
        // It may hold functions of the application, which do what they like at their end.
        drop(before);
        Some(outcome)
    }

    /// Adds a filter in the place of the one of that name, which is returned, or at the end. Each
    /// record sees one of both.
    fn add_filter(&self, active: Arc<Active<T>>) -> Result<Option<Arc<Active<T>>>, LogsError> {
        let replaced = self.change(|state| {
            let name = &active.filter.name;
            let Some(place) = state.filters.iter_mut().find(|old| old.filter.name == *name) else {
                state.filters.push(active);
                return None;
            };
            self.core.release_all(name);
            Some(mem::replace(place, active))
        });
        replaced.ok_or_else(|| self.core.removed())
    }

    fn remove_filter(&self, name: &str) -> Option<Arc<Active<T>>> {
        let removed = self.change(|state| {
            let at = state.filters.iter().position(|active| active.filter.name == name);
            at.map(|at| state.filters.remove(at))
        });
        let removed = removed.flatten();
        if removed.is_some() {
            self.core.release_all(name);
        }
        removed
    }

    fn set_enabled(&self, on: bool) {
        let _not_removed_meanwhile = lock(&self.changing);
        if !on || !self.core.is_removed.load(Ordering::Relaxed) {
            self.core.is_enabled.store(on, Ordering::Relaxed);
        }
    }

    fn flush(&self) -> Result<(), LogsError> {
        flush(&self.state.load().filters)
    }

    /// Ends the stream. Its functions are dropped: they may hold it.
    fn end(&self) -> Result<(), LogsError> {
        let before = {
            let _one_at_a_time = lock(&self.changing);
            self.core.is_removed.store(true, Ordering::Relaxed);
            self.core.is_enabled.store(false, Ordering::Relaxed);
            self.state.swap(Arc::new(State { policy: None, filters: Vec::new() }))
        };
        lock(&self.core.claims).clear();
        flush(&before.filters)
    }
}

fn flush<T: LogRecord>(filters: &[Arc<Active<T>>]) -> Result<(), LogsError> {
    filters.iter().map(|active| active.writers.flush()).fold(Ok(()), Result::and)
}

/// A log stream: takes records, which its filters turn into logs. Clones share it, and any thread
/// may write.
///
/// With `T` = `Conn<'static>` it takes `Conn<'_>`: records can borrow what they log.
pub struct Stream<T: LogRecord> {
    inner: Arc<Inner<T>>,
    records: PhantomData<fn(T)>,
}

impl<T: LogRecord> Clone for Stream<T> {
    fn clone(&self) -> Self {
        Stream { inner: Arc::clone(&self.inner), records: PhantomData }
    }
}

impl<T: LogRecord> std::fmt::Debug for Stream<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("id", &self.inner.core.id)
            .field("filters", &self.filter_names())
            .finish_non_exhaustive()
    }
}

impl<T: LogRecord> Stream<T> {
    pub(super) fn new(shared: Arc<Shared>, id: String, path: String, limits: Limits) -> Self {
        let core = Core {
            writes: shared.metrics.stream_writes(&id),
            paths_closed: shared.metrics.paths_closed(&id),
            local: AtomicBool::new(shared.sinks.enable_local_logging),
            remote: AtomicBool::new(shared.sinks.enable_remote_logging),
            shared,
            id,
            limits,
            path,
            is_enabled: AtomicBool::new(true),
            is_removed: AtomicBool::new(false),
            claims: Mutex::default(),
        };
        let state = ArcSwap::from_pointee(State { policy: None, filters: Vec::new() });
        let inner = Inner { core, state, changing: Mutex::default() };
        Stream { inner: Arc::new(inner), records: PhantomData }
    }

    /// The name of the stream.
    pub fn id(&self) -> &str {
        &self.inner.core.id
    }

    /// Writes a record: the policy of the stream sees it, then each filter in the order in which
    /// they were added. Blocks as [`LogStream::write`](crate::node::LogStream::write) does.
    ///
    /// # Errors
    /// When a sink takes no more, a record is too large, or a `path_func` returns something that is no
    /// path. The other filters log it all the same. Writing to a disabled stream is no error; writing
    /// to a removed one is.
    #[inline]
    pub fn write(&self, record: &T::Of<'_>) -> Result<(), LogsError> {
        let core = &self.inner.core;
        if !core.is_enabled.load(Ordering::Relaxed) {
            return self.write_nothing();
        }
        core.writes.inc();
        let state = self.inner.state.load();
        if let Some(policy) = &state.policy
            && !policy(record, &core.id)
        {
            return Ok(());
        }
        let mut outcome = Ok(());
        for active in &state.filters {
            outcome = outcome.and(active.write(core, record));
        }
        outcome
    }

    #[cold]
    fn write_nothing(&self) -> Result<(), LogsError> {
        let core = &self.inner.core;
        if core.is_removed.load(Ordering::Relaxed) {
            return Err(core.removed());
        }
        Ok(())
    }

    /// Adds a filter, or replaces the one of the same name: records that are written meanwhile see
    /// one of both, and what the old one holds is sent.
    ///
    /// # Errors
    /// When it names columns that records do not have, its columns or names are nothing that a log
    /// can have, it wants a sink that this process does not have, or the stream has been removed. The
    /// filters are unchanged then. When a sink does not take what the old filter held; then the
    /// filter is replaced all the same.
    pub fn add_filter(&self, filter: Filter<T>) -> Result<(), LogsError> {
        let core = &self.inner.core;
        let plan = Plan::new(&core.id, &core.path, &filter)?;
        let sinks = &core.shared.sinks;
        for (wanted, sink, which) in [
            (filter.log_local, &sinks.local, "local"),
            (filter.log_remote, &sinks.remote, "remote"),
        ] {
            if wanted == Some(true) && sink.is_none() {
                return Err(core.no_sink(Some(&filter.name), which));
            }
        }
        let writers = Writers::new(filter.max_open_paths);
        let active = Active { filter, plan, writers, first_path: OnceLock::new() };
        let replaced = self.inner.add_filter(Arc::new(active))?;
        replaced.map_or(Ok(()), |old| old.writers.flush())
    }

    /// Removes a filter, and sends what it holds. `false` if there is none of that name.
    ///
    /// # Errors
    /// When a sink takes no more. The filter is removed all the same.
    pub fn remove_filter(&self, name: &str) -> Result<bool, LogsError> {
        let removed = self.inner.remove_filter(name);
        removed.map_or(Ok(false), |active| active.writers.flush().map(|()| true))
    }

    /// The names of its filters, in order.
    pub fn filter_names(&self) -> Vec<String> {
        let state = self.inner.state.load();
        state.filters.iter().map(|active| active.filter.name.clone()).collect()
    }

    /// Decides which records the filters see, from the record and the name of the stream
    /// (`Log::log_stream_policy`). Replaces the policy before. Nothing once the stream has been
    /// removed.
    ///
    /// The policy may use streams. One that holds this stream keeps it, and the node below it, until
    /// [`Logs::remove_stream`](super::Logs::remove_stream) or another policy.
    pub fn set_policy(
        &self,
        policy: impl for<'r, 'a> Fn(&'r T::Of<'a>, &str) -> bool + Send + Sync + 'static,
    ) {
        let policy: StreamPolicy<T> = Box::new(policy);
        self.inner.change(|state| state.policy = Some(Arc::new(policy)));
    }

    /// Writes are logged again.
    pub fn enable(&self) {
        self.inner.set_enabled(true);
    }

    /// Writes are ignored from now on.
    pub fn disable(&self) {
        self.inner.set_enabled(false);
    }

    /// Whether writes are logged.
    pub fn is_enabled(&self) -> bool {
        self.inner.core.is_enabled.load(Ordering::Relaxed)
    }

    /// Sends to loggers what filters do not decide themselves.
    ///
    /// # Errors
    /// When this process sends to no loggers.
    pub fn enable_remote_logs(&self) -> Result<(), LogsError> {
        let core = &self.inner.core;
        if core.shared.sinks.remote.is_none() {
            return Err(core.no_sink(None, "remote"));
        }
        core.remote.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Sends no further records to loggers.
    pub fn disable_remote_logs(&self) {
        self.inner.core.remote.store(false, Ordering::Relaxed);
    }

    /// Writes here what filters do not decide themselves.
    ///
    /// # Errors
    /// When this process has no local sink.
    pub fn enable_local_logs(&self) -> Result<(), LogsError> {
        let core = &self.inner.core;
        if core.shared.sinks.local.is_none() {
            return Err(core.no_sink(None, "local"));
        }
        core.local.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Writes no further records here.
    pub fn disable_local_logs(&self) {
        self.inner.core.local.store(false, Ordering::Relaxed);
    }

    /// Sends what it holds, without waiting for `flush_interval`. Blocks as writing does.
    ///
    /// # Errors
    /// When a sink takes no more.
    pub fn flush(&self) -> Result<(), LogsError> {
        self.inner.flush()
    }
}

impl<T: LogRecord + 'static> Stream<T> {
    pub(super) fn erased(&self) -> Arc<dyn AnyStream> {
        Arc::clone(&self.inner) as Arc<dyn AnyStream>
    }

    /// The stream, if it has such records.
    pub(super) fn from_erased(stream: Arc<dyn AnyStream>) -> Option<Self> {
        let inner = stream.into_any().downcast().ok()?;
        Some(Stream { inner, records: PhantomData })
    }
}

/// A stream whose records do not matter.
pub(super) trait AnyStream: Send + Sync {
    fn set_enabled(&self, on: bool);
    fn flush(&self) -> Result<(), LogsError>;
    fn end(&self) -> Result<(), LogsError>;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<T: LogRecord + 'static> AnyStream for Inner<T> {
    fn set_enabled(&self, on: bool) {
        self.set_enabled(on);
    }

    fn flush(&self) -> Result<(), LogsError> {
        self.flush()
    }

    fn end(&self) -> Result<(), LogsError> {
        self.end()
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
