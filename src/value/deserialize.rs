//! [`from_value`]: a [`Value`] as any `Deserialize` type.

use std::borrow::Cow;
use std::collections::{btree_map, btree_set};
use std::{mem, slice};

use bstr::ByteSlice;
use serde::de::{self, Deserialize, DeserializeSeed, IntoDeserializer, Visitor};

use super::error::zeek_type;
use super::form::{Form, VALUE};
use super::{NESTING, Real, Value, ValueError};

/// Makes a Rust value of a Zeek value, which may be borrowed or given away. Strings of a value that
/// is given away are not copied.
///
/// The types are those of [`to_value`](super::to_value), and must be the same exactly: a `count` is
/// no `int`, and an integer must be in the range of its Rust type. A record may have more elements
/// than the struct has fields, but not fewer, except for fields with `#[serde(default)]` (WIRE.md
/// §2.5). Tuples and arrays must have as many elements as the vector.
///
/// ```
/// use serde::Deserialize;
/// use zcluster::Value;
/// use zcluster::value::from_value;
///
/// #[derive(Debug, Deserialize, PartialEq)]
/// struct Version {
///     major: u32,
///     addl: Option<String>,
/// }
/// let value = Value::from(vec![7_u64.into(), Value::None]);
/// assert_eq!(from_value::<Version>(&value)?, Version { major: 7, addl: None });
///
/// let value = Value::from(vec!["seven".into(), Value::None]);
/// let error = from_value::<Version>(value).unwrap_err();
/// assert_eq!(error.to_string(), "major: expected count, found string");
/// # Ok::<(), zcluster::value::ValueError>(())
/// ```
///
/// # Errors
/// When the value is of another type than `T`; when text is not UTF-8 (a `BString` takes any
/// bytes); and what implementations of `Deserialize` object to. The path of the error leads to the
/// wrong part.
pub fn from_value<'de, T: Deserialize<'de>>(
    value: impl Into<Cow<'de, Value>>,
) -> Result<T, ValueError> {
    let mut value = value.into();
    T::deserialize(Deserializer { value: Place::of(&mut value), form: Form::Plain, left: NESTING })
}

/// A struct of the arguments of an event, of which there must be as many as fields.
pub(crate) fn from_args<'de, T: Deserialize<'de>>(
    args: Cow<'de, [Value]>,
) -> Result<T, ValueError> {
    match args {
        Cow::Borrowed(args) => T::deserialize(Args { values: Elements::Borrowed(args.iter()) }),
        Cow::Owned(mut args) => T::deserialize(Args { values: Elements::Given(args.iter_mut()) }),
    }
}

impl<'a> From<&'a Value> for Cow<'a, Value> {
    #[inline]
    fn from(value: &'a Value) -> Self {
        Cow::Borrowed(value)
    }
}

impl From<Value> for Cow<'_, Value> {
    #[inline]
    fn from(value: Value) -> Self {
        Cow::Owned(value)
    }
}

