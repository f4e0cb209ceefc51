//! Reads values from JSON, in any of their forms.

use bstr::BString;
use data_encoding::HEXLOWER_PERMISSIVE;

use super::{Json, Part, ReadableError, scalar};
use crate::value::{Real, Value};

/// What a plain number may be.
const NUMBER: &str =
    "an integer of 64 bits, or a double with a fraction or an exponent, up to 1.8e308";

impl Part<'_, '_> {
    /// Reads a value in any of the forms of this [module](super).
    ///
    /// # Errors
    ///
    /// [`ReadableError::Unexpected`] for other forms, numbers out of range, and duplicate set
    /// elements or table keys; [`ReadableError::TooDeep`] beyond [`MAX_DEPTH`] containers.
    ///
    /// [`MAX_DEPTH`]: crate::wire::MAX_DEPTH
    pub fn value(self) -> Result<Value, ReadableError> {
        Ok(match self.json() {
            Json::Null => Value::None,
            Json::Bool(b) => Value::Boolean(*b),
            Json::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(n), _, _) => Value::Count(n),
                (_, Some(n), _) => Value::Integer(n),
                (_, _, Some(x)) => Value::Real(Real(x)),
                // Only possible with serde_json's `arbitrary_precision`.
                _ => return Err(self.unexpected(NUMBER)),
            },
            Json::Large(_) => return Err(self.unexpected(NUMBER)),
            Json::String(text) => Value::from(&**text),
            Json::Array(_) => self.vector(value)?,
            Json::Object(_) => {
                let Some((name, json)) = self.json().only_member() else {
                    let expected = "an object with one member, named after a type";
                    return Err(self.unexpected(expected));
                };
                self.member(name, json).value_of(name)?.ok_or_else(|| {
                    ReadableError::Unexpected {
                        path: self.path(),
                        expected: "the name of a type".into(),
                        found: Json::String(name.into()).abbreviated(),
                    }
                })?
            }
        })
    }

    /// Reads what follows the name of a type in the object form: `"192.0.2.1"` of `addr`. `None` if
    /// no type has this name.
    ///
    /// # Errors
    ///
    /// Those of [`value`](Self::value).
    pub fn value_of(self, type_name: &str) -> Result<Option<Value>, ReadableError> {
        let json = self.json();
        let expect =
            |value: Option<Value>, expected| value.ok_or_else(|| self.unexpected(expected));
        let text = || json.as_str();
        let value = match type_name {
            "bool" => expect(json.as_bool().map(Value::from), "true or false")?,
            "count" => expect(scalar::count(json), "a non-negative 64-bit integer")?,
            "int" => expect(scalar::integer(json), "a 64-bit integer")?,
            "double" => expect(scalar::real(json), r#"a number, "inf", "-inf", "nan" or "-0""#)?,
            "string" => expect(text().map(Value::from), "a string")?,
            "bytes" => Value::String(self.hex()?),
            "enum" => match json.only_member() {
                Some(("bytes", bytes)) => Value::Enum(self.member("bytes", bytes).hex()?),
                _ => expect(text().map(Value::enum_value), "the name of an enum value")?,
            },
            "addr" => expect(text().and_then(scalar::address), "an IP address")?,
            "subnet" => expect(scalar::subnet(json), "a subnet as in 192.0.2.0/24")?,
            "port" => expect(
                text().and_then(scalar::port),
                "a port as in 443/tcp (tcp, udp, icmp, unknown)",
            )?,
            "time" => expect(
                scalar::time(json),
                "a time as in 2026-01-01T00:00:00Z or a number of seconds, from 1678 to 2261",
            )?,
            "interval" => expect(
                scalar::interval(json),
                "a number with one of the units ns, us, ms, s, min, h, or a number of seconds",
            )?,
            "set" => self.set(value)?,
            "table" => self.table(value, value)?,
            "vector" => self.vector(value)?,
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    /// Reads an array of pairs of an id and a value, as [`write_metadata`](super::write_metadata)
    /// writes it.
    ///
    /// # Errors
    ///
    /// Those of [`value`](Self::value).
    pub fn metadata(self) -> Result<Vec<(u64, Value)>, ReadableError> {
        let entry = |entry: Part<'_, '_>| {
            let [id, value] = entry.pair("an array of an id and a value")?;
            let Some(Value::Count(number)) = scalar::count(id.json()) else {
                return Err(id.unexpected("the id of metadata, a count"));
            };
            Ok((number, value.value()?))
        };
        self.elements()?.map(entry).collect()
    }

    fn hex(self) -> Result<BString, ReadableError> {
        let expected = "pairs of hexadecimal digits";
        let bytes = HEXLOWER_PERMISSIVE.decode(self.text(expected)?.as_bytes());
        bytes.map(BString::from).map_err(|_| self.unexpected(expected))
    }
}

/// [`Part::value`] for parts of any lifetime, which a method of one `impl` is not.
fn value(part: Part<'_, '_>) -> Result<Value, ReadableError> {
    part.value()
}
