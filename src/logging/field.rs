//! [`LogField`]: Rust types that are columns of a log.

use std::collections::{BTreeSet, HashSet};

use super::{Columns, LogScalar};
use crate::value::Set;
use crate::wire::zeek_bin::{LogType, LogValue, RecordWriter};

/// A type that the fields of a [`LogRecord`](super::LogRecord) can have.
///
/// | Zeek | Rust |
/// |---|---|
/// | `bool` | `bool` |
/// | `count` | `u8` to `u64`, `usize` |
/// | `int` | `i8` to `i64`, `isize` |
/// | `double` | `f32`, `f64`, `Real` |
/// | `string` | `str`, `String`, `BStr`, `BString` |
/// | `addr`, `subnet`, `port` | `Address`, `IpAddr`, `Ipv4Addr`, `Ipv6Addr`; `Subnet`; `Port` |
/// | `time`, `interval` | `Timestamp`, `SystemTime`; `Timespan`, `Duration` |
/// | `enum` | an enum that derives [`LogScalar`]; [`Enum`](crate::value::Enum) |
/// | `func`, `file` | [`Function`](crate::value::Function); [`FileName`](super::FileName) |
/// | `set[T]` | [`Set`], `BTreeSet`, `HashSet` of any of these |
/// | `vector of T` | `Vec`, arrays and slices of any of these, or of their `Option`s |
/// | record | a struct that derives [`LogRecord`](super::LogRecord) |
/// | `&optional` | `Option` of any of these |
///
/// References, `Box`, `Rc`, `Arc` and `Cow` of single values are what is in them, and so are
/// references to containers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be logged",
    label = "no column of a log has this type",
    note = "records derive `zcluster::LogRecord`, enums `zcluster::LogScalar`; `zcluster::logging::LogField` \
            lists the other types"
)]
pub trait LogField {
    /// Declares the column of a field of that name, or several if it is a record.
    fn columns(name: &str, optional: bool, columns: &mut Columns);

    /// Writes a value for each of them.
    fn log(&self, record: &mut RecordWriter<'_>);

    /// Writes an unset value for each of them.
    #[inline]
    fn log_unset(record: &mut RecordWriter<'_>) {
        record.put(LogValue::Unset);
    }
}

impl<T: LogScalar + ?Sized> LogField for T {
    fn columns(name: &str, optional: bool, columns: &mut Columns) {
        columns.column(name, T::TYPE, optional);
    }

    #[inline]
    fn log(&self, record: &mut RecordWriter<'_>) {
        record.put(self.log_value());
    }
}

impl<T: LogField> LogField for Option<T> {
    fn columns(name: &str, _: bool, columns: &mut Columns) {
        T::columns(name, true, columns);
    }

    #[inline]
    fn log(&self, record: &mut RecordWriter<'_>) {
        match self {
            Some(value) => value.log(record),
            None => T::log_unset(record),
        }
    }

    fn log_unset(record: &mut RecordWriter<'_>) {
        T::log_unset(record);
    }
}

macro_rules! containers {
    ($($kind:ident, $put:ident: [$($parameters:tt)*] $type:ty;)*) => {
        $(impl<$($parameters)*> LogField for $type {
            fn columns(name: &str, optional: bool, columns: &mut Columns) {
                columns.column(name, LogType::$kind(T::TYPE), optional);
            }

            #[inline]
            fn log(&self, record: &mut RecordWriter<'_>) {
                record.$put(self.iter().map(LogScalar::log_value));
            }
        })*
    };
}
containers! {
    Set, put_set: [T: LogScalar] Set<T>;
    Set, put_set: [T: LogScalar] BTreeSet<T>;
    Set, put_set: [T: LogScalar, S] HashSet<T, S>;
    Vector, put_vector: [T: LogScalar] Vec<T>;
    Vector, put_vector: [T: LogScalar] [T];
    Vector, put_vector: [T: LogScalar, const N: usize] [T; N];
    Set, put_set: [T: LogScalar] &Set<T>;
    Set, put_set: [T: LogScalar] &BTreeSet<T>;
    Set, put_set: [T: LogScalar, S] &HashSet<T, S>;
    Vector, put_vector: [T: LogScalar] &Vec<T>;
    Vector, put_vector: [T: LogScalar] &[T];
    Vector, put_vector: [T: LogScalar, const N: usize] &[T; N];
}

fn value_or_hole<T: LogScalar>(element: Option<&T>) -> LogValue<'_> {
    element.map_or(LogValue::Unset, LogScalar::log_value)
}

macro_rules! with_holes {
    ($($type:ty),*) => {
        $(impl<T: LogScalar> LogField for $type {
            fn columns(name: &str, optional: bool, columns: &mut Columns) {
                columns.column(name, LogType::Vector(T::TYPE), optional);
            }

            #[inline]
            fn log(&self, record: &mut RecordWriter<'_>) {
                record.put_vector(self.iter().map(|element| value_or_hole(element.as_ref())));
            }
        })*
    };
}
with_holes!(Vec<Option<T>>, [Option<T>], &Vec<Option<T>>, &[Option<T>]);
