//! [`Writers`]: the open logs of a filter, by path.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use super::stream::{Core, PathTaken};
use super::{LogSink, LogWriter, LogsError, Place, WriterInfo, lock};
use crate::node::LogError;
use crate::wire::zeek_bin::{LogSchema, PushError, RecordWriter, Truncations};

/// Where a record goes.
#[derive(Clone, Copy)]
pub(super) struct Ways {
    pub(super) local: bool,
    pub(super) remote: bool,
}

/// One log of a filter, opened where it is first needed.
pub(super) struct Frontend {
    schema: LogSchema,
    local: OnceLock<Box<dyn LogWriter>>,
    remote: OnceLock<Box<dyn LogWriter>>,
    opening: Mutex<()>,
}

impl Frontend {
    /// Claims the path, or one like it if another filter has it.
    fn new(core: &Core, mut schema: LogSchema) -> (Self, Option<PathTaken>) {
        let (path, taken) = core.claim(&schema);
        schema.path = path.into();
        let (local, remote) = (OnceLock::new(), OnceLock::new());
        (Frontend { schema, local, remote, opening: Mutex::default() }, taken)
    }

    /// Writes a record, and reports what the limits cut off.
    pub(super) fn write(
        &self,
        core: &Core,
        ways: Ways,
        record: &dyn Fn(&mut RecordWriter<'_>),
    ) -> Result<(), LogsError> {
        let sinks = &core.shared.sinks;
        // It is cut in the same places everywhere.
        let mut cut = Truncations::default();
        let mut outcome = Ok(());
        let both =
            [(ways.local, &self.local, &sinks.local), (ways.remote, &self.remote, &sinks.remote)];
        for (_, slot, sink) in both.into_iter().filter(|(is_wanted, ..)| *is_wanted) {
            // `add_filter` says if a filter wants what this process does not have.
            let Some(sink) = sink else { continue };
            let written = self.writer(core, slot, &**sink).and_then(|writer| {
                writer.write(record).map_err(|error| {
                    let is_too_large =
                        matches!(error, LogError::Record(PushError::RecordTooLarge { .. }));
                    cut.records = is_too_large.into();
                    self.error(error)
                })
            });
            match written {
                Ok(this) => cut = this,
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        core.shared.report(cut, &core.id);
        outcome
    }

    fn writer<'s>(
        &self,
        core: &Core,
        slot: &'s OnceLock<Box<dyn LogWriter>>,
        sink: &dyn LogSink,
    ) -> Result<&'s dyn LogWriter, LogsError> {
        if let Some(writer) = slot.get() {
            return Ok(&**writer);
        }
        // The application says which, and may log meanwhile.
        let topic = core.shared.topic(&core.id, &self.schema.path.to_string());
        let _one_at_a_time = lock(&self.opening);
        if let Some(writer) = slot.get() {
            return Ok(&**writer);
        }
        let schema = self.schema.clone();
        let info = WriterInfo { schema, limits: core.limits, topic };
        let writer = sink
            .open(info)
            .map_err(|error| LogsError::Open { place: self.place().into(), error })?;
        Ok(&**slot.get_or_init(|| writer))
    }

    fn flush(&self) -> Result<(), LogsError> {
        let open = [&self.local, &self.remote].into_iter().filter_map(OnceLock::get);
        let flushed = open.map(|writer| writer.flush());
        flushed.fold(Ok(()), Result::and).map_err(|error| self.error(error))
    }

    #[cold]
    fn error(&self, error: LogError) -> LogsError {
        LogsError::Write { place: self.place().into(), error }
    }

    fn place(&self) -> Place {
        let LogSchema { stream, filter, path, .. } = &self.schema;
        let (stream, filter, path) = (stream.to_string(), filter.to_string(), path.to_string());
        Place { stream, filter, path }
    }
}

/// The open logs of a filter.
pub(super) struct Writers {
    /// The one of a filter without a `path_func`.
    fixed: OnceLock<Frontend>,
    by_path: Mutex<ByPath>,
    max: usize,
}

#[derive(Default)]
struct ByPath {
    /// By the path as the function returned it.
    open: HashMap<Box<str>, Open>,
    /// Counts uses, to know which is longest ago.
    uses: u64,
}

struct Open {
    frontend: Arc<Frontend>,
    last_use: u64,
}

impl Writers {
    pub(super) fn new(max: usize) -> Self {
        Writers { fixed: OnceLock::new(), by_path: Mutex::default(), max }
    }

    /// The log of a filter with one path.
    #[inline]
    pub(super) fn fixed(&self, core: &Core, schema: impl FnOnce() -> LogSchema) -> &Frontend {
        if let Some(frontend) = self.fixed.get() {
            return frontend;
        }
        let mut taken = None;
        let frontend = self.fixed.get_or_init(|| {
            let (frontend, reported) = Frontend::new(core, schema());
            taken = reported;
            frontend
        });
        if let Some(taken) = taken {
            core.path_taken(&taken);
        }
        frontend
    }

    /// The log of that path, and the one that made room for it, which is to be
    /// [closed](Writers::close).
    pub(super) fn at(
        &self,
        core: &Core,
        path: &str,
        schema: impl FnOnce() -> LogSchema,
    ) -> (Arc<Frontend>, Option<Arc<Frontend>>) {
        let mut by_path = lock(&self.by_path);
        by_path.uses += 1;
        let last_use = by_path.uses;
        if let Some(open) = by_path.open.get_mut(path) {
            open.last_use = last_use;
            return (Arc::clone(&open.frontend), None);
        }
        let closed = if by_path.open.len() < self.max { None } else { by_path.take_oldest() };
        if let Some(closed) = &closed {
            core.release(&closed.schema);
        }
        let (frontend, taken) = Frontend::new(core, schema());
        let frontend = Arc::new(frontend);
        let open = Open { frontend: Arc::clone(&frontend), last_use };
        by_path.open.insert(path.into(), open);
        drop(by_path);
        if let Some(taken) = taken {
            core.path_taken(&taken);
        }
        (frontend, closed)
    }

    /// Sends what a log holds that made room for another one.
    #[cold]
    pub(super) fn close(&self, core: &Core, closed: &Frontend) -> Result<(), LogsError> {
        core.closed_for_room(&closed.schema, self.max);
        closed.flush()
    }

    pub(super) fn flush(&self) -> Result<(), LogsError> {
        let open: Vec<_> =
            lock(&self.by_path).open.values().map(|open| Arc::clone(&open.frontend)).collect();
        let open = open.iter().map(|frontend| &**frontend).chain(self.fixed.get());
        open.map(Frontend::flush).fold(Ok(()), Result::and)
    }
}

impl ByPath {
    fn take_oldest(&mut self) -> Option<Arc<Frontend>> {
        let oldest = self.open.iter().min_by_key(|(_, open)| open.last_use);
        let oldest = oldest.map(|(path, _)| path.clone())?;
        self.open.remove(&oldest).map(|open| open.frontend)
    }
}