/// Where a value is: borrowed, or given away. What is given away is taken out of its place, because
/// to move whole values from function to function costs more than all the rest.
enum Place<'a, 'de> {
    Borrowed(&'de Value),
    Given(&'a mut Value),
}

impl<'a, 'de> Place<'a, 'de> {
    #[inline]
    fn of(value: &'a mut Cow<'de, Value>) -> Self {
        match value {
            Cow::Borrowed(value) => Place::Borrowed(value),
            Cow::Owned(value) => Place::Given(value),
        }
    }

    #[inline]
    fn get(&self) -> &Value {
        match self {
            Place::Borrowed(value) => value,
            Place::Given(value) => value,
        }
    }
}

/// The elements of a vector.
enum Elements<'a, 'de> {
    Borrowed(slice::Iter<'de, Value>),
    Given(slice::IterMut<'a, Value>),
}

impl<'a, 'de> Iterator for Elements<'a, 'de> {
    type Item = Place<'a, 'de>;

    #[inline]
    fn next(&mut self) -> Option<Place<'a, 'de>> {
        match self {
            Elements::Borrowed(values) => values.next().map(Place::Borrowed),
            Elements::Given(values) => values.next().map(Place::Given),
        }
    }
}

impl Elements<'_, '_> {
    #[inline]
    fn len(&self) -> usize {
        match self {
            Elements::Borrowed(values) => values.len(),
            Elements::Given(values) => values.len(),
        }
    }
}

/// The elements of a set.
enum Members<'de> {
    Borrowed(btree_set::Iter<'de, Value>),
    Given(btree_set::IntoIter<Value>),
}

/// The entries of a table.
enum Entries<'de> {
    Borrowed(btree_map::Iter<'de, Value, Value>),
    Given(btree_map::IntoIter<Value, Value>),
}

struct Deserializer<'a, 'de> {
    value: Place<'a, 'de>,
    form: Form,
    /// How many more levels of types there may be.
    left: u16,
}

impl<'de> Deserializer<'_, 'de> {
    /// That this is not `expected`, nor what its form is.
    #[cold]
    fn unexpected(&self, expected: impl Into<Cow<'static, str>>) -> ValueError {
        let expected = match self.form {
            Form::Plain => expected.into(),
            form => form.name().into(),
        };
        let found: Cow<'static, str> = match self.value.get() {
            Value::Vector(elements) => format!("a vector of {}", elements.len()).into(),
            value => zeek_type(value).into(),
        };
        ValueError::unexpected(expected, found)
    }

    #[inline]
    fn inside(&self) -> Result<u16, ValueError> {
        self.left.checked_sub(1).ok_or_else(ValueError::too_deep)
    }

    /// The elements of this vector or, in its form, set.
    #[inline]
    fn visit_elements<V: Visitor<'de>>(
        self,
        visitor: V,
        names: &'static [&'static str],
        expected: impl FnOnce() -> Cow<'static, str>,
        may_be_longer: bool,
    ) -> Result<V::Value, ValueError> {
        let left = self.inside()?;
        let items = match (self.form, self.value) {
            (Form::Plain, Place::Borrowed(Value::Vector(values))) => {
                Elements::Borrowed(values.iter())
            }
            (Form::Plain, Place::Given(Value::Vector(values))) => {
                Elements::Given(values.iter_mut())
            }
            (form, value) => {
                return Err(Deserializer { value, form, left }.unexpected(expected()));
            }
        };
        let len = items.len();
        let mut elements = Sequence { items, taken: 0, names, is_event: false, left };
        let found = || format!("a vector of {len}");
        match visitor.visit_seq(&mut elements) {
            Ok(_) if elements.items.len() > 0 && !may_be_longer => {
                Err(ValueError::unexpected(expected(), found()))
            }
            Err(error) if elements.has_ended_early(&error) => {
                Err(ValueError::unexpected(expected(), found()))
            }
            outcome => outcome,
        }
    }

    #[inline]
    fn visit_unsigned<V: Visitor<'de>>(self, visitor: V, max: u64) -> Result<V::Value, ValueError> {
        match (self.form, self.value.get()) {
            (Form::Plain, Value::Count(n)) if *n <= max => visitor.visit_u64(*n),
            (Form::Plain, Value::Count(n)) => {
                Err(ValueError::unexpected(format!("count from 0 to {max}"), n.to_string()))
            }
            _ => Err(self.unexpected("count")),
        }
    }

    #[inline]
    fn visit_signed<V: Visitor<'de>>(
        self,
        visitor: V,
        min: i64,
        max: i64,
    ) -> Result<V::Value, ValueError> {
        match (self.form, self.value.get()) {
            (Form::Plain, Value::Integer(n)) if (min..=max).contains(n) => visitor.visit_i64(*n),
            (Form::Plain, Value::Integer(n)) => {
                Err(ValueError::unexpected(format!("int from {min} to {max}"), n.to_string()))
            }
            (Form::Time, Value::Timestamp(time)) => visitor.visit_i64(time.0),
            (Form::Interval, Value::Timespan(span)) => visitor.visit_i64(span.0),
            _ => Err(self.unexpected("int")),
        }
    }
}

