//! `Serialize` and `Deserialize` of [`Value`], whatever its type.
//!
//! [`to_value`](super::to_value) and [`from_value`](super::from_value) keep it as it is. To other
//! formats it is an enum with a variant for each of Zeek's types: in JSON, `{"addr":"192.0.2.1"}`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bstr::{BString, ByteSlice};
use serde::de::{self, EnumAccess, VariantAccess};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::zeek_type;
use super::form::{Form, VALUE};
use super::{Enum, Set, Value};

/// The types in the order of their wire tags, which is that of [`Value`]'s variants.
const TYPES: [&str; 15] = [
    "none", "bool", "count", "int", "double", "string", "addr", "subnet", "port", "time",
    "interval", "enum", "set", "table", "vector",
];

impl Value {
    /// The position of its type in [`TYPES`].
    #[inline]
    pub(super) fn type_index(&self) -> u32 {
        match self {
            Value::None => 0,
            Value::Boolean(_) => 1,
            Value::Count(_) => 2,
            Value::Integer(_) => 3,
            Value::Real(_) => 4,
            Value::String(_) => 5,
            Value::Address(_) => 6,
            Value::Subnet(_) => 7,
            Value::Port(_) => 8,
            Value::Timestamp(_) => 9,
            Value::Timespan(_) => 10,
            Value::Enum(_) => 11,
            Value::Set(_) => 12,
            Value::Table(_) => 13,
            Value::Vector(_) => 14,
        }
    }
}

impl Serialize for Value {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (i, name) = (self.type_index(), zeek_type(self));
        macro_rules! variant {
            ($content:expr) => {
                serializer.serialize_newtype_variant(VALUE, i, name, $content)
            };
        }
        match self {
            Value::None => serializer.serialize_unit_variant(VALUE, i, name),
            Value::Boolean(b) => variant!(b),
            Value::Count(n) => variant!(n),
            Value::Integer(n) => variant!(n),
            Value::Real(real) => variant!(real),
            Value::String(bytes) => variant!(&Text(bytes)),
            Value::Address(address) => variant!(address),
            Value::Subnet(subnet) => variant!(subnet),
            Value::Port(port) => variant!(port),
            Value::Timestamp(time) => variant!(time),
            Value::Timespan(span) => variant!(span),
            Value::Enum(name) => variant!(&EnumName(name)),
            Value::Set(elements) => variant!(&Members(elements)),
            Value::Table(entries) => variant!(&Entries(entries)),
            Value::Vector(elements) => variant!(elements),
        }
    }
}

/// Text to formats for people, where it is UTF-8.
pub(super) struct Text<'a>(pub(super) &'a BString);

impl Serialize for Text<'_> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable()
            && let Ok(text) = self.0.to_str()
        {
            return serializer.serialize_str(text);
        }
        serializer.serialize_bytes(self.0)
    }
}

struct EnumName<'a>(&'a BString);

impl Serialize for EnumName<'_> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(Form::Enum.token(), &Text(self.0))
    }
}

struct Members<'a>(&'a BTreeSet<Value>);

impl Serialize for Members<'_> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(Form::Set.token(), self.0)
    }
}

/// A map, or to formats for people pairs: JSON has no other keys than strings.
struct Entries<'a>(&'a BTreeMap<Value, Value>);

impl Serialize for Entries<'_> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_seq(self.0)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = deserializer.is_human_readable();
        deserializer.deserialize_enum(VALUE, &TYPES, ValueVisitor { pairs })
    }
}

struct ValueVisitor {
    /// Whether tables are pairs.
    pairs: bool,
}

impl<'de> de::Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its type")
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        let (TypeIndex(index), content) = data.variant()?;
        Ok(match index {
            0 => {
                content.unit_variant()?;
                Value::None
            }
            1 => Value::Boolean(content.newtype_variant()?),
            2 => Value::Count(content.newtype_variant()?),
            3 => Value::Integer(content.newtype_variant()?),
            4 => Value::Real(content.newtype_variant()?),
            5 => Value::String(content.newtype_variant()?),
            6 => Value::Address(content.newtype_variant()?),
            7 => Value::Subnet(content.newtype_variant()?),
            8 => Value::Port(content.newtype_variant()?),
            9 => Value::Timestamp(content.newtype_variant()?),
            10 => Value::Timespan(content.newtype_variant()?),
            11 => Value::Enum(content.newtype_variant::<Enum>()?.0),
            12 => Value::Set(content.newtype_variant::<Set<Value>>()?.0),
            13 if self.pairs => {
                let pairs: Vec<(Value, Value)> = content.newtype_variant()?;
                let len = pairs.len();
                let entries: BTreeMap<_, _> = pairs.into_iter().collect();
                if entries.len() < len {
                    return Err(de::Error::custom("a table has a key twice"));
                }
                Value::Table(entries)
            }
            13 => Value::Table(content.newtype_variant()?),
            _ => Value::Vector(content.newtype_variant()?),
        })
    }
}

/// A position in [`TYPES`], of a number or a name.
struct TypeIndex(u32);

impl<'de> Deserialize<'de> for TypeIndex {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(TypeIndexVisitor)
    }
}

struct TypeIndexVisitor;

impl de::Visitor<'_> for TypeIndexVisitor {
    type Value = TypeIndex;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a type")
    }

    #[inline]
    fn visit_u64<E: de::Error>(self, index: u64) -> Result<TypeIndex, E> {
        match u32::try_from(index) {
            Ok(index) if (index as usize) < TYPES.len() => Ok(TypeIndex(index)),
            _ => Err(E::invalid_value(de::Unexpected::Unsigned(index), &self)),
        }
    }

    #[inline]
    fn visit_str<E: de::Error>(self, name: &str) -> Result<TypeIndex, E> {
        let index = TYPES.iter().position(|known| *known == name);
        let index = index.ok_or_else(|| E::unknown_variant(name, &TYPES))?;
        Ok(TypeIndex(index as u32))
    }

    #[inline]
    fn visit_bytes<E: de::Error>(self, name: &[u8]) -> Result<TypeIndex, E> {
        self.visit_str(&name.to_str_lossy())
    }
}
