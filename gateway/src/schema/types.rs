//! Types of arguments and fields, as Zeek scripts write them, and what they are on the wire
//! (WIRE.md §2.5).

use std::fmt;

use zcluster::Value;

/// A declared type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// Any value, even none.
    Any,
    Scalar(Scalar),
    /// A vector of two strings.
    Pattern,
    /// The name of a function, and what its closure captures.
    Function(&'static str),
    /// The name of a type, and its data.
    Opaque,
    Vector(Box<Type>),
    Set(Index),
    Table(Index, Box<Type>),
    Record(RecordId),
}

/// A type whose values are of one variant of [`Value`] and hold no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Bool,
    Count,
    Int,
    Double,
    String,
    /// The name of a file, a string.
    File,
    Addr,
    Subnet,
    Port,
    Time,
    Interval,
    Enum,
}

/// What selects an element of a set or a table: one type or several.
///
/// A value is the value of the one type, or a vector with one of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index(pub(super) Vec<Type>);

/// A record: its place in the schema, and its name. Its values are vectors of all fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordId {
    pub(super) place: usize,
    pub(super) name: String,
}

/// A field of a record, or an argument of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) ty: Type,
    pub(super) is_optional: bool,
}

impl Scalar {
    pub(crate) const ALL: [Scalar; 12] = [
        Scalar::Bool,
        Scalar::Count,
        Scalar::Int,
        Scalar::Double,
        Scalar::String,
        Scalar::File,
        Scalar::Addr,
        Scalar::Subnet,
        Scalar::Port,
        Scalar::Time,
        Scalar::Interval,
        Scalar::Enum,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Scalar::Bool => "bool",
            Scalar::Count => "count",
            Scalar::Int => "int",
            Scalar::Double => "double",
            Scalar::String => "string",
            Scalar::File => "file",
            Scalar::Addr => "addr",
            Scalar::Subnet => "subnet",
            Scalar::Port => "port",
            Scalar::Time => "time",
            Scalar::Interval => "interval",
            Scalar::Enum => "enum",
        }
    }

    /// What `zcluster::readable` calls it.
    pub(super) fn json_name(self) -> &'static str {
        match self {
            Scalar::File => "string",
            other => other.name(),
        }
    }

    pub(super) fn holds(self, value: &Value) -> bool {
        matches!(
            (self, value),
            (Scalar::Bool, Value::Boolean(_))
                | (Scalar::Count, Value::Count(_))
                | (Scalar::Int, Value::Integer(_))
                | (Scalar::Double, Value::Real(_))
                | (Scalar::String | Scalar::File, Value::String(_))
                | (Scalar::Addr, Value::Address(_))
                | (Scalar::Subnet, Value::Subnet(_))
                | (Scalar::Port, Value::Port(_))
                | (Scalar::Time, Value::Timestamp(_))
                | (Scalar::Interval, Value::Timespan(_))
                | (Scalar::Enum, Value::Enum(_))
        )
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Any => f.write_str("any"),
            Type::Scalar(scalar) => f.write_str(scalar.name()),
            Type::Pattern => f.write_str("pattern"),
            Type::Function(flavor) => f.write_str(flavor),
            Type::Opaque => f.write_str("opaque"),
            Type::Vector(element) => write!(f, "vector of {element}"),
            Type::Set(index) => write!(f, "set[{index}]"),
            Type::Table(index, value) => write!(f, "table[{index}] of {value}"),
            Type::Record(record) => f.write_str(&record.name),
        }
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, ty) in self.0.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{ty}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let optional = if self.is_optional { " &optional" } else { "" };
        write!(f, "{}: {}{optional}", self.name, self.ty)
    }
}
