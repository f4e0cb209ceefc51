//! [`Filter`]: which records and columns of a stream are logged under which path.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Columns, LogRecord};
use crate::wire::zeek_bin::{FieldSpec, RecordWriter};

/// A filter with a `path_func` has so many logs open at once.
const MAX_OPEN_PATHS: usize = 500;

/// The name of the filter that a stream has at first.
pub(super) const DEFAULT: &str = "default";

pub(super) type PathFunc<T> = Box<
    dyn for<'r, 'a> Fn(&str, &str, &'r <T as LogRecord>::Of<'a>) -> Cow<'static, str> + Send + Sync,
>;
pub(super) type Policy<T> =
    Box<dyn for<'r, 'a> Fn(&'r <T as LogRecord>::Of<'a>, &str, &str) -> bool + Send + Sync>;

/// Writes the values of a record.
pub(super) type Values<'v> = dyn Fn(&mut RecordWriter<'_>) + 'v;

/// Makes a record for a path, and passes on what writes its values.
type WithExt = Box<dyn Fn(&str, &mut dyn FnMut(&Values<'_>)) + Send + Sync>;

/// The columns that a filter adds in front, and their values: made before a batch is locked, as the
/// function of the application may log itself.
pub(super) struct Ext {
    pub(super) columns: fn(&str) -> Vec<FieldSpec>,
    pub(super) with: WithExt,
}

/// A filter, Zeek's `Log::Filter`: which records of a stream are logged, with which columns, under
/// which path.
///
/// ```
/// use zcluster::LogRecord;
/// use zcluster::logging::Filter;
///
/// #[derive(LogRecord)]
/// struct Conn {
///     uid: String,
///     duration: f64,
/// }
///
/// let long = Filter::<Conn>::new("long")
///     .path("conn_long")
///     .policy(|conn, _stream, _filter| conn.duration > 3600.0)
///     .field_name_map([("uid", "id")]);
/// ```
///
/// Its functions may use streams. One that holds a [`Stream`](super::Stream) or
/// [`Logs`](super::Logs) keeps them, and the node below them, until the filter or its stream is
/// removed.
pub struct Filter<T: LogRecord> {
    pub(super) name: String,
    pub(super) writer: String,
    pub(super) path: Option<String>,
    pub(super) path_func: Option<PathFunc<T>>,
    pub(super) include: Option<BTreeSet<String>>,
    pub(super) exclude: BTreeSet<String>,
    pub(super) field_name_map: BTreeMap<String, String>,
    pub(super) scope_sep: String,
    pub(super) ext_prefix: String,
    pub(super) ext: Option<Ext>,
    pub(super) policy: Option<Policy<T>>,
    pub(super) log_local: Option<bool>,
    pub(super) log_remote: Option<bool>,
    pub(super) max_open_paths: usize,
}

impl<T: LogRecord> fmt::Debug for Filter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("name", &self.name).finish_non_exhaustive()
    }
}

fn names<I: IntoIterator<Item: Into<String>>>(names: I) -> BTreeSet<String> {
    names.into_iter().map(Into::into).collect()
}

impl<T: LogRecord> Filter<T> {
    /// A filter that logs everything. Its name is unique in the stream; a Zeek logger accepts only
    /// names of filters that it has itself (WIRE.md §4.5).
    pub fn new(name: impl Into<String>) -> Self {
        Filter {
            name: name.into(),
            writer: "Log::WRITER_ASCII".into(),
            path: None,
            path_func: None,
            include: None,
            exclude: BTreeSet::new(),
            field_name_map: BTreeMap::new(),
            scope_sep: ".".into(),
            ext_prefix: "_".into(),
            ext: None,
            policy: None,
            log_local: None,
            log_remote: None,
            max_open_paths: MAX_OPEN_PATHS,
        }
    }

    /// The writer of loggers, a `Log::Writer` of Zeek. Default: `Log::WRITER_ASCII`.
    #[must_use]
    pub fn writer(mut self, writer: impl Into<String>) -> Self {
        self.writer = writer.into();
        self
    }

    /// The path: the name of the log without directory and extension. Default: that of the stream.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Returns the path of a record, from the name of the stream, the path so far, and the record.
    /// The path so far is that of the filter, or else what the function returned first; empty
    /// before that.
    #[must_use]
    pub fn path_func<P: Into<Cow<'static, str>>>(
        mut self,
        path_func: impl for<'r, 'a> Fn(&str, &str, &'r T::Of<'a>) -> P + Send + Sync + 'static,
    ) -> Self {
        self.path_func =
            Some(Box::new(move |stream, path, record| path_func(stream, path, record).into()));
        self
    }

    /// Logs these columns only, named as in the record, with the separator of this filter.
    #[must_use]
    pub fn include<I: IntoIterator<Item: Into<String>>>(mut self, columns: I) -> Self {
        self.include = Some(names(columns));
        self
    }

    /// Leaves out these columns.
    #[must_use]
    pub fn exclude<I: IntoIterator<Item: Into<String>>>(mut self, columns: I) -> Self {
        self.exclude = names(columns);
        self
    }

    /// Renames columns: their names in the record, and those in the log.
    #[must_use]
    pub fn field_name_map<K: Into<String>, V: Into<String>>(
        mut self,
        map: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.field_name_map = map.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        self
    }

    /// What stands between the names of a record and its fields. Default: `.`.
    #[must_use]
    pub fn scope_sep(mut self, scope_sep: impl Into<String>) -> Self {
        self.scope_sep = scope_sep.into();
        self
    }

    /// Adds columns in front of the others: those of the record that the function returns for a
    /// path. `include` and `exclude` do not apply to them. The function is called once for a record,
    /// and may use streams itself.
    #[must_use]
    pub fn ext_func<E: LogRecord>(
        mut self,
        ext_func: impl Fn(&str) -> E + Send + Sync + 'static,
    ) -> Self {
        self.ext = Some(Ext {
            columns: Columns::of::<E>,
            with: Box::new(move |path, then| {
                let ext = ext_func(path);
                then(&|record| ext.log(record));
            }),
        });
        self
    }

    /// What the names of these columns start with. Default: `_`.
    #[must_use]
    pub fn ext_prefix(mut self, ext_prefix: impl Into<String>) -> Self {
        self.ext_prefix = ext_prefix.into();
        self
    }

    /// Decides which records are logged, from the record, the name of the stream, and the name of
    /// the filter. A filter has one policy.
    #[must_use]
    pub fn policy(
        mut self,
        policy: impl for<'r, 'a> Fn(&'r T::Of<'a>, &str, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.policy = Some(Box::new(policy));
        self
    }

    /// Whether it writes here. Default: whether the stream does. With `true`, the process must have
    /// a local sink.
    #[must_use]
    pub fn log_local(mut self, log_local: bool) -> Self {
        self.log_local = Some(log_local);
        self
    }

    /// Whether it sends to loggers. Default: whether the stream does. With `true`, the process must
    /// have a sink for that; one that is a logger has none.
    #[must_use]
    pub fn log_remote(mut self, log_remote: bool) -> Self {
        self.log_remote = Some(log_remote);
        self
    }

    /// How many paths of a `path_func` may be open at once, at least 1. Beyond that, the one that was
    /// not written to for the longest time is flushed and closed, and counted as
    /// `zcluster_log_paths_closed_total`. Nothing is lost, but batches become small. Default: 500.
    #[must_use]
    pub fn max_open_paths(mut self, max: usize) -> Self {
        self.max_open_paths = max.max(1);
        self
    }
}