impl<'de> de::Deserializer<'de> for Deserializer<'_, 'de> {
    type Error = ValueError;

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    /// For types that take anything, such as untagged enums: what has no form in serde is text.
    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.value.get() {
            Value::None => visitor.visit_none(),
            Value::Boolean(b) => visitor.visit_bool(*b),
            Value::Count(n) => visitor.visit_u64(*n),
            Value::Integer(n) => visitor.visit_i64(*n),
            Value::Real(Real(x)) => visitor.visit_f64(*x),
            Value::String(bytes) if bytes.to_str().is_ok() => self.deserialize_str(visitor),
            Value::String(_) => self.deserialize_bytes(visitor),
            Value::Address(address) => visitor.visit_string(address.to_string()),
            Value::Subnet(subnet) => visitor.visit_string(subnet.to_string()),
            Value::Port(port) => visitor.visit_string(port.to_string()),
            Value::Timestamp(time) => visitor.visit_string(time.to_string()),
            Value::Timespan(span) => visitor.visit_string(span.to_string()),
            Value::Enum(_) => Deserializer { form: Form::Enum, ..self }.deserialize_str(visitor),
            Value::Set(_) => Deserializer { form: Form::Set, ..self }.deserialize_seq(visitor),
            Value::Table(_) => self.deserialize_map(visitor),
            Value::Vector(_) => self.deserialize_seq(visitor),
        }
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match (self.form, self.value.get()) {
            (Form::Plain, Value::Boolean(b)) => visitor.visit_bool(*b),
            _ => Err(self.unexpected("bool")),
        }
    }

    #[inline]
    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.visit_signed(visitor, i8::MIN.into(), i8::MAX.into())
    }

    #[inline]
    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.visit_signed(visitor, i16::MIN.into(), i16::MAX.into())
    }

    #[inline]
    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.visit_signed(visitor, i32::MIN.into(), i32::MAX.into())
    }

    #[inline]
    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.visit_signed(visitor, i64::MIN, i64::MAX)
    }

    #[inline]
    fn deserialize_i128<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ValueError> {
        Err(ValueError::no_form("i128", ""))
    }

    #[inline]
    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.visit_unsigned(visitor, u8::MAX.into())
    }

    #[inline]
    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.visit_unsigned(visitor, u16::MAX.into())
    }

    #[inline]
    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.visit_unsigned(visitor, u32::MAX.into())
    }

    #[inline]
    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.visit_unsigned(visitor, u64::MAX)
    }

    #[inline]
    fn deserialize_u128<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ValueError> {
        Err(ValueError::no_form("u128", ""))
    }

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match (self.form, self.value.get()) {
            (Form::Plain, Value::Real(Real(x))) if x.is_finite() && (*x as f32).is_infinite() => {
                let range = format!("double from {:e} to {:e}", f32::MIN, f32::MAX);
                Err(ValueError::unexpected(range, format!("{x:e}")))
            }
            _ => self.deserialize_f64(visitor),
        }
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match (self.form, self.value.get()) {
            (Form::Plain, Value::Real(Real(x))) => visitor.visit_f64(*x),
            _ => Err(self.unexpected("double")),
        }
    }

    #[inline]
    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let not_text = || ValueError::unexpected("text in UTF-8", "other bytes");
        match (self.form, self.value) {
            (Form::Plain, Place::Borrowed(Value::String(bytes)))
            | (Form::Enum, Place::Borrowed(Value::Enum(bytes))) => {
                visitor.visit_borrowed_str(bytes.to_str().map_err(|_| not_text())?)
            }
            (Form::Plain, Place::Given(Value::String(bytes)))
            | (Form::Enum, Place::Given(Value::Enum(bytes))) => {
                let bytes = mem::take(bytes);
                visitor.visit_string(String::from_utf8(bytes.into()).map_err(|_| not_text())?)
            }
            (form, value) => Err(Deserializer { value, form, left: 0 }.unexpected("string")),
        }
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match (self.form, self.value) {
            (Form::Plain, Place::Borrowed(Value::String(bytes)))
            | (Form::Enum, Place::Borrowed(Value::Enum(bytes))) => {
                visitor.visit_borrowed_bytes(bytes)
            }
            (Form::Plain, Place::Given(Value::String(bytes)))
            | (Form::Enum, Place::Given(Value::Enum(bytes))) => {
                visitor.visit_byte_buf(mem::take(bytes).into())
            }
            (form, value) => match (form, value.get()) {
                (Form::Address, Value::Address(address)) => visitor.visit_bytes(&address.0),
                (Form::Subnet, Value::Subnet(subnet)) => visitor.visit_bytes(&subnet.compact()),
                (Form::Port, Value::Port(port)) => visitor.visit_bytes(&port.compact()),
                _ => Err(Deserializer { value, form, left: 0 }.unexpected("string")),
            },
        }
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.value.get() {
            Value::None => visitor.visit_none(),
            _ => visitor.visit_some(Deserializer { left: self.inside()?, ..self }),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match (self.form, self.value.get()) {
            (Form::Plain, Value::None) => visitor.visit_unit(),
            _ => Err(self.unexpected("none")),
        }
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match (self.form, self.value.get()) {
            (Form::Plain, Value::Vector(_)) => visitor.visit_unit(),
            _ => Err(self.unexpected("record")),
        }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(match Form::of(name) {
            Some(form) => Deserializer { form, ..self },
            None => Deserializer { left: self.inside()?, ..self },
        })
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        if self.form != Form::Set {
            return self.visit_elements(visitor, &[], || "vector".into(), false);
        }
        let left = self.inside()?;
        let items = match self.value {
            Place::Borrowed(Value::Set(elements)) => Members::Borrowed(elements.iter()),
            Place::Given(Value::Set(elements)) => Members::Given(mem::take(elements).into_iter()),
            value => return Err(Deserializer { value, ..self }.unexpected("set")),
        };
        let mut set = Set { items, taken: 0, left };
        let value = visitor.visit_seq(&mut set)?;
        match set.len() {
            0 => Ok(value),
            left => {
                let expected = format!("a set of {}", set.taken);
                Err(ValueError::unexpected(expected, format!("a set of {}", set.taken + left)))
            }
        }
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let expected = || format!("a vector of {len}").into();
        self.visit_elements(visitor, &[], expected, false)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let expected = || format!("{name}, a record of {len}").into();
        self.visit_elements(visitor, &[], expected, true)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let left = self.inside()?;
        let entries = match (self.form, self.value) {
            (Form::Plain, Place::Borrowed(Value::Table(entries))) => {
                Entries::Borrowed(entries.iter())
            }
            (Form::Plain, Place::Given(Value::Table(entries))) => {
                Entries::Given(mem::take(entries).into_iter())
            }
            (form, value) => return Err(Deserializer { value, form, left }.unexpected("table")),
        };
        visitor.visit_map(Table { entries, value: None, taken: 0, left })
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let expected = || format!("{name}, a record of {}", fields.len()).into();
        self.visit_elements(visitor, fields, expected, true)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        if name == VALUE && self.form == Form::Plain {
            return visitor.visit_enum(AnyType(self));
        }
        match self.value.get() {
            Value::Enum(name) => {
                let name = name.to_str();
                let name =
                    name.map_err(|_| ValueError::unexpected("a name in UTF-8", "other bytes"))?;
                visitor.visit_enum(IntoDeserializer::<ValueError>::into_deserializer(name))
            }
            _ => Err(self.unexpected("enum")),
        }
    }

    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }
}

