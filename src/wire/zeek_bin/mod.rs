//! Log batches, the payload of frame 3 of a `log-write` message (WIRE.md §4.3).
//!
//! A batch is a header (stream, writer, filter, path and the columns) and, row by row, values that
//! each carry their type. Both directions are designed for their users:
//!
//! * A logger reads. [`Batch::decode`] checks and borrows the header without allocating, and
//!   [`Batch::values`] reads one value at a time, straight from the bytes ([`Batch::cursor`] is
//!   simpler to use).
//! * A producer writes. A [`LogSchema`] describes the columns, and a [`BatchBuilder`] checks
//!   records against it and appends their encoding.
//!
//! Bytes come from the network: every count is checked against the bytes that must back it, nested
//! containers are rejected, and an error names the byte, the record and the field.

mod decode;
mod encode;
mod record;
mod schema;
mod visit;

pub use decode::{
    Batch, Cursor, DecodeError, DecodeErrorKind, Fault, Field, Fields, KnownHeader, Place, Values,
};
pub use encode::{BatchBuilder, Limits, LogValue, PushError, Truncations};
pub use record::RecordWriter;
pub use schema::{FieldSpec, LogSchema, SchemaError};
pub use visit::{Text, ValueRef, Visitor};

use std::fmt;

/// The content of frame 2 of a `log-write` message (WIRE.md §4.1).
pub const FORMAT: &str = "zeek-bin-serializer";

/// Longest string in bytes; longer ones are rejected (WIRE.md §4.3).
const MAX_STRING: u32 = i32::MAX as u32;

/// Size of the shortest field in bytes: two flags, an empty name, two tags.
const MIN_FIELD: usize = 14;

/// Size of the shortest value in bytes: type, subtype, absent.
const MIN_VALUE: usize = 9;

/// The wire tag of sets.
const TAG_SET: u32 = 14;

/// The wire tag of vectors.
const TAG_VECTOR: u32 = 19;

/// A type whose values contain no other values. Discriminants are the wire tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scalar {
    /// `T` or `F`.
    Bool = 1,
    /// Signed 64 bits.
    Int = 2,
    /// Unsigned 64 bits.
    Count = 3,
    /// IEEE 754 double.
    Double = 4,
    /// Seconds since the Unix epoch, as a double.
    Time = 5,
    /// Seconds, as a double.
    Interval = 6,
    /// Any bytes.
    String = 7,
    /// A qualified name, such as `Notice::ACTION_LOG`.
    Enum = 9,
    /// Number and transport protocol.
    Port = 10,
    /// IPv4 or IPv6 address.
    Addr = 11,
    /// IPv4 or IPv6 subnet.
    Subnet = 12,
    /// The name of a function.
    Func = 17,
    /// The name of a file.
    File = 18,
}

impl Scalar {
    /// All scalar types, in the order of their tags.
    pub const ALL: [Scalar; 13] = [
        Scalar::Bool,
        Scalar::Int,
        Scalar::Count,
        Scalar::Double,
        Scalar::Time,
        Scalar::Interval,
        Scalar::String,
        Scalar::Enum,
        Scalar::Port,
        Scalar::Addr,
        Scalar::Subnet,
        Scalar::Func,
        Scalar::File,
    ];

    /// The scalar type with a wire tag; `None` for containers and types that cannot be logged.
    #[inline]
    pub const fn from_tag(tag: u32) -> Option<Self> {
        Some(match tag {
            1 => Scalar::Bool,
            2 => Scalar::Int,
            3 => Scalar::Count,
            4 => Scalar::Double,
            5 => Scalar::Time,
            6 => Scalar::Interval,
            7 => Scalar::String,
            9 => Scalar::Enum,
            10 => Scalar::Port,
            11 => Scalar::Addr,
            12 => Scalar::Subnet,
            17 => Scalar::Func,
            18 => Scalar::File,
            _ => return None,
        })
    }

    /// Zeek's name of the type.
    pub const fn name(self) -> &'static str {
        match self {
            Scalar::Bool => "bool",
            Scalar::Int => "int",
            Scalar::Count => "count",
            Scalar::Double => "double",
            Scalar::Time => "time",
            Scalar::Interval => "interval",
            Scalar::String => "string",
            Scalar::Enum => "enum",
            Scalar::Port => "port",
            Scalar::Addr => "addr",
            Scalar::Subnet => "subnet",
            Scalar::Func => "func",
            Scalar::File => "file",
        }
    }
}

/// The type of a column. `Display` writes it as in the `#types` line: `count`, `set[string]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogType {
    /// One value.
    Scalar(Scalar),
    /// `set[…]` with one index type.
    Set(Scalar),
    /// `vector of …`; elements can be unset.
    Vector(Scalar),
}

impl LogType {
    /// The wire tag of the type itself.
    #[inline]
    pub const fn tag(self) -> u32 {
        match self {
            LogType::Scalar(scalar) => scalar as u32,
            LogType::Set(_) => TAG_SET,
            LogType::Vector(_) => TAG_VECTOR,
        }
    }

    /// The wire tag of the elements of a container; 0 for scalars.
    pub const fn subtype_tag(self) -> u32 {
        match self {
            LogType::Scalar(_) => 0,
            LogType::Set(element) | LogType::Vector(element) => element as u32,
        }
    }
}

impl From<Scalar> for LogType {
    fn from(scalar: Scalar) -> Self {
        LogType::Scalar(scalar)
    }
}

impl fmt::Display for LogType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogType::Scalar(scalar) => f.write_str(scalar.name()),
            LogType::Set(element) => write!(f, "set[{}]", element.name()),
            LogType::Vector(element) => write!(f, "vector[{}]", element.name()),
        }
    }
}

#[cfg(test)]
mod tests;
