//! [`LogRecord`]: structs whose fields are the columns of a log; [`Columns`], which they declare.

use bstr::BString;

use crate::wire::zeek_bin::{FieldSpec, LogType, RecordWriter};

/// A record of a log stream. Derived:
///
/// ```
/// use zcluster::LogRecord;
/// use zcluster::value::{Address, Port, Set, Timestamp};
///
/// #[derive(LogRecord)]
/// struct Conn<'a> {
///     ts: Timestamp,
///     uid: &'a str,
///     id: ConnId,                 // id.orig_h, id.resp_p
///     service: Option<Set<&'a str>>, // &optional
///     #[log(skip)]
///     packets: u64,               // without &log
/// }
///
/// #[derive(LogRecord)]
/// struct ConnId {
///     orig_h: Address,
///     resp_p: Port,
/// }
/// ```
///
/// [`LogField`](super::LogField) says which types fields may have. A type that cannot be logged is an error:
///
/// ```compile_fail,E0277
/// #[derive(zcluster::LogRecord)]
/// struct Seen {
///     pattern: zcluster::value::Pattern, // Zeek does not log patterns, either.
/// }
/// ```
///
/// So are sets of containers:
///
/// ```compile_fail,E0277
/// #[derive(zcluster::LogRecord)]
/// struct Seen {
///     hosts: Vec<Vec<String>>,
/// }
/// ```
///
/// Records are structs with named fields:
///
/// ```compile_fail
/// #[derive(zcluster::LogRecord)]
/// struct Seen(u64);
/// ```
///
/// ```compile_fail
/// #[derive(zcluster::LogRecord)]
/// struct Seen {
///     #[log(rename = "id.orig_h")] // it is `name`
///     host: std::net::IpAddr,
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a log record",
    note = "derive `zcluster::LogRecord`"
)]
pub trait LogRecord: Sized {
    /// The same record with another lifetime: a stream of `Conn<'static>` takes any `Conn<'_>`, so
    /// that records can borrow what they log. The type itself if it has no lifetime.
    type Of<'a>: LogRecord;

    /// Declares the columns.
    fn columns(columns: &mut Columns);

    /// Writes one value for each column, in order. The batch is locked meanwhile: written by hand,
    /// it must not log, nor flush logs.
    fn log(&self, record: &mut RecordWriter<'_>);

    /// Writes an unset value for each column: the record is in an `Option` of another one.
    fn log_unset(record: &mut RecordWriter<'_>);
}

/// The columns of a record, while it declares them.
#[derive(Debug)]
pub struct Columns {
    scope_sep: String,
    /// The names of the records around the next column, each with a separator.
    prefix: String,
    fields: Vec<FieldSpec>,
}

impl Columns {
    /// The columns of a record, with a separator between the names of records and their fields.
    pub(super) fn of<R: LogRecord>(scope_sep: &str) -> Vec<FieldSpec> {
        let mut columns =
            Columns { scope_sep: scope_sep.into(), prefix: String::new(), fields: Vec::new() };
        R::columns(&mut columns);
        columns.fields
    }

    /// Declares the columns of a record in a field.
    pub fn nested<R: LogRecord>(&mut self, name: &str) {
        let outer = self.prefix.len();
        self.prefix.push_str(name);
        self.prefix.push_str(&self.scope_sep);
        R::columns(self);
        self.prefix.truncate(outer);
    }

    /// Declares one column.
    pub fn column(&mut self, name: &str, log_type: impl Into<LogType>, optional: bool) {
        let name = BString::from(format!("{}{name}", self.prefix));
        self.fields.push(FieldSpec { name, log_type: log_type.into(), optional });
    }
}
