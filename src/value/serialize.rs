//! [`to_value`]: any `Serialize` type as a [`Value`].

use std::collections::BTreeMap;

use serde::ser::{self, Serialize};

use super::error::zeek_type;
use super::form::{Form, VALUE};
use super::{Address, NESTING, Port, Real, Subnet, Timespan, Timestamp, Value, ValueError};

/// Makes a Zeek value of a Rust value.
///
/// | Rust | Zeek |
/// |---|---|
/// | `bool` | `bool` |
/// | `u8` … `u64` | `count` |
/// | `i8` … `i64` | `int` |
/// | `f32`, `f64` | `double` |
/// | `str`, `String`, `char`, [`BString`](bstr::BString) | `string` |
/// | `Option` | the value, or unset |
/// | struct | record: its fields in the order of their declaration |
/// | `Vec`, array, tuple | `vector`; in sets and as keys of tables, a composite index |
/// | newtype struct | what is inside |
/// | enum | `enum`: the name of the variant, as in `#[serde(rename = "Demo::RED")]` |
/// | map | `table` |
/// | the types of this [module](super) | their Zeek types |
/// | [`Value`] | itself, whatever its type |
///
/// The attributes in [`with`](super::with) are for other types: `IpAddr`, `Duration`, `SystemTime`,
/// sets, and names of enum values as text. A field that `skip_serializing_if` leaves out is unset.
///
/// ```
/// use serde::Serialize;
/// use zcluster::Value;
/// use zcluster::value::{Port, Protocol, to_value};
///
/// #[derive(Serialize)]
/// struct Service {
///     name: String,
///     port: Port,
///     banner: Option<String>,
/// }
/// let service = Service { name: "ssh".into(), port: Port::new(22, Protocol::Tcp), banner: None };
/// let record = vec!["ssh".into(), Port::new(22, Protocol::Tcp).into(), Value::None];
/// assert_eq!(to_value(&service)?, Value::Vector(record));
/// # Ok::<(), zcluster::value::ValueError>(())
/// ```
///
/// # Errors
/// When a type has no form in Zeek: enum variants with data, `i128`, `u128`; when a table has a key
/// twice; when values are nested deeper than any decoder of events accepts; and what
/// implementations of `Serialize` object to.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, ValueError> {
    let mut out = Vec::with_capacity(1);
    value.serialize(Serializer { out: &mut out, form: Form::Plain, left: NESTING })?;
    Ok(out.pop().unwrap_or_default())
}

/// The fields of a struct, as the arguments of an event.
pub(crate) fn to_args<T: Serialize + ?Sized>(value: &T) -> Result<Vec<Value>, ValueError> {
    let mut args = Vec::new();
    value.serialize(Serializer { out: &mut args, form: Form::Args, left: NESTING })?;
    Ok(args)
}

/// Appends one value. Values are written where they stay: to return them from function to function
/// costs more than all the rest.
struct Serializer<'a> {
    out: &'a mut Vec<Value>,
    form: Form,
    /// How many more levels of types there may be.
    left: u16,
}

impl<'a> Serializer<'a> {
    #[cold]
    fn unexpected<T>(&self, found: &'static str) -> Result<T, ValueError> {
        Err(ValueError::unexpected(self.form.name(), found))
    }

    #[inline]
    fn put(self, value: Value) {
        self.out.push(value);
    }

    /// Appends `value`, which is of no other form than its own.
    #[inline]
    fn plain(self, value: Value) -> Result<(), ValueError> {
        if self.form != Form::Plain {
            return self.unexpected(zeek_type(&value));
        }
        self.put(value);
        Ok(())
    }

    /// How many levels there may be inside.
    #[inline]
    fn inside(&self) -> Result<u16, ValueError> {
        self.left.checked_sub(1).ok_or_else(ValueError::too_deep)
    }