/// Elements of a vector, fields of a record, or arguments of an event.
struct Sequence<'a, 'de> {
    items: Elements<'a, 'de>,
    taken: usize,
    /// Names of fields; none if it is no record.
    names: &'static [&'static str],
    is_event: bool,
    left: u16,
}

impl Sequence<'_, '_> {
    #[cold]
    fn misplaced(&self, error: ValueError) -> ValueError {
        let name = self.names.get(self.taken).copied().unwrap_or_default();
        match name {
            _ if self.is_event => error.in_argument(self.taken, name),
            "" => error.at(self.taken),
            name => error.within(name),
        }
    }

    /// Whether `error` is about its length: that it has no further element.
    #[inline]
    fn has_ended_early(&self, error: &ValueError) -> bool {
        self.items.len() == 0 && error.path().is_empty() && error.argument().is_none()
    }
}

impl<'de> de::SeqAccess<'de> for &mut Sequence<'_, 'de> {
    type Error = ValueError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ValueError> {
        let Some(value) = self.items.next() else { return Ok(None) };
        match seed.deserialize(Deserializer { value, form: Form::Plain, left: self.left }) {
            Ok(value) => {
                self.taken += 1;
                Ok(Some(value))
            }
            Err(error) => Err(self.misplaced(error)),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// Elements of a set.
struct Set<'de> {
    items: Members<'de>,
    taken: usize,
    left: u16,
}

impl Set<'_> {
    #[inline]
    fn len(&self) -> usize {
        match &self.items {
            Members::Borrowed(elements) => elements.len(),
            Members::Given(elements) => elements.len(),
        }
    }
}

impl<'de> de::SeqAccess<'de> for &mut Set<'de> {
    type Error = ValueError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ValueError> {
        let next = match &mut self.items {
            Members::Borrowed(elements) => elements.next().map(Cow::Borrowed),
            Members::Given(elements) => elements.next().map(Cow::Owned),
        };
        let Some(mut value) = next else { return Ok(None) };
        let value = Place::of(&mut value);
        match seed.deserialize(Deserializer { value, form: Form::Plain, left: self.left }) {
            Ok(value) => {
                self.taken += 1;
                Ok(Some(value))
            }
            Err(error) => Err(error.at(self.taken)),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.len())
    }
}

