//! Writes values as JSON, straight into the text: no tree, no allocation but the text's own.

use std::fmt::{self, Write as _};

use bstr::ByteSlice;
use data_encoding::HEXLOWER;
use serde_json::Number;

use crate::value::{Real, Subnet, Timestamp, Value};
use crate::wire::escape_json;

/// What the reader of a text keeps apart in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// All of 64 bits, and `1` from `1.0`, as in Rust, Python, Go and jq.
    Exact,
    /// What a double holds, as in JavaScript: integers up to 2^53 − 1, and `1.0` is `1`. Other
    /// counts, ints and doubles are objects: `{"count":"18446744073709551615"}`, `{"double":1}`.
    JavaScript,
}

/// The largest integer that a double tells from its neighbours, `Number.MAX_SAFE_INTEGER`.
const MAX_SAFE: u64 = (1 << 53) - 1;

impl Numbers {
    fn holds(self, magnitude: u64) -> bool {
        self == Numbers::Exact || magnitude <= MAX_SAFE
    }
}

/// Appends a value, in the first of its forms in this [module](super). [`Part::value`] reads it back.
///
/// ```
/// use zcluster::Value;
/// use zcluster::readable::{Json, Numbers, Part, write_value};
/// use zcluster::value::{Port, Protocol};
///
/// let value = Value::from(vec![7_u64.into(), (-7).into(), Port::new(53, Protocol::Udp).into()]);
/// let mut text = String::new();
/// write_value(&value, Numbers::Exact, &mut text);
/// assert_eq!(text, r#"[7,{"int":-7},{"port":"53/udp"}]"#);
/// assert_eq!(Part::whole(&Json::parse(&text)?).value()?, value);
/// # Ok::<(), zcluster::readable::ReadableError>(())
/// ```
///
/// [`Part::value`]: super::Part::value
pub fn write_value(value: &Value, numbers: Numbers, out: &mut String) {
    match value {
        Value::None => out.push_str("null"),
        Value::Boolean(true) => out.push_str("true"),
        Value::Boolean(false) => out.push_str("false"),
        Value::Count(n) if numbers.holds(*n) => append(out, n),
        Value::Count(n) => append(out, format_args!(r#"{{"count":"{n}"}}"#)),
        Value::Integer(n) if numbers.holds(n.unsigned_abs()) => {
            append(out, format_args!(r#"{{"int":{n}}}"#));
        }
        Value::Integer(n) => append(out, format_args!(r#"{{"int":"{n}"}}"#)),
        Value::Real(real) => write_real(*real, numbers, out),
        Value::String(bytes) => write_text_or_bytes(bytes, out),
        Value::Address(address) => append(out, format_args!(r#"{{"addr":"{address}"}}"#)),
        Value::Subnet(subnet) => write_subnet(*subnet, out),
        Value::Port(port) => append(out, format_args!(r#"{{"port":"{port}"}}"#)),
        Value::Timestamp(time) => append(out, format_args!(r#"{{"time":"{}"}}"#, rfc3339(*time))),
        Value::Timespan(span) => append(out, format_args!(r#"{{"interval":"{span}"}}"#)),
        Value::Enum(name) => {
            out.push_str(r#"{"enum":"#);
            write_text_or_bytes(name, out);
            out.push('}');
        }
        Value::Set(elements) => {
            out.push_str(r#"{"set":"#);
            write_array(elements, out, |element, out| write_value(element, numbers, out));
            out.push('}');
        }
        Value::Table(entries) => {
            out.push_str(r#"{"table":"#);
            write_array(entries, out, |(key, value), out| {
                out.push('[');
                write_value(key, numbers, out);
                out.push(',');
                write_value(value, numbers, out);
                out.push(']');
            });
            out.push('}');
        }
        Value::Vector(elements) => {
            write_array(elements, out, |element, out| write_value(element, numbers, out));
        }
    }
}

/// Displays a time as in RFC 3339, in UTC, with as many fraction digits as needed unless a precision
/// is given.
pub fn rfc3339(time: Timestamp) -> impl fmt::Display {
    time
}

/// Appends an array.
pub fn write_array<T>(
    items: impl IntoIterator<Item = T>,
    out: &mut String,
    mut write: impl FnMut(T, &mut String),
) {
    out.push('[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(']');
}

/// Appends a string. Bytes that are not UTF-8 become `�`.
pub fn write_text(text: &[u8], out: &mut String) {
    out.push('"');
    for chunk in text.utf8_chunks() {
        escape_json(chunk.valid(), |part| out.push_str(part));
        if !chunk.invalid().is_empty() {
            out.push('\u{fffd}');
        }
    }
    out.push('"');
}

/// Appends metadata as an array of pairs of an id and a value.
pub fn write_metadata(metadata: &[(u64, Value)], numbers: Numbers, out: &mut String) {
    write_array(metadata, out, |(id, value), out| {
        out.push('[');
        if numbers.holds(*id) {
            append(out, id);
        } else {
            append(out, format_args!("\"{id}\""));
        }
        out.push(',');
        write_value(value, numbers, out);
        out.push(']');
    });
}

fn write_real(Real(x): Real, numbers: Numbers, out: &mut String) {
    let typed = |out: &mut String, text: &dyn fmt::Display| {
        append(out, format_args!(r#"{{"double":{text}}}"#));
    };
    match Number::from_f64(x) {
        None if x.is_nan() => typed(out, &r#""nan""#),
        None => typed(out, if x > 0.0 { &r#""inf""# } else { &r#""-inf""# }),
        Some(number) if numbers == Numbers::Exact || x.fract() != 0.0 => append(out, number),
        // To JavaScript, -0 is a number of its own, but it writes `0`.
        Some(_) if x == 0.0 && x.is_sign_negative() => typed(out, &r#""-0""#),
        Some(number) => typed(out, &number),
    }
}

fn write_text_or_bytes(bytes: &[u8], out: &mut String) {
    if let Ok(text) = bytes.to_str() {
        out.push('"');
        escape_json(text, |part| out.push_str(part));
        out.push('"');
    } else {
        out.push_str(r#"{"bytes":""#);
        HEXLOWER.encode_append(bytes, out);
        out.push_str(r#""}"#);
    }
}

/// The usual text, or the two fields if that text would be read as another subnet.
fn write_subnet(subnet: Subnet, out: &mut String) {
    if Subnet::new(subnet.network, subnet.natural_len()) == Some(subnet) {
        append(out, format_args!(r#"{{"subnet":"{subnet}"}}"#));
    } else {
        let Subnet { network, prefix_len } = subnet;
        let fields = format_args!(r#"{{"network":"{network}","prefix_len":{prefix_len}}}"#);
        append(out, format_args!(r#"{{"subnet":{fields}}}"#));
    }
}

pub(super) fn append(out: &mut String, text: impl fmt::Display) {
    write!(out, "{text}").expect("appending to a string never fails");
}