    #[inline]
    fn elements(self, name: &'static str, len: usize) -> Result<Elements<'a>, ValueError> {
        let left = self.inside()?;
        let values = Vec::with_capacity(len);
        Ok(Elements { name, values, out: self.out, form: self.form, left })
    }

    /// A vector, or the arguments of an event.
    #[inline]
    fn record(self, name: &'static str, len: usize) -> Result<Elements<'a>, ValueError> {
        match self.form {
            Form::Plain | Form::Args => self.elements(name, len),
            _ => self.unexpected("record"),
        }
    }
}

/// Enums of the standard library that are told here because of their data: how to serialize them.
fn instead_of_variant(name: &str) -> &'static str {
    match name {
        "IpAddr" => r#"`#[serde(with = "zcluster::value::with::addr")]`"#,
        _ => "",
    }
}

/// Structs of the standard library whose fields are not what anybody means: how to serialize them.
fn instead_of_struct(name: &str, first_field: &str) -> Option<&'static str> {
    match (name, first_field) {
        ("Duration", "secs") => Some(r#"`#[serde(with = "zcluster::value::with::interval")]`"#),
        ("SystemTime", "secs_since_epoch") => {
            Some(r#"`#[serde(with = "zcluster::value::with::time")]`"#)
        }
        _ => None,
    }
}

impl<'a> ser::Serializer for Serializer<'a> {
    type Ok = ();
    type Error = ValueError;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Elements<'a>;
    type SerializeTupleStruct = Elements<'a>;
    type SerializeTupleVariant = ser::Impossible<(), ValueError>;
    type SerializeMap = Table<'a>;
    type SerializeStruct = Elements<'a>;
    type SerializeStructVariant = ser::Impossible<(), ValueError>;

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, b: bool) -> Result<(), ValueError> {
        self.plain(Value::Boolean(b))
    }

    #[inline]
    fn serialize_i8(self, n: i8) -> Result<(), ValueError> {
        self.serialize_i64(n.into())
    }

    #[inline]
    fn serialize_i16(self, n: i16) -> Result<(), ValueError> {
        self.serialize_i64(n.into())
    }

    #[inline]
    fn serialize_i32(self, n: i32) -> Result<(), ValueError> {
        self.serialize_i64(n.into())
    }

    #[inline]
    fn serialize_i64(self, n: i64) -> Result<(), ValueError> {
        match self.form {
            Form::Time => self.put(Value::Timestamp(Timestamp(n))),
            Form::Interval => self.put(Value::Timespan(Timespan(n))),
            _ => self.plain(Value::Integer(n))?,
        }
        Ok(())
    }

    #[inline]
    fn serialize_i128(self, _: i128) -> Result<(), ValueError> {
        Err(ValueError::no_form("i128", ""))
    }

    #[inline]
    fn serialize_u8(self, n: u8) -> Result<(), ValueError> {
        self.serialize_u64(n.into())
    }

    #[inline]
    fn serialize_u16(self, n: u16) -> Result<(), ValueError> {
        self.serialize_u64(n.into())
    }

    #[inline]
    fn serialize_u32(self, n: u32) -> Result<(), ValueError> {
        self.serialize_u64(n.into())
    }

    #[inline]
    fn serialize_u64(self, n: u64) -> Result<(), ValueError> {
        self.plain(Value::Count(n))
    }

    #[inline]
    fn serialize_u128(self, _: u128) -> Result<(), ValueError> {
        Err(ValueError::no_form("u128", ""))
    }

    #[inline]
    fn serialize_f32(self, x: f32) -> Result<(), ValueError> {
        self.serialize_f64(x.into())
    }

    #[inline]
    fn serialize_f64(self, x: f64) -> Result<(), ValueError> {
        self.plain(Value::Real(Real(x)))
    }

    #[inline]
    fn serialize_char(self, c: char) -> Result<(), ValueError> {
        self.serialize_str(c.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, text: &str) -> Result<(), ValueError> {
        match self.form {
            Form::Enum => self.put(Value::Enum(text.into())),
            _ => self.plain(Value::String(text.into()))?,
        }
        Ok(())
    }

    #[inline]
    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), ValueError> {
        let value = match self.form {
            Form::Address => Address::from_compact(bytes).map(Value::Address),
            Form::Subnet => Subnet::from_compact(bytes).map(Value::Subnet),
            Form::Port => Port::from_compact(bytes).map(Value::Port),
            Form::Enum => Some(Value::Enum(bytes.into())),
            _ => return self.plain(Value::String(bytes.into())),
        };
        let Some(value) = value else { return self.unexpected("string") };
        self.put(value);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), ValueError> {
        if self.form == Form::Args {
            return self.unexpected("none");
        }
        self.put(Value::None);
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), ValueError> {
        value.serialize(Serializer { left: self.inside()?, ..self })
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), ValueError> {
        self.plain(Value::None)
    }

    #[inline]
    fn serialize_unit_struct(self, name: &'static str) -> Result<(), ValueError> {
        self.record(name, 0)?.finish();
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), ValueError> {
        match self.form {
            Form::Plain if name == VALUE => self.put(Value::None),
            Form::Plain | Form::Enum => self.put(Value::Enum(variant.into())),
            _ => return self.unexpected("enum"),
        }
        Ok(())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), ValueError> {
        match (self.form, Form::of(name)) {
            (Form::Args, _) => {
                let left = self.inside()?;
                let arg = value.serialize(Serializer { form: Form::Plain, left, ..self });
                arg.map_err(|error| error.in_argument(0, ""))
            }
            (_, Some(form)) => value.serialize(Serializer { form, ..self }),
            (_, None) => value.serialize(Serializer { left: self.inside()?, ..self }),
        }
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), ValueError> {
        if name != VALUE {
            let what = format!("enum variant {name}::{variant} with data");
            return Err(ValueError::no_form(what, instead_of_variant(name)));
        }
        match self.form {
            Form::Plain => value.serialize(self),
            _ => self.unexpected(variant),
        }
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Elements<'a>, ValueError> {
        // The length is what the type claims: memory is not taken at its word.
        let len = len.unwrap_or(0).min(4096);
        match self.form {
            Form::Plain | Form::Set => self.elements("", len),
            _ => self.unexpected("vector"),
        }
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Elements<'a>, ValueError> {
        self.serialize_seq(Some(len))
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Elements<'a>, ValueError> {
        self.record(name, len)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, ValueError> {
        Err(ValueError::no_form(format!("enum variant {name}::{variant} with data"), ""))
    }

    #[inline]
    fn serialize_map(self, _: Option<usize>) -> Result<Table<'a>, ValueError> {
        match self.form {
            Form::Plain => {
                let left = self.inside()?;
                Ok(Table { pairs: Vec::new(), out: self.out, left })
            }
            _ => self.unexpected("table"),
        }
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Elements<'a>, ValueError> {
        self.record(name, len)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, ValueError> {
        Err(ValueError::no_form(format!("enum variant {name}::{variant} with data"), ""))
    }
}

/// Elements of a vector, fields of a record, arguments of an event.
struct Elements<'a> {
    /// The name of the struct; empty if it is none.
    name: &'static str,
    values: Vec<Value>,
    out: &'a mut Vec<Value>,
    form: Form,
    left: u16,
}

impl Elements<'_> {
    #[inline]
    fn push<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), ValueError> {
        let inner = Serializer { out: &mut self.values, form: Form::Plain, left: self.left };
        value.serialize(inner).map_err(|error| self.misplaced(name, error))
    }

    #[cold]
    fn misplaced(&self, name: &str, error: ValueError) -> ValueError {
        let index = self.values.len();
        match (self.form, name) {
            (Form::Args, _) => error.in_argument(index, name),
            (_, "") => error.at(index),
            (_, name) => error.within(name),
        }
    }

    #[inline]
    fn finish(self) {
        match self.form {
            Form::Args => *self.out = self.values,
            Form::Set => self.out.push(Value::Set(self.values.into_iter().collect())),
            _ => self.out.push(Value::Vector(self.values)),
        }
    }
}