/// Entries of a table.
struct Table<'de> {
    entries: Entries<'de>,
    value: Option<Cow<'de, Value>>,
    taken: usize,
    left: u16,
}

impl<'de> de::MapAccess<'de> for Table<'de> {
    type Error = ValueError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ValueError> {
        let entry = match &mut self.entries {
            Entries::Borrowed(entries) => {
                entries.next().map(|(key, value)| (Cow::Borrowed(key), Cow::Borrowed(value)))
            }
            Entries::Given(entries) => {
                entries.next().map(|(key, value)| (Cow::Owned(key), Cow::Owned(value)))
            }
        };
        let Some((mut key, value)) = entry else { return Ok(None) };
        self.value = Some(value);
        let value = Place::of(&mut key);
        let key = Deserializer { value, form: Form::Plain, left: self.left };
        seed.deserialize(key).map(Some).map_err(|error| error.at(0).at(self.taken))
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, ValueError> {
        let at = self.taken;
        let Some(mut value) = self.value.take() else {
            return Err(ValueError::unexpected("a key", "a value without one").at(at));
        };
        self.taken += 1;
        let value = Place::of(&mut value);
        let value = Deserializer { value, form: Form::Plain, left: self.left };
        seed.deserialize(value).map_err(|error| error.at(1).at(at))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(match &self.entries {
            Entries::Borrowed(entries) => entries.len(),
            Entries::Given(entries) => entries.len(),
        })
    }
}

/// A value as the enum that [`Value`] is to serde.
struct AnyType<'a, 'de>(Deserializer<'a, 'de>);

impl<'de> de::EnumAccess<'de> for AnyType<'_, 'de> {
    type Error = ValueError;
    type Variant = Self;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), ValueError> {
        let variant = self.0.value.get().type_index();
        let variant = IntoDeserializer::<ValueError>::into_deserializer(variant);
        Ok((seed.deserialize(variant)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for AnyType<'_, 'de> {
    type Error = ValueError;

    #[inline]
    fn unit_variant(self) -> Result<(), ValueError> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, ValueError> {
        seed.deserialize(self.0)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, v: V) -> Result<V::Value, ValueError> {
        de::Deserializer::deserialize_tuple(self.0, len, v)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        de::Deserializer::deserialize_struct(self.0, "", fields, visitor)
    }
}

/// The arguments of an event, which are a struct and nothing else.
struct Args<'a, 'de> {
    values: Elements<'a, 'de>,
}

impl<'a, 'de> Args<'a, 'de> {
    /// Visits the arguments, if there are `len`.
    #[inline]
    fn visit<T>(
        self,
        names: &'static [&'static str],
        len: usize,
        visit: impl FnOnce(&mut Sequence<'a, 'de>) -> Result<T, ValueError>,
    ) -> Result<T, ValueError> {
        let found = self.values.len();
        if found != len {
            let s = if len == 1 { "" } else { "s" };
            let names = match names {
                [] => String::new(),
                names => format!(" ({})", names.join(", ")),
            };
            let expected = format!("{len} argument{s}{names}");
            return Err(ValueError::unexpected(expected, found.to_string()));
        }
        let left = NESTING - 1;
        visit(&mut Sequence { items: self.values, taken: 0, names, is_event: true, left })
    }
}

impl<'de> de::Deserializer<'de> for Args<'_, 'de> {
    type Error = ValueError;

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ValueError> {
        Err(ValueError::unexpected("a struct", Form::Args.name()))
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.visit(&[], 0, |_| visitor.visit_unit())
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.visit(&[], 1, |mut args| visitor.visit_seq(&mut args))
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.visit(&[], len, |args| visitor.visit_seq(args))
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.visit(fields, fields.len(), |args| visitor.visit_seq(args))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit seq tuple map enum identifier ignored_any
    }
}
