//! Zeek types that neither Rust nor serde has: [`Set`], [`Enum`], [`Pattern`], [`Function`].

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bstr::BString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::form::Form;
use super::whole::Text;
use super::{Value, ValueError};

/// A Zeek `set`, where [`with::set`](super::with::set) cannot be used: inside other types.
///
/// Elements of a set with several index types are tuples or structs. An index that is a single
/// vector, record, pattern or function is that type itself (WIRE.md §2.5).
///
/// ```
/// use std::net::IpAddr;
/// use zcluster::Value;
/// use zcluster::value::{Address, Port, Protocol, Set, to_value};
///
/// let host = Address::from("192.0.2.1".parse::<IpAddr>()?);
/// let services: Set<(Address, Port)> = [(host, Port::new(53, Protocol::Udp))].into();
/// let index = Value::from(vec![host.into(), Port::new(53, Protocol::Udp).into()]);
/// assert_eq!(to_value(&services)?, Value::Set([index].into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set<T>(pub BTreeSet<T>);

impl<T> Default for Set<T> {
    #[inline]
    fn default() -> Self {
        Set(BTreeSet::new())
    }
}

impl<T> Deref for Set<T> {
    type Target = BTreeSet<T>;

    #[inline]
    fn deref(&self) -> &BTreeSet<T> {
        &self.0
    }
}

impl<T> DerefMut for Set<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut BTreeSet<T> {
        &mut self.0
    }
}

impl<T: Ord> FromIterator<T> for Set<T> {
    #[inline]
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Set(elements.into_iter().collect())
    }
}

impl<T: Ord, const N: usize> From<[T; N]> for Set<T> {
    #[inline]
    fn from(elements: [T; N]) -> Self {
        Set(elements.into())
    }
}

impl<T> IntoIterator for Set<T> {
    type Item = T;
    type IntoIter = std::collections::btree_set::IntoIter<T>;

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Set<T> {
    type Item = &'a T;
    type IntoIter = std::collections::btree_set::Iter<'a, T>;

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: Serialize> Serialize for Set<T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(Form::Set.token(), &self.0)
    }
}

impl<'de, T: Deserialize<'de> + Ord> Deserialize<'de> for Set<T> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        in_form(Form::Set, deserializer).map(Set)
    }
}

/// The name of a Zeek `enum` value, for example `Cluster::WORKER`, where the Rust program has no
/// enum for it.
///
/// ```
/// use zcluster::Value;
/// use zcluster::value::{Enum, from_value};
///
/// let value = Value::enum_value("Cluster::WORKER");
/// assert_eq!(from_value::<Enum>(value)?, Enum::new("Cluster::WORKER"));
/// # Ok::<(), zcluster::value::ValueError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Enum(pub BString);

impl Enum {
    /// The value of that qualified name.
    #[inline]
    pub fn new(name: impl Into<BString>) -> Self {
        Enum(name.into())
    }
}

impl fmt::Display for Enum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Enum {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(Form::Enum.token(), &Text(&self.0))
    }
}

impl<'de> Deserialize<'de> for Enum {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        in_form(Form::Enum, deserializer).map(Enum)
    }
}

/// Deserializes in a form. Formats other than ours only see a newtype struct.
pub(super) fn in_form<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    form: Form,
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_newtype_struct(form.token(), Inside { form, of: PhantomData })
}

struct Inside<T> {
    form: Form,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Inside<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.form.name())
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<T, D::Error> {
        T::deserialize(inner)
    }
}

/// A Zeek `pattern`: a regular expression for whole strings, and one that finds it anywhere.
///
/// ```
/// use zcluster::value::Pattern;
/// let pattern = Pattern::new("foo");
/// assert_eq!(pattern.exact, "^?(foo)$?");
/// assert_eq!(pattern.anywhere, r"^?(.|\n)*(foo)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pattern {
    /// Matches a whole string: `^?(foo)$?` for `/foo/`.
    pub exact: BString,
    /// Matches as far as the end of the first match: `^?(.|\n)*(foo)` for `/foo/`.
    pub anywhere: BString,
}

impl Pattern {
    /// The pattern `/regex/` (WIRE.md §2.5).
    #[inline]
    pub fn new(regex: &str) -> Self {
        Pattern {
            exact: format!("^?({regex})$?").into(),
            anywhere: format!(r"^?(.|\n)*({regex})").into(),
        }
    }
}

/// A Zeek function, event or hook as a value: its name, and what a lambda has captured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Function {
    /// Its qualified name, which must exist on the receiver.
    pub name: BString,
    /// What its closure has captured, for lambdas.
    pub captures: Option<Value>,
}

impl Serialize for Function {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = Value::String(self.name.clone());
        match &self.captures {
            None => serializer.collect_seq([&name]),
            Some(captures) => serializer.collect_seq([&name, captures]),
        }
    }
}

impl<'de> Deserialize<'de> for Function {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts: Vec<Value> = Deserialize::deserialize(deserializer)?;
        let mut parts = parts.into_iter();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Value::String(name)), captures, None) => Ok(Function { name, captures }),
            _ => Err(de::Error::custom(ValueError::unexpected(
                "func, a vector of a name and perhaps captures",
                "another vector",
            ))),
        }
    }
}