macro_rules! sequences {
    ($($trait:ident, $element:ident;)*) => {
        $(impl ser::$trait for Elements<'_> {
            type Ok = ();
            type Error = ValueError;

            #[inline]
            fn $element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
                self.push("", value)
            }

            #[inline]
            fn end(self) -> Result<(), ValueError> {
                self.finish();
                Ok(())
            }
        })*
    };
}
sequences! {
    SerializeSeq, serialize_element;
    SerializeTuple, serialize_element;
    SerializeTupleStruct, serialize_field;
}

impl ser::SerializeStruct for Elements<'_> {
    type Ok = ();
    type Error = ValueError;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), ValueError> {
        if let Some(instead) = instead_of_struct(self.name, name) {
            return Err(ValueError::no_form(self.name, instead));
        }
        self.push(name, value)
    }

    #[inline]
    fn skip_field(&mut self, _: &'static str) -> Result<(), ValueError> {
        self.values.push(Value::None);
        Ok(())
    }

    #[inline]
    fn end(self) -> Result<(), ValueError> {
        self.finish();
        Ok(())
    }
}

/// Entries of a table.
struct Table<'a> {
    /// Each key and, behind it, its value.
    pairs: Vec<Value>,
    out: &'a mut Vec<Value>,
    left: u16,
}

impl Table<'_> {
    #[inline]
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        let inner = Serializer { out: &mut self.pairs, form: Form::Plain, left: self.left };
        value.serialize(inner).map_err(|error| {
            let len = self.pairs.len();
            error.at(len % 2).at(len / 2)
        })
    }
}

impl ser::SerializeMap for Table<'_> {
    type Ok = ();
    type Error = ValueError;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), ValueError> {
        self.push(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        self.push(value)
    }

    fn end(self) -> Result<(), ValueError> {
        let mut entries = BTreeMap::new();
        let mut values = self.pairs.into_iter();
        while let (Some(key), Some(value)) = (values.next(), values.next()) {
            if entries.insert(key, value).is_some() {
                return Err(ValueError::unexpected("each key of a table once", "one twice"));
            }
        }
        self.out.push(Value::Table(entries));
        Ok(())
    }
}
