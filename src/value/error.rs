//! [`ValueError`]: why a Rust value and a [`Value`] are not the same thing.

use std::borrow::Cow;
use std::fmt;

use serde::{de, ser};

use super::Value;

/// Why a Rust value has no Zeek form, or a Zeek value does not fit a Rust type.
///
/// `Display` says where, what was expected, and what was found. Fields of records are named:
/// `conn.id.orig_h: expected addr, found string`. Elements have a position: `hosts[2]`; in tables,
/// `[2][0]` is the third key and `[2][1]` its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueError {
    // Boxed, because every function returns it.
    inner: Box<Inner>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    argument: Option<usize>,
    path: String,
    reason: Reason,
}

/// What [`ValueError`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Another type, length, or a number out of range.
    Unexpected {
        /// The type that was expected, as Zeek calls it, with its range if it has one.
        expected: Cow<'static, str>,
        /// The type that was found, or the value.
        found: Cow<'static, str>,
    },
    /// A Rust type that Zeek has no type for.
    NoForm {
        /// The Rust type.
        what: Cow<'static, str>,
        /// What to use instead; empty if there is nothing.
        instead: &'static str,
    },
    /// Nested deeper than any decoder of events accepts.
    TooDeep,
    /// What the type itself objects to.
    Other(String),
}

impl ValueError {
    pub(super) fn new(reason: Reason) -> Self {
        ValueError { inner: Box::new(Inner { argument: None, path: String::new(), reason }) }
    }

    pub(super) fn unexpected(
        expected: impl Into<Cow<'static, str>>,
        found: impl Into<Cow<'static, str>>,
    ) -> Self {
        ValueError::new(Reason::Unexpected { expected: expected.into(), found: found.into() })
    }

    pub(super) fn no_form(what: impl Into<Cow<'static, str>>, instead: &'static str) -> Self {
        ValueError::new(Reason::NoForm { what: what.into(), instead })
    }

    pub(super) fn too_deep() -> Self {
        ValueError::new(Reason::TooDeep)
    }

    /// The same, inside a field of this name.
    pub(super) fn within(mut self, name: &str) -> Self {
        let path = &self.inner.path;
        let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
        self.inner.path = format!("{name}{dot}{path}");
        self
    }

    /// The same, inside an element.
    pub(super) fn at(self, index: usize) -> Self {
        self.within(&format!("[{index}]"))
    }

    /// The same, inside an argument of an event; `name` is empty if it has none.
    pub(super) fn in_argument(self, index: usize, name: &str) -> Self {
        let mut error = self.within(name);
        error.inner.argument = Some(index + 1);
        error
    }

    /// The position of the argument of an event, from 1. `None` outside of events, and if the
    /// number of arguments is wrong.
    pub fn argument(&self) -> Option<usize> {
        self.inner.argument
    }

    /// Names of fields and positions of elements, from the outside in: `conn.id.orig_h`. Empty if
    /// the value as a whole is wrong. In an event, the first name is that of the argument.
    pub fn path(&self) -> &str {
        &self.inner.path
    }

    /// What is wrong there.
    pub fn reason(&self) -> &Reason {
        &self.inner.reason
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.argument(), self.path()) {
            (None, "") => {}
            (None, path) => write!(f, "{path}: ")?,
            (Some(position), "") => write!(f, "argument {position}: ")?,
            (Some(position), path) => write!(f, "argument {position}, {path}: ")?,
        }
        match self.reason() {
            Reason::Unexpected { expected, found } => {
                write!(f, "expected {expected}, found {found}")
            }
            Reason::NoForm { what, instead: "" } => write!(f, "{what} has no form in Zeek"),
            Reason::NoForm { what, instead } => {
                write!(f, "{what} has no form in Zeek by itself; use {instead}")
            }
            Reason::TooDeep => f.write_str("nested too deep"),
            Reason::Other(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for ValueError {}

impl ser::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        ValueError::new(Reason::Other(message.to_string()))
    }
}

impl de::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        ValueError::new(Reason::Other(message.to_string()))
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        ValueError::unexpected(expected.to_string(), found_by_serde(found))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        ValueError::unexpected(expected.to_string(), found_by_serde(found))
    }

    fn invalid_length(len: usize, expected: &dyn de::Expected) -> Self {
        ValueError::unexpected(expected.to_string(), format!("{len} elements"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        ValueError::unexpected(format!("enum {}", expected.join(" or ")), variant.to_owned())
    }
}

/// With Zeek's names of types.
fn found_by_serde(found: de::Unexpected<'_>) -> String {
    match found {
        de::Unexpected::Bool(b) => if b { "T" } else { "F" }.to_owned(),
        de::Unexpected::Unsigned(n) => n.to_string(),
        de::Unexpected::Signed(n) => n.to_string(),
        de::Unexpected::Float(x) => x.to_string(),
        de::Unexpected::Str(text) => format!("\"{}\"", text.escape_debug()),
        de::Unexpected::Bytes(_) => "string".to_owned(),
        de::Unexpected::Unit | de::Unexpected::Option => "none".to_owned(),
        de::Unexpected::Seq => "vector".to_owned(),
        de::Unexpected::Map => "table".to_owned(),
        other => other.to_string(),
    }
}

/// The name of a value's type in scripts, where [`Value::type_name`] has that of the JSON format.
pub(super) fn zeek_type(value: &Value) -> &'static str {
    match value {
        Value::None => "none",
        Value::Boolean(_) => "bool",
        Value::Count(_) => "count",
        Value::Integer(_) => "int",
        Value::Real(_) => "double",
        Value::String(_) => "string",
        Value::Address(_) => "addr",
        Value::Subnet(_) => "subnet",
        Value::Port(_) => "port",
        Value::Timestamp(_) => "time",
        Value::Timespan(_) => "interval",
        Value::Enum(_) => "enum",
        Value::Set(_) => "set",
        Value::Table(_) => "table",
        Value::Vector(_) => "vector",
    }
}
